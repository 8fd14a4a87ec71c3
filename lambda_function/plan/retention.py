"""What a period keeps of a volume's snapshots, what it lets go, and why: a pure function.

The rules, for the newest N by start time of those the period keeps:

* a failed snapshot never counts, and goes once a newer completed one exists (at once when N is 0);
* a pending one counts, is never deleted, and never displaces the newest completed one;
* what lies in the Recycle Bin, or is in a state this release does not know, is left alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from typing import NamedTuple

from lambda_function.model.ec2 import Snapshot, SnapshotState
from lambda_function.model.period import Period, RetentionRule
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
    """What the rule says of each snapshot, newest first.

    `snapshots` are all those of one volume that are kept for the rule's period, in any order.
    `slot_snapshot_id` is the one that serves the present slot: it ranks first, whatever start times
    say, since clocks differ and may be as coarse as a second.
    """
    ordered = sorted(snapshots, key=lambda s: (s.id == slot_snapshot_id, s.start_time, s.id), reverse=True)
    completed = [snapshot for snapshot in ordered if snapshot.state is SnapshotState.COMPLETED]
    newest = max(completed, key=lambda snapshot: snapshot.start_time, default=None)
    retentions: list[Retention] = []
    position = 0
    for snapshot in ordered:
        if snapshot.state.is_good:
            position += 1
            retentions.append(_retain_good(snapshot, rule, position, snapshot is newest))
        elif snapshot.state is SnapshotState.ERROR:
            replaced = newest is not None and newest.start_time > snapshot.start_time
            retentions.append(_retain_failed(snapshot, rule, replaced))
        else:
            retentions.append(Retention(snapshot, True, f"in state {snapshot.state}: not counted, not touched"))
    return retentions


def _retain_good(snapshot: Snapshot, rule: RetentionRule, position: int, newest_completed: bool) -> Retention:
    if position <= rule.retain_count:
        return Retention(snapshot, True, _rank(position, rule))
    if snapshot.state is not SnapshotState.COMPLETED:
        return Retention(snapshot, True, f"{snapshot.state}: untouched until it is completed")
    if rule.retain_count == 0:
        return Retention(snapshot, False, f"the policy keeps no {rule.period.adjective} snapshots")
    if newest_completed:
        return Retention(snapshot, True, "the newest completed one: those before it are not completed yet")
    return Retention(snapshot, False, _rank(position, rule))


# The same few sentences serve ten thousand volumes.
@cache
def _rank(position: int, rule: RetentionRule) -> str:
    return f"{ordinal(position)} newest {rule.period.adjective} snapshot; the policy keeps {rule.retain_count}"


def ordinal(position: int) -> str:
    """As in "the 3rd newest"."""
    suffix = "th" if position % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(position % 10, "th")
    return f"{position}{suffix}"


def _retain_failed(snapshot: Snapshot, rule: RetentionRule, newer_completed: bool) -> Retention:
    if rule.retain_count == 0:
        return Retention(snapshot, False, "failed, and the policy keeps none")
    if newer_completed:
        return Retention(snapshot, False, "failed, and a newer completed one exists")
    return Retention(snapshot, True, "failed: goes once a newer completed one exists")


def change_for(snapshot: Snapshot, period: Period) -> tuple[Change, tuple[str, ...]]:
    """How a period lets go of a snapshot: its word leaves the tag; the last word gone, it is deleted."""
    own = period.value
    remaining = tuple(word for word in snapshot.periods if word != own)
    return (Change.RELEASE, remaining) if remaining else (Change.DELETE, ())


class PlannedChange(NamedTuple):
    """A change to a snapshot as it was listed, and its reason; `joining` are the periods a join adds."""

    snapshot: Snapshot
    change: Change
    reason: str
    joining: tuple[Period, ...] = ()

    def result(self, outcome: ChangeOutcome, note: str = "") -> ChangeResult:
        """The report's line for this change."""
        reason = f"{self.reason}; {note}" if note else self.reason
        return ChangeResult(self.snapshot.id, self.snapshot.volume_id, self.change, outcome, reason)


def plan_join(snapshot: Snapshot, joining: tuple[Period, ...], reason: str) -> PlannedChange:
    """These periods are to be added to a shorter one's snapshot."""
    return PlannedChange(snapshot, Change.JOIN, reason, joining)


def plan_prune(
    rule: RetentionRule, snapshots: Sequence[Snapshot], slot_snapshot_id: str | None, *, with_kept: bool = False
) -> list[PlannedChange]:
    """What becomes of one volume's snapshots: retagged or deleted, each with the reason.

    Those that are kept are included only `with_kept`: of 100,000 snapshots a run releases a few.
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
    """The snapshot as it is once the period keeps it."""
    return replace(snapshot, periods=ordered_periods((*snapshot.periods, period.value)))
