"""A cloud in which two runs meet, with a journal of which run did what, and what stood there before."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from lambda_function.errors import AutoSnapshotsError
from lambda_function.model.result import RunReport
from tests.campaigns.interleaving.scheduler import Scheduler, SharedClock, gate, running
from tests.campaigns.interleaving.schedules import Schedule, play
from tests.support.cloud import KEYS, FakeCloud, Stored, Write
from tests.support.promises import (
    PERIODS,
    CloudAccount,
    Run,
    broken_by_report,
    broken_by_write,
    hooked,
    nothing_is_let_go_that_is_kept,
    promised,
    what_is_not_ours_is_left_alone,
)

HOUR, DAY, WEEK = timedelta(hours=1), timedelta(days=1), timedelta(weeks=1)
TIMEOUT_SECONDS = 60
HOOK = {"hook_document": "DOC", "hook_timeout_seconds": TIMEOUT_SECONDS}
SKIP = {**HOOK, "hook_on_failure": "skip"}
LIST = "DescribeSnapshots"
CONTINUE = {**HOOK, "hook_on_failure": "continue"}


@dataclass(frozen=True)
class Event:
    """A call of a run."""

    run: str
    operation: str
    target: str


class Meeting(FakeCloud):
    """The cloud, in which each run is judged as it goes; `made` says by which run, `made_at` after how many events."""

    def __init__(self, policies: Mapping[str, Mapping[str, Any]], **limits: Any) -> None:
        super().__init__(
            clock=SharedClock(), policies={name: json.dumps(fields) for name, fields in policies.items()}, **limits
        )
        self.events: list[Event] = []
        self.made: dict[str, str] = {}
        self.made_at: dict[str, int] = {}
        self.ever: dict[str, Stored] = {}
        self.broken: list[str] = []
        self.runs: dict[str, Run] = {}
        self.older: dict[str, str] = {}
        self.account = MeetingAccount(self)
        self.before = self.ssm.before = gate(lambda *event: self.events.append(Event(*event)))
        self.on_write = self._judge
        self.ssm.process = running

    def past(self, number: int, *ages_and_words: tuple[timedelta, str], policy: str | None = "P") -> None:
        for age, words in ages_and_words:
            self.snapshot(f"vol-{number:08x}", words, age, policy=policy)

    def begin(self) -> Meeting:
        """What is there now is what the runs find."""
        self.ever = dict(self.snapshots)
        self.events.clear()
        self.made.clear()
        self.made_at.clear()
        self.account.begin()
        return self

    def meet(self, bodies: Mapping[str, Callable[[], Any]], schedule: Schedule) -> tuple[Scheduler, list[bool]]:
        """Run these as the schedule has it."""
        self.runs.clear()
        scheduler = Scheduler(self.clock, dict(bodies), last_first=schedule.last_first)
        overs = play(scheduler, schedule, tuple(bodies))
        for run, error in scheduler.errors.items():
            if not isinstance(error, AutoSnapshotsError):
                raise AssertionError(f"{run} broke") from error
        return scheduler, overs

    def alone(self, period: str, **fields: Any) -> RunReport:
        """One run, with nobody beside it."""
        scheduler, _ = self.meet({"alone": lambda: self.judged(period, **fields)}, Schedule((("alone", 0),)))
        report: RunReport = scheduler.results["alone"]
        self.broken += broken_by_report(self.runs["alone"], report)
        assert not self.broken, "\n".join(self.broken)
        return report

    def judged(self, period: str, **fields: Any) -> RunReport:
        """A run of this version, whose writes are judged."""
        makes_anyway = bool(fields.get("force")) and "time" not in fields
        self.runs[running()] = Run(self.account, period, self.clock.now, running(), makes_anyway)
        return self.run(period, **fields)

    def key(self) -> object:
        """All that later runs depend on but the time, so that what was checked once need not be again."""
        return (
            tuple(sorted((s.id, s.volume_id, s.start_time, *sorted(s.tags.items())) for s in self.snapshots.values())),
            tuple(self.policies.items()),
        )

    def _judge(self, write: Write) -> None:
        run, stored = running(), write.stored
        if run in self.runs:
            self.broken += [f"{run}: {fault}" for fault in broken_by_write(self.runs[run], write)]
        else:
            older = Run(self.account, self.older[run], self.clock.now, run)
            self.broken += [f"{run}: {fault}" for fault in nothing_is_let_go_that_is_kept(older, write)]
            self.broken += [f"{run}: {fault}" for fault in what_is_not_ours_is_left_alone(older, write)]
        if write.is_create:
            self.ever[stored.id], self.made[stored.id] = stored, run
            self.made_at[stored.id] = len(self.events)
        self.account.note(write)


class MeetingAccount(CloudAccount):
    """What each of two runs could know, by the order of their calls, and the settings of before and after an edit.

    `lost` are words of a longer period, overwritten or deleted by a shorter one's run that had looked before they were
    written: the one loss that is accepted (decision 7). `unknown` are volumes tagged with a policy that came, or went,
    after the run had read the policies.
    """

    def __init__(self, meeting: Meeting) -> None:
        super().__init__(meeting)
        self._meeting = meeting
        self.begin()

    def begin(self) -> None:
        meeting = self._meeting
        self.lost: set[tuple[str, str]] = set()
        self.unknown: set[str] = set()
        self._written: dict[tuple[str, str], int] = {}
        self._borne = {(stored.id, word) for stored in meeting.snapshots.values() for word in stored.words}
        self._back: set[tuple[str, str]] = set()
        self._taken: set[str] = set()
        self._proved_at: dict[str | None, int] = {}
        self._volumes, self._policies = dict(meeting.volumes), dict(meeting.policies)
        selected = {volume.id for volume in meeting.volumes.values() if KEYS.selection in volume.tags}
        self.foreign = {
            s.id for s in meeting.snapshots.values() if s.volume_id not in selected or KEYS.period not in s.tags
        }

    def note(self, write: Write) -> None:
        """The write was judged."""
        for word in set(write.after) - set(write.before):
            self._written[write.stored.id, word] = len(self._meeting.events)
            (self._back if (write.stored.id, word) in self._borne else self._borne).add((write.stored.id, word))
        if write.raised:
            self._proved_at.setdefault(write.stored.tags.get(KEYS.set), len(self._meeting.events))
        if write.is_delete:
            self._taken.add(write.stored.volume_id)

    def settle(self) -> None:
        """From now on what stands is all that runs go by, and nothing may be lost."""
        self._volumes, self._policies = self._meeting.volumes, self._meeting.policies
        self.lost, self.unknown = set(), set()

    def looked(self, run: Run, targets: Collection[str]) -> int:
        """The run's last such listing, as a number of events."""
        own = [(n, e) for n, e in enumerate(self._meeting.events) if (e.run, e.operation) == (run.name, LIST)]
        return max((n for n, event in own if event.target in targets), default=-1)

    def settings(self, volume_id: str) -> list[tuple[str, Mapping[str, int]]]:
        """Policy and Ns of the volume, before and after an edit."""
        meeting = self._meeting
        found = []
        for volumes, policies in ((self._volumes, self._policies), (meeting.volumes, meeting.policies)):
            name = volumes[volume_id].tags.get(KEYS.selection) if volume_id in volumes else None
            found.append((name or "", promised(policies.get(name or ""))))
        return found

    def counts(self, volume_id: str, period: str) -> Collection[int]:
        return [counts[period] for _, counts in self.settings(volume_id) if period in counts]

    def names(self, volume_id: str) -> Collection[str | None]:
        return [name for name, _ in self.settings(volume_id)]

    def due(self, period: str) -> list[str]:
        found = [v for v in self._meeting.volumes if all(counts.get(period) for _, counts in self.settings(v))]
        return [volume_id for volume_id in found if volume_id not in self.unknown]

    def bearing(self, volume_id: str, period: str) -> Collection[Stored]:
        """Those that have lost their word included: the run that had written it goes by it."""
        lost = [self._meeting.ever[each] for each, word in self.lost if word == period]
        found = [*super().bearing(volume_id, period), *(s for s in lost if s.volume_id == volume_id)]
        return list({stored.id: stored for stored in found}.values())

    def knew(self, run: Run, stored: Stored) -> bool:
        if self._meeting.hidden_for:
            return super().knew(run, stored)
        return self._meeting.made_at.get(stored.id, -1) <= self.looked(run, ("",))

    def could_hook(self, policy: str | None) -> bool:
        return any(hooked(policies.get(policy or "")) for policies in (self._policies, self._meeting.policies))

    def is_hooked(self, policy: str | None) -> bool:
        return all(hooked(policies.get(policy or "")) for policies in (self._policies, self._meeting.policies))

    def knew_proof(self, run: Run, stored: Stored) -> bool:
        return self._proved_at.get(stored.tags.get(KEYS.set), -1) <= self.looked(run, ("", "proof"))

    def could_share(self, run: Run, volume_id: str) -> bool:
        return volume_id not in self._taken

    def had_borne(self, stored: Stored, word: str) -> bool:
        return (stored.id, word) in self._back or ((stored.id, word) in self._borne and word not in stored.words)

    def accepts_loss(self, run: Run, stored: Stored, word: str) -> bool:
        is_longer = PERIODS.index(word) > PERIODS.index(run.period) if word in PERIODS else False
        if is_longer and self._written.get((stored.id, word), -1) > self.looked(run, ("", "recheck")):
            self.lost.add((stored.id, word))
        return (stored.id, word) in self.lost
