"""Which of a volume's snapshots a period keeps or releases, and why: pure functions.

A period keeps the newest N of its slots that have a snapshot, each with all of its snapshots. A forced run, or a
create whose answer was lost, so adds a snapshot to a slot and pushes no other slot out. Beyond N stay:

* a pending one, which counts for its slot, is never deleted, and never displaces the newest completed one;
* where the policy has a hook, what it last proved;
* one in the Recycle Bin, or in a state unknown to this release, neither of which counts.

With failed ones deals `failed.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache
from typing import NamedTuple

from lambda_function.model.ec2 import Consistency, Snapshot, SnapshotState
from lambda_function.model.period import Period, RetentionRule, slot_start
from lambda_function.model.result import Change, ChangeOutcome, ChangeResult
from lambda_function.model.tags import ordered_periods


class Retention(NamedTuple):
    """Whether the period keeps this snapshot, and the reason in words."""

    snapshot: Snapshot
    keep: bool
    reason: str


def apply_retention(
    rule: RetentionRule, snapshots: Iterable[Snapshot], slot_snapshot_id: str | None = None
) -> list[Retention]:
    """Whether the rule keeps each snapshot, newest first.

    `snapshots` are all of one volume's that are kept for the rule's period, in any order.
    `slot_snapshot_id` is the current slot's: it ranks first regardless of start times, since clocks
    differ and may be as coarse as a second.
    """
    ordered = sorted(
        snapshots,
        key=lambda snapshot: (snapshot.id == slot_snapshot_id, snapshot.start_time, snapshot.id),
        reverse=True,
    )
    floors = _floors(rule, ordered)
    retentions: list[Retention] = []
    positions: dict[datetime, int] = {}
    for snapshot in ordered:
        if snapshot.state.is_good:
            position = positions.setdefault(slot_start(rule.period, snapshot.start_time), len(positions) + 1)
            retentions.append(_retain_good(snapshot, rule, position, floors.get(snapshot.id)))
        else:
            retentions.append(Retention(snapshot, True, f"in state {snapshot.state}: not counted, not touched"))
    return retentions


def _floors(rule: RetentionRule, snapshots: Iterable[Snapshot]) -> dict[str, str]:
    """By id, why a snapshot stays whatever its slot; none where the policy keeps none."""
    if rule.retain_count == 0:
        return {}
    completed = [snapshot for snapshot in snapshots if snapshot.state is SnapshotState.COMPLETED]
    completed.sort(key=lambda snapshot: snapshot.start_time, reverse=True)
    floors = {newest.id: "the newest completed one: those before it are not completed yet" for newest in completed[:1]}
    for words in _PROOFS if rule.is_hooked else ():
        proved = next((snapshot for snapshot in completed if snapshot.consistency in words), None)
        if proved is not None:
            is_at_rest = proved.consistency is Consistency.OFFLINE
            floors.setdefault(proved.id, f"the newest {'offline' if is_at_rest else 'application-consistent'} one")
    return floors


_PROOFS = ((Consistency.APPLICATION,), (Consistency.APPLICATION, Consistency.OFFLINE))
"""The newest of each stays: what is `offline` restores as well, but shows nothing of the hook."""


def _retain_good(snapshot: Snapshot, rule: RetentionRule, position: int, floor: str | None) -> Retention:
    if position <= rule.retain_count:
        return Retention(snapshot, True, _rank(position, rule))
    if snapshot.state is not SnapshotState.COMPLETED:
        return Retention(snapshot, True, f"{snapshot.state}: untouched until it is completed")
    if rule.retain_count == 0:
        return Retention(snapshot, False, f"the policy keeps no {rule.period.adjective} snapshots")
    if floor is not None:
        return Retention(snapshot, True, floor)
    return Retention(snapshot, False, _rank(position, rule))


# Ten thousand volumes share a few sentences.
@cache
def _rank(position: int, rule: RetentionRule) -> str:
    which = "newest" if position == 1 else f"{ordinal(position)} newest"
    return f"in the {which} {rule.period}; the policy keeps {rule.retain_count}"


def ordinal(position: int) -> str:
    """As in "the 3rd newest"."""
    suffix = "th" if position % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(position % 10, "th")
    return f"{position}{suffix}"


def change_for(snapshot: Snapshot, period: Period) -> tuple[Change, tuple[str, ...]]:
    """How a period releases a snapshot: remove its word from the tag, or delete if no word remains."""
    own = period.value
    remaining = tuple(word for word in snapshot.periods if word != own)
    return (Change.RELEASE, remaining) if remaining else (Change.DELETE, ())


class PlannedChange(NamedTuple):
    """A change to a snapshot as listed, and its reason; `joining` are the periods that a join adds."""

    snapshot: Snapshot
    change: Change
    reason: str
    joining: tuple[Period, ...] = ()

    def result(self, outcome: ChangeOutcome, note: str = "") -> ChangeResult:
        """The report's line for this change."""
        reason = f"{self.reason}; {note}" if note else self.reason
        return ChangeResult(self.snapshot.id, self.snapshot.volume_id, self.change, outcome, reason)


def plan_join(snapshot: Snapshot, joining: tuple[Period, ...], reason: str) -> PlannedChange:
    """The change that adds these periods to a shorter one's snapshot."""
    return PlannedChange(snapshot, Change.JOIN, reason, joining)


def plan_prune(
    rule: RetentionRule, snapshots: Sequence[Snapshot], slot_snapshot_id: str | None, *, with_kept: bool = False
) -> list[PlannedChange]:
    """The changes to one volume's snapshots, each with its reason.

    Kept ones are included only `with_kept`: of 100,000 snapshots, a run releases a few.
    """
    planned = []
    for retention in apply_retention(rule, snapshots, slot_snapshot_id):
        if retention.keep:
            if with_kept:
                planned.append(PlannedChange(retention.snapshot, Change.KEEP, retention.reason))
            continue
        change, remaining = change_for(retention.snapshot, rule.period)
        reason = retention.reason + (f"; still kept for {' '.join(remaining)}" if remaining else "")
        planned.append(PlannedChange(retention.snapshot, change, reason))
    return planned


def kept_for(snapshot: Snapshot, period: Period) -> Snapshot:
    """The snapshot as also kept for the period."""
    return replace(snapshot, periods=ordered_periods((*snapshot.periods, period.value)))
