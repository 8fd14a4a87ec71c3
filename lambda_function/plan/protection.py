"""Whether every tagged volume has the snapshots due: a pure function of EC2's state and the time.

A period is due from the end of the slot in which its newest good snapshot was started (without one: from the volume's
creation), and overdue once the grace period after that is over.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from lambda_function.inputs.policy import Policy, PolicySet
from lambda_function.model.ec2 import Consistency, Snapshot, SnapshotState, Volume
from lambda_function.model.period import Period, slot
from lambda_function.model.tags import TagKeys
from lambda_function.plan.ownership import own_snapshots, stale_tags
from lambda_function.plan.selection import Obstacle, Selection, select

GRACE = {period: timedelta(hours=3) if period is Period.HOUR else timedelta(days=2) for period in Period}
"""The same as the alarms on missing runs: the hourly rule fires hourly, the others every night."""

LONGEST_RUN = timedelta(minutes=15)
"""Lambda's limit. Until a run ends, it may still raise its snapshots from `crash` to `application`."""

SLOW = timedelta(days=1)
"""A first full snapshot may be pending for hours; one pending for longer than this needs checking."""


class Status(StrEnum):
    """Status of a volume or of one of its periods."""

    PROTECTED = "protected"
    WAITING = "waiting"
    OVERDUE = "overdue"
    UNPROTECTED = "unprotected"
    OUTSIDE = "outside policy"
    NOT_DUE = "not due"

    @property
    def is_problem(self) -> bool:
        """Whether someone should act on it."""
        return self in (Status.OVERDUE, Status.UNPROTECTED)


@dataclass(frozen=True)
class PeriodStatus:
    """One period of one volume: `newest` is the newest good snapshot, `failed` a newer one in state `error`.

    `due_since` is when the next one became or becomes due; None if unknown.
    """

    period: Period
    status: Status
    newest: Snapshot | None = None
    failed: Snapshot | None = None
    due_since: datetime | None = None


@dataclass(frozen=True)
class VolumeStatus:
    """One tagged volume; `reason` and `warnings` explain its status."""

    volume_id: str
    policy: str | None
    status: Status
    reason: str = ""
    periods: tuple[PeriodStatus, ...] = ()
    consistency: Consistency | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class StatusReport:
    """All tagged volumes in order of id; `faults` are those of policies and of the request."""

    time: datetime
    volumes: tuple[VolumeStatus, ...]
    faults: tuple[str, ...]
    orphaned_snapshots: int

    @property
    def is_well(self) -> bool:
        """Whether no volume has a problem and nothing is faulty."""
        return not self.faults and not any(volume.status.is_problem for volume in self.volumes)

    def count(self, status: Status) -> int:
        """Number of volumes with this status."""
        return sum(volume.status is status for volume in self.volumes)


def judge_volumes(
    now: datetime,
    policies: PolicySet,
    volumes: Iterable[Volume],
    snapshots: Iterable[Snapshot],
    keys: TagKeys,
    *,
    only_policies: Sequence[str] = (),
    only_volumes: Sequence[str] = (),
    faults: Sequence[str] = (),
) -> StatusReport:
    """The status of every tagged volume; `snapshots` are all of ours, in any order.

    Volumes whose tag names no policy or is misspelt are shown even with `only_policies`, as in a run.
    `faults` are those found when reading the policies.
    """
    by_volume: dict[str, list[Snapshot]] = defaultdict(list)
    for snapshot in snapshots:
        by_volume[snapshot.volume_id].append(snapshot)
    statuses: list[VolumeStatus] = []
    selected: set[str] = set()
    for volume in sorted(volumes, key=lambda volume: volume.id):
        selection = select(volume, policies, keys)
        if selection is None:
            continue
        name = selection.policy_name
        if name is not None:
            selected.add(volume.id)
        if only_policies and name in policies.names and name not in only_policies:
            continue
        if not only_volumes or volume.id in only_volumes:
            owned = own_snapshots(volume, by_volume.get(volume.id, ()), keys)
            status = _volume_status(now, volume, selection, owned)
            stale = stale_tags(volume, keys)
            statuses.append(replace(status, warnings=(stale, *status.warnings)) if stale else status)
    found = {status.volume_id for status in statuses}
    missing = tuple(f"{volume_id}: asked for, but not found" for volume_id in only_volumes if volume_id not in found)
    orphaned = sum(len(listed) for volume_id, listed in by_volume.items() if volume_id not in selected)
    return StatusReport(now, tuple(statuses), (*faults, *missing), orphaned)


