"""A cloud in which two runs meet, with a journal of which run did what, and what stood there before."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from lambda_function.errors import AutoSnapshotsError
from lambda_function.model.result import RunReport
from tests.campaigns.crashes.instances import Instances
from tests.campaigns.interleaving.scheduler import Scheduler, SharedClock, gate, running
from tests.campaigns.interleaving.schedules import Schedule, play
from tests.support.cloud import KEYS, FakeCloud, Stored
from tests.support.ssm import Reply

HOUR, DAY, WEEK = timedelta(hours=1), timedelta(days=1), timedelta(weeks=1)
TIMEOUT_SECONDS = 60
HOOK = {"hook_document": "DOC", "hook_timeout_seconds": TIMEOUT_SECONDS}
SKIP = {**HOOK, "hook_on_failure": "skip"}
PERIODS = ("hour", "day", "week")
NEVER = 1_000_000
CONTINUE = {**HOOK, "hook_on_failure": "continue"}


@dataclass(frozen=True)
class Event:
    """A call of a run; of the calls that write also what came of it (`words`: of the period tag, as written)."""

    run: str
    operation: str
    target: str
    words: tuple[str, ...] = ()


class Meeting(FakeCloud):
    """The cloud; `made` and `deleted` say by which run, `ever` holds all snapshots that there have been.

    `made_at` is when a snapshot was made and bore its tags, `saw_at` when its maker had last listed snapshots: both
    as numbers of events.
    """

    def __init__(self, policies: Mapping[str, Mapping[str, Any]], **limits: Any) -> None:
        super().__init__(
            clock=SharedClock(), policies={name: json.dumps(fields) for name, fields in policies.items()}, **limits
        )
        self.events: list[Event] = []
        self.made: dict[str, str] = {}
        self.made_at: dict[str, int] = {}
        self.saw_at: dict[str, int] = {}
        self.deleted: dict[str, str] = {}
        self.ever: dict[str, Stored] = {}
        self.at_first: dict[str, Stored] = {}
        self.volumes_at_first: dict[str, Mapping[str, str]] = {}
        self.at_work = Instances(lambda: self.clock.now)
        self.ssm.script = self._on_instance
        self.before = self.ssm.before = gate(lambda *event: self.events.append(Event(*event)))
        self.after = self._took_effect

    def past(self, number: int, *ages_and_words: tuple[timedelta, str], policy: str | None = "P") -> None:
        for age, words in ages_and_words:
            self.snapshot(f"vol-{number:08x}", words, age, policy=policy)

    def begin(self) -> Meeting:
        """What is there now is what the runs find."""
        self.at_first = {each: replace(stored, tags=dict(stored.tags)) for each, stored in self.snapshots.items()}
        self.volumes_at_first = {volume.id: volume.tags for volume in self.volumes.values()}
        self.ever = dict(self.snapshots)
        self.events.clear()
        self.made.clear()
        self.deleted.clear()
        return self

    def meet(self, bodies: Mapping[str, Callable[[], Any]], schedule: Schedule) -> tuple[Scheduler, list[bool]]:
        """Run these as the schedule has it."""
        scheduler = Scheduler(self.clock, dict(bodies), last_first=schedule.last_first)
        overs = play(scheduler, schedule, tuple(bodies))
        for run, error in scheduler.errors.items():
            if not isinstance(error, AutoSnapshotsError):
                raise AssertionError(f"{run} broke") from error
        return scheduler, overs

    def alone(self, period: str, **fields: Any) -> RunReport:
        """One run, with nobody beside it."""
        scheduler, _ = self.meet({"alone": lambda: self.run(period, **fields)}, Schedule((("alone", 0),)))
        return scheduler.results["alone"]

    def counts(self) -> dict[str, dict[str, int]]:
        """By volume and period: the policy's N, where it is the policy's business."""
        found: dict[str, dict[str, int]] = {}
        for volume in self.volumes.values():
            fields = json.loads(str(self.policies.get(volume.tags.get(KEYS.selection, ""), "{}")))
            found[volume.id] = {each: n for each, n in fields.items() if each in PERIODS and isinstance(n, int)}
        return found

    def key(self) -> object:
        """All that later runs depend on but the time, so that what was checked once need not be again."""
        return (
            tuple(sorted((s.id, s.volume_id, s.start_time, *sorted(s.tags.items())) for s in self.snapshots.values())),
            tuple(self.policies.items()),
        )

    def _took_effect(self, operation: str, target: str) -> None:
        run = running()
        if operation.startswith("CreateSnapshot"):
            for each in self.snapshots.keys() - self.ever.keys():
                self.ever[each] = self.snapshots[each]
                self.made[each] = run
                self.made_at[each] = len(self.events) if KEYS.period in self.ever[each].tags else NEVER
                self.saw_at[each] = self._last_listing_of(run)
        elif operation == "CreateTags" and target in self.snapshots:
            words = tuple(self.snapshots[target].tags[KEYS.period].split())
            self.events[-1] = Event(run, operation, target, words)
            if self.made_at.get(target) == NEVER:
                self.made_at[target] = len(self.events)
        elif operation == "DeleteSnapshot":
            self.deleted[target] = run

    def _last_listing_of(self, run: str) -> int:
        listings = [
            n for n, e in enumerate(self.events) if (e.run, e.operation, e.target) == (run, "DescribeSnapshots", "")
        ]
        return max(listings, default=-1)

    def _on_instance(self, instance_id, parameters):
        answer = self.at_work.run(instance_id, {name: values[0] for name, values in parameters.items()})
        return Reply(exit_code=answer.exit_code, output=answer.output)
