"""Checks each run of the demonstration against `tests/support/promises.py`, and counts what each volume has."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from lambda_function.inputs.policy import Parameter
from lambda_function.model.ec2 import SnapshotState, Volume
from lambda_function.model.result import Outcome
from tests.support.cloud import KEYS, Stored
from tests.support.endpoint import stored_snapshots
from tests.support.promises import (
    ERROR,
    PERIODS,
    CloudAccount,
    Run,
    broken_by_report,
    broken_by_write,
    writes_between,
)
from tools.demo.fleet import Fleet, Member
from tools.demo.runs import Clock, Invocation


@dataclass(frozen=True)
class Holding:
    """What a volume has for one period; `promised` is N; None if its policy does not manage the period."""

    promised: int | None
    count: int
    newest: datetime | None


@dataclass(frozen=True)
class Retention:
    """One volume at the end; `newest` is its newest snapshot's consistency word."""

    name: str
    policy: str
    holdings: dict[str, Holding]
    notes: tuple[str, ...]
    newest: str = ""


class _Cloud:
    """The endpoint's account, as last read."""

    hidden_for = timedelta()

    def __init__(self, fleet: Fleet, policies: dict[str, str], clock: Clock) -> None:
        self.clock = clock
        self.policies: dict[str, str | Parameter] = dict(policies)
        self.pending_for = fleet.rules.pending_for
        self.work = fleet.rules.agents.instances
        self._fleet = fleet
        self.snapshots: dict[str, Stored] = {}
        self.volumes: dict[str, Volume] = {}
        self.look()

    def look(self) -> None:
        there = [member for member in self._fleet.members if member.policy and member.exists(self.clock.now)]
        self.volumes = {
            member.id: Volume(member.id, "in-use", {KEYS.selection: member.policy or ""}) for member in there
        }
        self.snapshots = stored_snapshots()

    def is_at_rest(self, volume_id: str) -> bool:
        # The ledger compares each word with the one that is expected.
        return True

    def state_of(self, stored: Stored) -> SnapshotState:
        if stored.failed:
            return ERROR
        is_pending = self.clock.now < stored.start_time + self.pending_for
        return SnapshotState.PENDING if is_pending else SnapshotState.COMPLETED


class _DemoAccount(CloudAccount):
    def __init__(self, cloud: _Cloud, fleet: Fleet) -> None:
        super().__init__(cloud)
        self._fleet = fleet

    def is_foreign(self, stored: Stored) -> bool:
        return stored.id in self._fleet.untouchable

    def misspelt(self) -> Iterable[str]:
        return [member.id for member in self._fleet.members if member.why_not in ("no such policy", "no such key")]


class Ledger:
    """Checks each finished run by the account before and after it, and the log."""

    def __init__(self, fleet: Fleet, policies: dict[str, str], clock: Clock) -> None:
        self._fleet = fleet
        self._cloud = _Cloud(fleet, policies, clock)
        self._account = _DemoAccount(self._cloud, fleet)
        self.broken: list[str] = []

    def look(self) -> None:
        """Record a change that no run made."""
        self._cloud.look()

    def note(self, run: Invocation) -> None:
        """The promises the run breaks, including that failures and consistency words are exactly as expected."""
        before = self._cloud.snapshots
        self._cloud.look()
        judged, account = Run(self._account, run.period, run.moment), self._account
        faults = [*run.faults]
        for write in writes_between(before, self._cloud.snapshots):
            faults += broken_by_write(judged, write)
        faults += broken_by_report(judged, run.report)
        refused = set()
        members = {member.id: member for member in self._fleet.members}
        for volume_id in account.due(run.period):
            is_served = account.serving(judged, volume_id, run.period)
            refused |= {volume_id} if members[volume_id].is_refused(run.moment) and not is_served else set()
        failed = {result.volume_id for result in run.report.volumes if result.outcome is Outcome.FAILED}
        if failed != refused:
            names = [sorted(map(self._fleet.name_of, ids)) for ids in (failed, refused)]
            faults.append(f"failed {names[0]}, expected {names[1]}")
        for result in run.report.volumes:
            member = members[result.volume_id]
            if result.outcome is Outcome.CREATED and result.consistency != member.word(run.moment):
                faults.append(f"{member.name} was called {result.consistency}")
        self.broken += [f"{run.moment:%d %H:%M} {run.period}: {fault}" for fault in faults]

    def holdings(self) -> list[Retention]:
        """What each volume has at the end."""
        self._cloud.look()
        return [self._of(member) for member in self._fleet.members]

    def _of(self, member: Member) -> Retention:
        if member.policy is None:
            return Retention(member.name, "", {}, (f"untouched: {member.why_not}",))
        if member.until is not None:
            left = sum(what.startswith("of leaver") for what in self._fleet.untouchable.values())
            return Retention(member.name, member.policy, {}, (f"gone; its {left} are kept",))
        bearing = {period: self._account.bearing(member.id, period) for period in PERIODS}
        ours = sorted((stored for held in bearing.values() for stored in held), key=lambda stored: stored.start_time)
        notes = []
        holdings = {}
        for period, held in bearing.items():
            free = [stored for stored in held if stored.id not in member.protected and not stored.failed]
            promised = self._account.count(member.id, period)
            newest = max((stored.start_time for stored in free), default=None)
            holdings[period] = Holding(promised, len(free), newest)
            if promised == 1 and len(free) == 2:
                notes.append(f"{period}: the older goes in the next run")
        if member.protected:
            notes.append(f"{len(member.protected)} more is protected")
        word = ours[-1].tags.get(KEYS.consistency, "none") if ours else ""
        return Retention(member.name, member.policy, holdings, tuple(notes), word)