def _volume_status(now: datetime, volume: Volume, selection: Selection, snapshots: Sequence[Snapshot]) -> VolumeStatus:
    name, policy = selection.policy_name, selection.policy
    if selection.obstacle is Obstacle.OPTED_OUT:
        return VolumeStatus(volume.id, name, Status.OUTSIDE, selection.reason)
    if name is None or policy is None:
        return VolumeStatus(volume.id, name, Status.UNPROTECTED, selection.reason)
    outside = selection.reason if selection.obstacle else None
    periods = tuple(
        _judge_period(now, volume, period, snapshots, watched=outside is None)
        for period in Period
        if (rule := policy.rule(period)) and rule.retain_count
    )
    newest = max((period.newest for period in periods if period.newest is not None), key=_age_order, default=None)
    status, reason = _overall(name, periods, outside)
    consistency = newest.consistency if newest else None
    return VolumeStatus(volume.id, name, status, reason, periods, consistency, _warnings(now, policy, periods, newest))


def _judge_period(
    now: datetime, volume: Volume, period: Period, snapshots: Iterable[Snapshot], *, watched: bool
) -> PeriodStatus:
    kept = [snapshot for snapshot in snapshots if period.value in snapshot.periods]
    newest = max((snapshot for snapshot in kept if snapshot.state.is_good), key=_age_order, default=None)
    failed = max((snapshot for snapshot in kept if snapshot.state is SnapshotState.ERROR), key=_age_order, default=None)
    if failed is not None and newest is not None and _age_order(failed) < _age_order(newest):
        failed = None
    if not watched:
        return PeriodStatus(period, Status.OUTSIDE, newest, failed)
    due_since = slot(period, newest.start_time)[1] if newest else volume.create_time
    if due_since is None or now > due_since + GRACE[period]:
        status = Status.OVERDUE
    else:
        status = Status.PROTECTED if newest else Status.WAITING
    return PeriodStatus(period, status, newest, failed, due_since)


def _overall(name: str, periods: Sequence[PeriodStatus], outside: str | None) -> tuple[Status, str]:
    """The volume's status from those of its periods, and the reason, if any."""
    if not periods:
        return Status.NOT_DUE, f"policy {name} keeps no snapshots"
    if outside is not None:
        return Status.OUTSIDE, outside
    late = [period for period in periods if period.status is Status.OVERDUE]
    if all(period.newest is None for period in periods):
        failed = [period.failed.id for period in periods if period.failed is not None]
        tried = f"; {failed[0]} failed" if failed else ""
        if late:
            return Status.UNPROTECTED, f"no usable snapshot that policy {name} keeps{tried}"
        return Status.WAITING, f"for its first snapshot{tried}"
    if late:
        return Status.OVERDUE, "; ".join(_lateness(period) for period in late)
    return Status.PROTECTED, ""


def _lateness(late: PeriodStatus) -> str:
    since = f"due since {_clock(late.due_since)}" if late.due_since else "none yet"
    return f"{late.period}: {since}" + (f", {late.failed.id} failed" if late.failed else "")


def _warnings(
    now: datetime, policy: Policy, periods: Iterable[PeriodStatus], newest: Snapshot | None
) -> tuple[str, ...]:
    failed = {period.failed for period in periods if period.failed is not None}
    slow = {period.newest for period in periods if period.newest is not None and _is_slow(now, period.newest)}
    warnings = [f"{snapshot.id} of {_clock(snapshot.start_time)} failed" for snapshot in sorted(failed, key=_age_order)]
    warnings += [
        f"{snapshot.id} is pending since {_clock(snapshot.start_time)}" for snapshot in sorted(slow, key=_age_order)
    ]
    if newest is None or not policy.hook_document or newest.start_time > now - LONGEST_RUN:
        return tuple(warnings)
    if newest.consistency is Consistency.CRASH:
        warnings.append(f"{newest.id} is only crash-consistent: the hook {policy.hook_document} did not prove it")
    return tuple(warnings)


def _is_slow(now: datetime, snapshot: Snapshot) -> bool:
    return snapshot.state is SnapshotState.PENDING and now - snapshot.start_time > SLOW


def _age_order(snapshot: Snapshot) -> tuple[datetime, str]:
    return snapshot.start_time, snapshot.id


def _clock(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M")


def summary(report: StatusReport) -> Mapping[str, int]:
    """The counts, by their names in the JSON report."""
    counts = {status.value.replace(" ", "_"): report.count(status) for status in Status}
    return {
        "volumes": len(report.volumes),
        **counts,
        "warnings": sum(len(volume.warnings) for volume in report.volumes),
        "faults": len(report.faults),
        "orphaned_snapshots": report.orphaned_snapshots,
    }
