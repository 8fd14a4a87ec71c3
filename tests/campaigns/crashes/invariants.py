"""What must hold after a run, after a slot's last repetition, and in the end."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from lambda_function.model.ec2 import SnapshotState, Volume
from lambda_function.model.period import Period, in_slot
from lambda_function.model.result import Change, ChangeOutcome, Outcome, RunReport
from tests.campaigns.crashes.deaths import Gate, Way
from tests.campaigns.crashes.instances import Instances
from tests.support.cloud import KEYS, Stored

if TYPE_CHECKING:
    from tests.campaigns.crashes.night import Attempt

FREEZE_LIMIT = timedelta(minutes=2)
"""Twice the policies' `hook_timeout_seconds`, after which the documents thaw by themselves."""

GONE = (ChangeOutcome.DONE, ChangeOutcome.GONE)


def words(stored: Stored) -> list[str]:
    return stored.tags.get(KEYS.period, "").split()


class World(Protocol):
    """A fleet, in memory or on the endpoint, as far as it is looked at here and in `night.py`."""

    instances_at_work: Instances
    foreign: dict[str, Stored]

    @property
    def clock(self) -> Any: ...
    @property
    def volumes(self) -> dict[str, Volume]: ...
    @property
    def snapshots(self) -> dict[str, Stored]: ...
    def policy_of(self, volume_id: str) -> dict[str, object]: ...
    def count(self, volume_id: str, period: str) -> int | None: ...
    def state_of(self, stored: Stored) -> SnapshotState: ...
    def copy_of_snapshots(self) -> dict[str, Stored]: ...
    def others_are_at_work(self, period: str) -> None: ...
    def attempt(self, period: str, gate: Gate) -> RunReport | None: ...


class History:
    """Every snapshot that was ever seen, with every word that it ever bore."""

    def __init__(self, fleet: World) -> None:
        self._fleet = fleet
        self.ever: dict[str, tuple[Stored, set[str]]] = {}
        self.note()
        self.past = frozenset(self.ever)

    def note(self) -> None:
        for each, stored in self._fleet.snapshots.items():
            self.ever.setdefault(each, (stored, set()))[1].update(words(stored))

    def may_be_let_go(self) -> set[tuple[str, str]]:
        """Snapshot and word, where the policy no longer keeps it: worked out anew, in the plainest way."""
        bearing: dict[tuple[str, str], list[Stored]] = defaultdict(list)
        for stored, ever in self.ever.values():
            for word in ever:
                bearing[stored.volume_id, word].append(stored)
        found = set()
        for (volume_id, word), all_of_them in bearing.items():
            count = self._fleet.count(volume_id, word) if volume_id in self._fleet.volumes else None
            if count is None:
                continue
            good = sorted((s for s in all_of_them if not s.failed), key=lambda s: s.start_time)
            kept = {s.id for s in good[len(good) - min(count, len(good)) :]}
            found |= {(s.id, word) for s in all_of_them if s.id not in kept}
        return found


def serving(fleet: World, snapshots: dict[str, Stored], volume_id: str, period: str, moment: datetime) -> list[Stored]:
    """The good snapshots that this volume has for the period's slot in which the moment is."""
    return [
        s
        for s in snapshots.values()
        if s.volume_id == volume_id
        and period in words(s)
        and in_slot(Period(period), moment, s.start_time)
        and fleet.state_of(s) is not SnapshotState.ERROR
    ]


def due(fleet: World, period: str) -> list[str]:
    return [each for each in fleet.volumes if fleet.count(each, period)]


