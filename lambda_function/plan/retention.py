"""What a period keeps of a volume's snapshots, what it lets go, and why: a pure function.

The rules, for the newest N by start time of those the period keeps:

* a failed snapshot never counts, and goes once a newer completed one exists (at once when N is 0);
* a pending one counts, is never deleted, and never displaces the newest completed one;
* what lies in the Recycle Bin, or is in a state this release does not know, is left alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

from lambda_function.model.ec2 import Snapshot, SnapshotState
from lambda_function.model.period import Period
from lambda_function.model.result import Change


class Retention(NamedTuple):
    """Whether the period keeps this snapshot, and the reason in words."""

    snapshot: Snapshot
    keep: bool
    reason: str


def apply_retention(
    period: Period, retain_count: int, snapshots: Iterable[Snapshot], slot_snapshot_id: str | None = None
) -> list[Retention]:
    """One verdict per snapshot, newest first.

    `snapshots` are all those of one volume that bear the period; `count` is the policy's N for it.
    The result does not depend on their order. `serving_id` is the one that serves the present slot:
    it ranks first, whatever start times say, since clocks differ and may be as coarse as a second.
    """
    ordered = sorted(snapshots, key=lambda s: (s.id == slot_snapshot_id, s.start_time, s.id), reverse=True)
    completed = [snapshot for snapshot in ordered if snapshot.state is SnapshotState.COMPLETED]
    newest = max(completed, key=lambda snapshot: snapshot.start_time, default=None)
    verdicts: list[Retention] = []
    position = 0
    for snapshot in ordered:
        if snapshot.state.is_good:
            position += 1
            verdicts.append(_judge_good(snapshot, period, retain_count, position, snapshot is newest))
        elif snapshot.state is SnapshotState.ERROR:
            replaced = newest is not None and newest.start_time > snapshot.start_time
            verdicts.append(_judge_failed(snapshot, retain_count, replaced))
        else:
            verdicts.append(Retention(snapshot, True, f"in state {snapshot.state}: not counted, not touched"))
    return verdicts


def _judge_good(
    snapshot: Snapshot, period: Period, retain_count: int, position: int, newest_completed: bool
) -> Retention:
    if position <= retain_count:
        return Retention(snapshot, True, _rank(position, retain_count, period))
    if snapshot.state is not SnapshotState.COMPLETED:
        return Retention(snapshot, True, f"{snapshot.state}: untouched until it is completed")
    if retain_count == 0:
        return Retention(snapshot, False, f"the policy keeps no {period.adjective} snapshots")
    if newest_completed:
        return Retention(snapshot, True, "the newest completed one: those before it are not completed yet")
    return Retention(snapshot, False, _rank(position, retain_count, period))


# The same few sentences serve ten thousand volumes.
@cache
def _rank(position: int, retain_count: int, period: Period) -> str:
    return f"{_ordinal(position)} newest {period.adjective} snapshot; the policy keeps {retain_count}"


def _ordinal(position: int) -> str:
    suffix = "th" if position % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(position % 10, "th")
    return f"{position}{suffix}"


def _judge_failed(snapshot: Snapshot, retain_count: int, newer_completed: bool) -> Retention:
    if retain_count == 0:
        return Retention(snapshot, False, "failed, and the policy keeps none")
    if newer_completed:
        return Retention(snapshot, False, "failed, and a newer completed one exists")
    return Retention(snapshot, True, "failed: goes once a newer completed one exists")


def change_for(snapshot: Snapshot, period: Period) -> tuple[Change, tuple[str, ...]]:
    """How a period lets go of a snapshot: its word leaves the tag; the last word gone, it is deleted."""
    own = period.value
    remaining = tuple(word for word in snapshot.periods if word != own)
    return (Change.RELEASE, remaining) if remaining else (Change.DELETE, ())
