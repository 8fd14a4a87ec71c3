"""Snapshots in state `error`: when they are deleted, and what the ones that remain say: pure functions.

They can never be restored, yet EC2 counts them towards their volume's limit of concurrent snapshots (5; 1 on st1 and
sc1), and a volume that cannot be snapshotted turns its whole set to `error`. So a volume's are deleted just before the
next one is made. Only the newest stays, where the limit allows it, until one is completed: it says that the volume must
be taken singly, also if the next one is not made after all, or fails as well.
"""

from __future__ import annotations

from collections.abc import Iterable

from lambda_function.model.ec2 import Snapshot, SnapshotState, Volume
from lambda_function.model.period import Period, RetentionRule
from lambda_function.model.result import Change
from lambda_function.plan.retention import PlannedChange, change_for

_WORDS = frozenset(period.value for period in Period)
_STAYS = "failed, and none is completed since: stays until one is, so that its volume is taken by itself"


def is_failed_and_ours(snapshot: Snapshot) -> bool:
    """Whether it is in `error` and no other tool's word in its period tag keeps it."""
    return snapshot.state is SnapshotState.ERROR and set(snapshot.periods) <= _WORDS


def last_failed(failed: Iterable[Snapshot], snapshots: Iterable[Snapshot]) -> Snapshot | None:
    """The volume's newest failed snapshot, if no completed one is newer.

    A pending one proves nothing: where a failure takes longer than an hour to show, there is always one.
    """
    newest = max(failed, key=lambda snapshot: snapshot.start_time, default=None)
    if newest is None:
        return None
    completed = (snapshot.start_time for snapshot in snapshots if snapshot.state is SnapshotState.COMPLETED)
    return newest if all(start_time < newest.start_time for start_time in completed) else None


def plan_before_create(
    volume: Volume, failed: Iterable[Snapshot], last: Snapshot | None, *, with_kept: bool = False
) -> list[PlannedChange]:
    """The changes that make room for a volume's next snapshot; `last` is what `last_failed` found."""
    planned = []
    for snapshot in failed:
        if snapshot != last or volume.takes_one_snapshot:
            planned.append(plan_room(snapshot))
        elif with_kept:
            planned.append(PlannedChange(snapshot, Change.KEEP, _STAYS))
    return planned


def plan_room(failed: Snapshot) -> PlannedChange:
    """The deletion of a failed snapshot, so that its volume can have another."""
    reason = "failed, and EC2 counts it towards its volume's limit: gone before the next one is made"
    return PlannedChange(failed, Change.DELETE, reason)


def plan_failed(
    rule: RetentionRule, failed: Iterable[Snapshot], snapshots: Iterable[Snapshot], *, with_kept: bool = False
) -> list[PlannedChange]:
    """The changes where no snapshot is made; kept ones are included only `with_kept`."""
    completed = [snapshot.start_time for snapshot in snapshots if snapshot.state is SnapshotState.COMPLETED]
    newest = max(completed, default=None)
    planned = []
    for snapshot in failed:
        if newest is not None and newest > snapshot.start_time:
            planned.append(PlannedChange(snapshot, Change.DELETE, "failed, and a newer completed one exists"))
        elif rule.retain_count == 0 and rule.period in snapshot.periods:
            change, _ = change_for(snapshot, rule.period)
            planned.append(PlannedChange(snapshot, change, "failed, and the policy keeps none"))
        elif with_kept:
            planned.append(PlannedChange(snapshot, Change.KEEP, _STAYS))
    return planned