def check_report(fleet: World, attempt: Attempt) -> None:
    """A run that nothing disturbed: its report is what the cloud holds, no more and no less."""
    report = _told(attempt)
    _check_claims(fleet, attempt, report)
    told = {result.volume_id: result for result in report.volumes}
    made = {result.snapshot_id for result in report.volumes if result.outcome is Outcome.CREATED}
    made |= {result.snapshot_id for result in report.volumes if result.outcome is Outcome.FAILED}
    assert attempt.after.keys() - attempt.before.keys() - fleet.foreign.keys() <= made, (
        "a snapshot was made that the report does not tell of"
    )
    deleted = {c.snapshot_id for c in report.changes if c.change is Change.DELETE and c.outcome in GONE}
    assert attempt.before.keys() - attempt.after.keys() == deleted & attempt.before.keys(), "deletions told and done"
    for volume_id in due(fleet, attempt.period):
        there = serving(fleet, attempt.after, volume_id, attempt.period, report.request.time)
        is_without_snapshot = told[volume_id].outcome in (Outcome.FAILED, Outcome.DEFERRED)
        assert is_without_snapshot != bool(there) or told[volume_id].snapshot_id, (
            f"{told[volume_id]}, but there is {there}"
        )


def check_dying_report(fleet: World, attempt: Attempt) -> None:
    """A run that lived through a fault: what it claims to have done is so, what it leaves undone it names."""
    report = _told(attempt)
    _check_claims(fleet, attempt, report)
    told = {c.snapshot_id for c in report.changes if c.change is Change.DELETE}
    assert attempt.before.keys() - attempt.after.keys() <= told, "a deletion that the report does not tell of"
    named = "\n".join((*report.failures, *report.deferred))
    for volume_id in due(fleet, attempt.period):
        if not serving(fleet, attempt.after, volume_id, attempt.period, report.request.time):
            assert volume_id in named, f"{volume_id} got none, and no failure says so"


LISTINGS = ("read", "list_volumes", "list_snapshots")
PREPARING = ("list_instances", "describe_document", "unreachable")


def check_price(fleet: World, attempt: Attempt, gate: Gate) -> None:
    """A fault that the run can live with costs no report, and no other volumes than those it struck."""
    if gate.way is Way.EXIT:
        return
    if attempt.report is None:
        is_our_own = gate.way in (Way.UNEXPECTED, Way.UNEXPECTED_AFTER)
        assert gate.victim in LISTINGS or (is_our_own and gate.victim in PREPARING), "it cost the run its report"
        return
    if gate.victim != "count_pending":  # a freeze made vain by the cap, before the account was counted
        told = {each for hook in attempt.report.hooks if hook.steps for each in hook.instance_ids}
        assert {each.instance_id for each in attempt.freezes} <= told, "it cost a freeze its journal"
    moment = attempt.report.request.time
    unserved = [v for v in due(fleet, attempt.period) if not serving(fleet, attempt.after, v, attempt.period, moment)]
    if gate.way in (Way.RESENT, Way.RESENT_LATE):
        assert not attempt.report.failures, f"botocore sent it again, and yet {attempt.report.failures}"
    if gate.victim == "read_snapshots":
        # One look is for many: those that were to join are done again.
        assert all({"hour", "day"} <= fleet.policy_of(each).keys() for each in unserved), unserved
    elif gate.victim in PREPARING:
        assert all(fleet.policy_of(each).get("hook_on_failure") == "skip" for each in unserved), unserved
    else:
        jobs = {(v.tags[KEYS.selection], v.instance_ids or v.id) for v in map(fleet.volumes.__getitem__, unserved)}
        assert len(jobs) <= 1, f"it cost {unserved} their snapshot"


def _told(attempt: Attempt) -> RunReport:
    assert attempt.report is not None
    return attempt.report


