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
| 14, 15 | D | i-6 | of the day only: a set on a hibernated instance |
| 16 | none | i-1 | not selected: its snapshots are orphans |
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from lambda_function.model.ec2 import SnapshotLock
from lambda_function.model.result import RunReport
from lambda_function.run.context import RunContext
from tests.campaigns.crashes.deaths import Died, Gate, Gated, Way
from tests.support.cloud import KEYS, FakeCloud, Write

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
            before=self._let_others_come_first,
            policies={name: json.dumps(fields) for name, fields in POLICIES.items()},
        )
        self.ssm.limit_sends(2, 1)
        self.gate = Gate(self.clock)
        self.foreign: set[str] = set()
        self._others_come_first: set[str] = set()
        for policy, instance, numbers in FLEET:
            for number in numbers:
                self.volume(number, policy, instance)
                self._past(number, policy)
        self.put_into("i-6", "hibernated")
        self.foreign.add(self.snapshot(GONE, "hour day", 3 * HOUR).id)

    def others_are_at_work(self, period: str) -> None:
        """Another tool beside the period's run: its snapshots are pending, and it will be first at one volume."""
        for _ in range(4):
            self._by_hand(GONE, timedelta(seconds=30))
        self._others_come_first.add(f"vol-{BY_OTHERS[period]:08x}")

    def _let_others_come_first(self, operation: str, target: str) -> None:
        if operation == "CreateSnapshot" and target in self._others_come_first:
            self._others_come_first.remove(target)
            self._by_hand(target, timedelta(seconds=5))

    def attempt(self, period: str, gate: Gate, judge: Callable[[Write], None]) -> RunReport | None:
        """One run, whose calls pass this gate; None where it ended without a report."""
        self.gate, self.on_write = gate, judge
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

    def _past(self, number: int, policy: str | None) -> None:
        volume_id = f"vol-{number:08x}"
        self._by_hand(volume_id, 2 * DAY)
        if policy is None:
            for age in (HOUR, 3 * HOUR, DAY):
                self.foreign.add(self.snapshot(volume_id, "hour day", age, policy=None).id)
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
        oldest.lock = SnapshotLock("compliance") if number == 10 else None

    def _by_hand(self, volume_id: str, age: timedelta) -> None:
        made = self.snapshot(volume_id, "", age)
        made.tags = {KEYS.selection: "P", "Name": "by hand"}
        self.foreign.add(made.id)
