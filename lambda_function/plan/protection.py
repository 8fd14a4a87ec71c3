"""Is every tagged volume protected, and is what is due there? A pure function of what EC2 holds and the moment.

The rule, in one sentence: a period is due from the end of the slot in which its newest good snapshot was started
(without one: from the volume's creation), and overdue when the grace after that is over.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from lambda_function.inputs.policy import Policy, PolicySet
from lambda_function.model.ec2 import Consistency, Snapshot, SnapshotState, Volume
from lambda_function.model.period import Period, slot
from lambda_function.model.tags import TagKeys
from lambda_function.plan.selection import Selection, select

GRACE = {period: timedelta(hours=3) if period is Period.HOUR else timedelta(days=2) for period in Period}
"""As long as the alarms on runs that do not come wait: the hourly rule fires hourly, the other four daily."""

LONGEST_RUN = timedelta(minutes=15)
"""Lambda's limit. Until a run is over, its snapshots may still be raised from `crash` to `application`."""

SLOW = timedelta(days=1)
"""A first full snapshot may be pending for hours; one that is for longer than this is worth a look."""


class Status(StrEnum):
    """How a volume, or a period of one, stands."""

    PROTECTED = "protected"
    WAITING = "waiting"
    OVERDUE = "overdue"
    UNPROTECTED = "unprotected"
    OUTSIDE = "outside policy"
    NOT_DUE = "not due"

    @property
    def is_problem(self) -> bool:
        """Whether a person should look."""
        return self in (Status.OVERDUE, Status.UNPROTECTED)


@dataclass(frozen=True)
class PeriodStatus:
    """One period of one volume: `newest` is the newest good snapshot, `failed` a newer one in state `error`.

    `due_since` is when the next one became, or becomes, due; None where that is not known.
    """

    period: Period
    status: Status
    newest: Snapshot | None = None
    failed: Snapshot | None = None
    due_since: datetime | None = None


@dataclass(frozen=True)
class VolumeStatus:
    """One tagged volume, in words where it is not as it should be."""

    volume_id: str
    policy: str | None
    status: Status
    reason: str = ""
    periods: tuple[PeriodStatus, ...] = ()
    consistency: Consistency | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class StatusReport:
    """All tagged volumes in the order of their ids; `faults` are those of policies and of what was asked for."""

    time: datetime
    volumes: tuple[VolumeStatus, ...]
    faults: tuple[str, ...]
    orphaned_snapshots: int

    @property
    def is_well(self) -> bool:
        """Whether every volume is protected, or need not be, and nothing is overdue or faulty."""
        return not self.faults and not any(volume.status.is_problem for volume in self.volumes)

    def count(self, status: Status) -> int:
        """Number of volumes that stand so."""
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
    """How every tagged volume stands; `snapshots` are all of ours, in any order.

    With `only_policies`, volumes whose tag names no policy or is misspelt are shown all the same, as a run does.
    `faults` are those that reading the policies found.
    """
    by_volume: dict[str, list[Snapshot]] = defaultdict(list)
    for snapshot in snapshots:
        by_volume[snapshot.volume_id].append(snapshot)
    judged: list[VolumeStatus] = []
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
            judged.append(_judge(now, volume, selection, by_volume.get(volume.id, [])))
    found = {each.volume_id for each in judged}
    missing = tuple(f"{each}: asked for, but not found" for each in only_volumes if each not in found)
    orphaned = sum(len(of_volume) for volume_id, of_volume in by_volume.items() if volume_id not in selected)
    return StatusReport(now, tuple(judged), (*faults, *missing), orphaned)


def _judge(now: datetime, volume: Volume, selection: Selection, snapshots: list[Snapshot]) -> VolumeStatus:
    name, policy = selection.policy_name, selection.policy
    if name is None or policy is None:
        return VolumeStatus(volume.id, name, Status.UNPROTECTED, selection.reason)
    outside = selection.reason if selection.obstacle else None
    periods = tuple(
        _judge_period(now, volume, period, snapshots, watched=outside is None)
        for period in Period
        if (rule := policy.rule(period)) and rule.retain_count
    )
    newest = max((p.newest for p in periods if p.newest is not None), key=_age_order, default=None)
    status, reason = _whole(name, periods, outside)
    consistency = newest.consistency if newest else None
    return VolumeStatus(volume.id, name, status, reason, periods, consistency, _warnings(now, policy, periods, newest))


def _judge_period(
    now: datetime, volume: Volume, period: Period, snapshots: Iterable[Snapshot], *, watched: bool
) -> PeriodStatus:
    kept = [snapshot for snapshot in snapshots if period.value in snapshot.periods]
    newest = max((each for each in kept if each.state.is_good), key=_age_order, default=None)
    failed = max((each for each in kept if each.state is SnapshotState.ERROR), key=_age_order, default=None)
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


def _whole(name: str, periods: Sequence[PeriodStatus], outside: str | None) -> tuple[Status, str]:
    """The volume's status from those of its periods, and the reason where there is something to say."""
    if not periods:
        return Status.NOT_DUE, f"policy {name} keeps no snapshots"
    if outside is not None:
        return Status.OUTSIDE, outside
    late = [each for each in periods if each.status is Status.OVERDUE]
    if all(each.newest is None for each in periods):
        failed = [each.failed.id for each in periods if each.failed is not None]
        tried = f"; {failed[0]} failed" if failed else ""
        if late:
            return Status.UNPROTECTED, f"no usable snapshot that policy {name} keeps{tried}"
        return Status.WAITING, f"for its first snapshot{tried}"
    if late:
        return Status.OVERDUE, "; ".join(_lateness(each) for each in late)
    return Status.PROTECTED, ""


def _lateness(late: PeriodStatus) -> str:
    since = f"due since {_clock(late.due_since)}" if late.due_since else "none yet"
    return f"{late.period}: {since}" + (f", {late.failed.id} failed" if late.failed else "")


def _warnings(
    now: datetime, policy: Policy, periods: Iterable[PeriodStatus], newest: Snapshot | None
) -> tuple[str, ...]:
    failed = {each.failed for each in periods if each.failed is not None}
    slow = {each.newest for each in periods if each.newest is not None and _is_slow(now, each.newest)}
    warnings = [f"{each.id} of {_clock(each.start_time)} failed" for each in sorted(failed, key=_age_order)]
    warnings += [f"{each.id} is pending since {_clock(each.start_time)}" for each in sorted(slow, key=_age_order)]
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
    """The counts, under the names that the JSON report uses."""
    counts = {status.value.replace(" ", "_"): report.count(status) for status in Status}
    return {
        "volumes": len(report.volumes),
        **counts,
        "warnings": sum(len(volume.warnings) for volume in report.volumes),
        "faults": len(report.faults),
        "orphaned_snapshots": report.orphaned_snapshots,
    }