def _check_claims(fleet: World, attempt: Attempt, report: RunReport) -> None:
    """Everything that is called done is done."""
    named = "\n".join((*report.failures, *report.deferred))
    assert set(due(fleet, attempt.period)) <= {result.volume_id for result in report.volumes}
    for result in report.volumes:
        if result.outcome in (Outcome.FAILED, Outcome.DEFERRED):
            assert result.volume_id in named
        if result.outcome not in (Outcome.CREATED, Outcome.SHARED, Outcome.ALREADY_DONE):
            continue
        there = serving(fleet, attempt.after, result.volume_id, attempt.period, report.request.time)
        mine = next((s for s in there if s.id == result.snapshot_id), None)
        assert mine is not None, f"{result}, but what serves the slot is {there}"
        if result.outcome is Outcome.CREATED:
            assert mine.id not in attempt.before, f"{result}, but it was there before"
            says = mine.tags[KEYS.consistency]
            # Where the answer to raising the tag was lost, the run says `crash` and warns; it never says too much.
            assert says == result.consistency or result.warnings, f"{result}, but its tag says {says}"
            assert says in (result.consistency, "application"), f"{result}, but its tag says {says}"
        if result.outcome is Outcome.SHARED:
            assert attempt.period not in words(attempt.before[mine.id])
    for change in report.changes:
        if change.change is Change.DELETE:
            is_gone = change.snapshot_id not in attempt.after
            assert is_gone or change.outcome not in GONE, f"{change}, but it is there"
        elif change.change is Change.RELEASE and change.outcome is ChangeOutcome.DONE:
            assert attempt.period not in words(attempt.after[change.snapshot_id]), f"{change}, but its tag says not"


def check_slot(fleet: World, history: History, period: str, begins: datetime, gate: Gate | None) -> None:
    """After a slot's last run: each due volume has its one snapshot, and nobody lost anything."""
    for volume_id in due(fleet, period):
        there = serving(fleet, fleet.snapshots, volume_id, period, begins)
        most = 2 if gate is not None and _may_leave_one_more(gate) else 1
        assert 1 <= len(there) <= most, f"{volume_id} has {there} for the {period}"
    check_consistency(fleet, history)
    for freeze in fleet.instances_at_work.freezes:
        assert (freeze.until or freeze.deadline) - freeze.since <= FREEZE_LIMIT, f"{freeze} is too long"


def _may_leave_one_more(gate: Gate) -> bool:
    return gate.way is Way.RESENT_LATE and gate.victim.startswith("create_snapshot")


def check_nothing_lost(fleet: World, history: History) -> None:
    """Only what the policy no longer keeps was let go; what is not ours is as it was."""
    for each, foreign in fleet.foreign.items():
        assert fleet.snapshots.get(each) == foreign, f"{foreign} is no business of ours"
    allowed = history.may_be_let_go()
    for each, (stored, ever) in history.ever.items():
        now = words(fleet.snapshots[each]) if each in fleet.snapshots else []
        for word in ever - set(now):
            assert (each, word) in allowed, f"{stored} is no longer kept for {word}"


def check_consistency(fleet: World, history: History) -> None:
    """`application` only where a freeze was held from before the create until its post said so."""
    for each, stored in fleet.snapshots.items():
        if each in history.past or stored.tags.get(KEYS.consistency) != "application":
            continue
        proofs = [f for f in fleet.instances_at_work.freezes if f.is_proof]
        assert any(f.covers(stored.volume_id, stored.start_time) for f in proofs), f"{stored} was not proved"


def essence(fleet: World) -> dict[tuple[str, str], list[str]]:
    """By volume and word, the days or hours of which a snapshot is kept: what two worlds must have in common."""
    kept = defaultdict(list)
    for stored in sorted(fleet.snapshots.values(), key=lambda s: s.start_time):
        for word in words(stored):
            of_the_hour = stored.start_time.strftime("%Y-%m-%d %H" if word == "hour" else "%Y-%m-%d")
            kept[stored.volume_id, word].append(of_the_hour)
    return dict(kept)


def prospects(fleet: World) -> tuple[tuple[object, ...], ...]:
    """All that the runs of later slots can go by: two worlds that have it in common have one future."""
    found = [
        (s.volume_id, s.start_time.strftime("%Y-%m-%d %H"), s.tags.get(KEYS.period), s.failed, s.protected)
        for s in sorted(fleet.snapshots.values(), key=lambda s: (s.volume_id, s.start_time, s.id))
    ]
    return tuple(found)
