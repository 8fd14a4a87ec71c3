"""A fleet such that one run creates, shares, freezes, is refused and prunes: of the hour as of the day.

| volumes | policy | attached | what it is there for |
|---|---|---|---|
| 1 | P | no | a single create; lets go of one that the day still keeps |
| 2, 3 | P | i-1 | a set; one old snapshot is an AMI's |
| 4, 5 | S | i-2 | a set under a freeze, `skip`; another tool's word on an old snapshot |
| 6 | C | i-3 | a single create under a freeze, `continue`; an old one is the cron script's |
| 7 | P | no | another tool takes it seconds before: the 15-second rule |
| 8 | P | no | an old one in state `error` |
| 9 | Z | no | keeps none for the hour, two for the day |
| 10, 11 | N | i-4 | of the day only: a set under a freeze, `skip`; an old one is locked |
| 12 | M | i-5 | of the day only: a single create under a freeze, `continue`; the week keeps an old one, too |
| 13 | D | no | of the day only; the 15-second rule |
| 14, 15 | D | i-6 | of the day only: a set |
| 16 | none | i-1 | not selected: its snapshots are orphans |
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from lambda_function.model.result import RunReport
from lambda_function.run.context import RunContext
from tests.campaigns.crashes.deaths import Died, Gate, Gated, Way
from tests.campaigns.crashes.instances import Instances
from tests.support.cloud import KEYS, FakeCloud, Stored
from tests.support.ssm import Reply

_HOOK = {"hook_document": "DOC", "hook_timeout_seconds": 60}
POLICIES: dict[str, dict[str, object]] = {
    "P": {"hour": 2, "day": 2},
    "S": {"hour": 2, "day": 2, **_HOOK, "hook_on_failure": "skip"},
    "C": {"hour": 2, "day": 2, **_HOOK, "hook_on_failure": "continue"},
    "Z": {"hour": 0, "day": 2},
    "N": {"day": 2, **_HOOK, "hook_on_failure": "skip"},
    "M": {"day": 2, **_HOOK, "hook_on_failure": "continue"},
    "D": {"day": 2},
}

FLEET: tuple[tuple[str | None, str | None, tuple[int, ...]], ...] = (
    ("P", None, (1, 7, 8)),
    ("P", "i-1", (2, 3)),
    ("S", "i-2", (4, 5)),
    ("C", "i-3", (6,)),
    ("Z", None, (9,)),
    ("N", "i-4", (10, 11)),
    ("M", "i-5", (12,)),
    ("D", None, (13,)),
    ("D", "i-6", (14, 15)),
    (None, "i-1", (16,)),
)
"""Policy, instance, and the numbers of the volumes."""

GONE = "vol-000000ff"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)

# Of the oldest snapshot for the hour and for the day, which the next run lets go.
HOUR_WORDS = {1: "hour day", 5: "hour nightly-tool"}
DAY_WORDS = {12: "day week"}
BY_OTHERS = {"hour": 7, "day": 13}


class Fleet(FakeCloud):
    """The cloud with this fleet, its documents' instances, and the gate of the run under way."""

    def __init__(self) -> None:
        super().__init__(
            pending_for=timedelta(seconds=50),
            hidden_for=timedelta(seconds=4),
            create_interval=timedelta(seconds=15),
            pending_cap=6,
            policies={name: json.dumps(fields) for name, fields in POLICIES.items()},
        )
        self.gate = Gate(self.clock)
        self.instances_at_work = Instances(lambda: self.clock.now)
        self.ssm.script = self._on_instance
        self.foreign: dict[str, Stored] = {}
        self._others_come_first: set[str] = set()
        for policy, instance, numbers in FLEET:
            for number in numbers:
                self.volume(number, policy, instance)
                self._past(number, policy)
        self._keep_as_foreign(self.snapshot(GONE, "hour day", 3 * HOUR))

    def policy_of(self, volume_id: str) -> dict[str, object]:
        return POLICIES[self.volumes[volume_id].tags[KEYS.selection]]

    def count(self, volume_id: str, period: str) -> int | None:
        """The policy's N for the volume, None where the period is not its business."""
        if KEYS.selection not in self.volumes[volume_id].tags:
            return None
        found = self.policy_of(volume_id).get(period)
        return found if isinstance(found, int) else None

    def others_are_at_work(self, period: str) -> None:
        """Another tool beside the period's run: its snapshots are pending, and it will be first at one volume."""
        for _ in range(4):
            self._by_hand(GONE, timedelta(seconds=30))
        self._others_come_first.add(f"vol-{BY_OTHERS[period]:08x}")

    def _check_limits(self, operation: str, volume_ids: Sequence[str]) -> None:
        for each in self._others_come_first.intersection(volume_ids):
            self._others_come_first.remove(each)
            self._by_hand(each, timedelta(seconds=5))
        super()._check_limits(operation, volume_ids)

    def copy_of_snapshots(self) -> dict[str, Stored]:
        return {each: replace(stored, tags=dict(stored.tags)) for each, stored in self.snapshots.items()}

    def attempt(self, period: str, gate: Gate) -> RunReport | None:
        """One run, whose calls pass this gate; None where it ended without a report."""
        self.gate = gate
        # What Lambda is told of any exception is that the invocation failed; only a run that is to die has one.
        with contextlib.suppress(*((Died, Exception) if gate.at else ())):
            report = self.run(period)
            # A process that ended after its last call never gave its answer.
            return None if gate.way is Way.EXIT else report
        return None

    def _context(self, seconds: float) -> RunContext:
        context = super()._context(seconds)
        return replace(
            context,
            policies=Gated(context.policies, self.gate),
            ebs=Gated(context.ebs, self.gate),
            commands=Gated(context.commands, self.gate),
        )

    def _on_instance(self, instance_id, parameters):
        single = {name: values[0] for name, values in parameters.items()}
        answer = self.instances_at_work.run(instance_id, single)
        return Reply(exit_code=answer.exit_code, output=answer.output)

    def _past(self, number: int, policy: str | None) -> None:
        volume_id = f"vol-{number:08x}"
        self._by_hand(volume_id, 2 * DAY)
        if policy is None:
            for age in (HOUR, 3 * HOUR, DAY):
                self._keep_as_foreign(self.snapshot(volume_id, "hour day", age, policy=None))
            return
        counts = POLICIES[policy]
        if "hour" in counts:
            self.snapshot(volume_id, "hour", HOUR, policy=policy)
            oldest = self.snapshot(
                volume_id, HOUR_WORDS.get(number, "hour"), 2 * HOUR, policy=None if number == 6 else policy
            )
            oldest.protected = "in use by ami-1" if number == 3 else None
        if number == 8:
            self.snapshot(volume_id, "hour", timedelta(hours=1, minutes=30), policy=policy, failed=True)
        self.snapshot(volume_id, "day", DAY, policy=policy)
        oldest = self.snapshot(volume_id, DAY_WORDS.get(number, "day"), 2 * DAY, policy=policy)
        oldest.protected = "locked" if number == 10 else None

    def _by_hand(self, volume_id: str, age: timedelta) -> None:
        made = self.snapshot(volume_id, "", age)
        made.tags = {KEYS.selection: "P", "Name": "by hand"}
        self._keep_as_foreign(made)

    def _keep_as_foreign(self, stored: Stored) -> None:
        self.foreign[stored.id] = replace(stored, tags=dict(stored.tags))
