"""What a run is to do with each volume, and why: a pure function of what EC2 holds and the moment.

No call, no clock, no environment; everything that decides is here, in `retention.py` and in
`create_calls.py`, so that a table can test it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from lambda_function.inputs.policy import Policy, PolicySet
from lambda_function.model.ec2 import Snapshot, SnapshotState, Volume
from lambda_function.model.period import Period, RetentionRule, in_slot
from lambda_function.model.request import RunRequest
from lambda_function.model.result import Outcome
from lambda_function.model.tags import TagKeys, has_room_for_periods
from lambda_function.plan.selection import Obstacle, Selection, select

SHARING_AGE = timedelta(hours=1)
"""A longer period joins a shorter one's snapshot no older than this."""

_PASSED_OVER = {
    Obstacle.UNKNOWN_POLICY: Outcome.UNKNOWN_POLICY,
    Obstacle.FAULTY_POLICY: Outcome.FAULTY_POLICY,
    Obstacle.OUTSIDE_POLICY: Outcome.OUTSIDE,
}


@dataclass(frozen=True, slots=True)
class VolumePlan:
    """What is to be done with one volume.

    `outcome` is WOULD_CREATE, WOULD_SHARE or one of the final ones. `slot_snapshot` is the snapshot that
    is to be shared, or that already serves the slot; `joining` are the periods to be added to a shared
    one. `count` is the policy's N when the period is
    this policy's business, so that pruning is allowed; otherwise None. `snapshots` are those of this
    volume that bear the period.
    """

    volume: Volume
    policy_name: str | None
    policy: Policy | None
    outcome: Outcome
    reason: str
    slot_snapshot: Snapshot | None = None
    joining: tuple[Period, ...] = ()
    rule: RetentionRule | None = None
    snapshots: tuple[Snapshot, ...] = ()


@dataclass(frozen=True)
class RunPlan:
    """The plans of all volumes in the order of their ids, and what else a person should know.

    `failed_snapshots` are those in state `error`; `orphaned` counts snapshots whose volume is gone or
    no longer selected. `missing` are requested volumes that nothing was planned for, with the reason.
    """

    volumes: tuple[VolumePlan, ...]
    warnings: tuple[str, ...]
    missing: tuple[str, ...]
    failed_snapshots: tuple[str, ...]
    orphaned: int


def plan_run(
    request: RunRequest,
    policies: PolicySet,
    volumes: Iterable[Volume],
    snapshots: Iterable[Snapshot],
    keys: TagKeys,
) -> RunPlan:
    """Decide for every selected volume; `snapshots` are those that bear this period or a shorter one."""
    by_volume: dict[str, list[Snapshot]] = defaultdict(list)
    for snapshot in snapshots:
        by_volume[snapshot.volume_id].append(snapshot)
    plans: list[VolumePlan] = []
    warnings: list[str] = []
    selected: set[str] = set()
    for volume in sorted(volumes, key=lambda volume: volume.id):
        selection = select(volume, policies, keys)
        if selection is None:
            continue
        if selection.policy_name is None:
            warnings.append(f"{volume.id}: {selection.reason}")
            continue
        selected.add(volume.id)
        if _is_asked_for(volume, selection.policy_name, request, policies):
            plans.append(_plan_volume(volume, selection, request, by_volume.get(volume.id, [])))
    return RunPlan(
        volumes=tuple(plans),
        warnings=tuple(warnings),
        missing=_missing(request, selected, plans),
        failed_snapshots=_failed(request.period, by_volume),
        orphaned=sum(
            request.period.value in snapshot.periods
            for volume_id, of_volume in by_volume.items()
            if volume_id not in selected
            for snapshot in of_volume
        ),
    )


def greatest_newest_age(
    plans: Iterable[VolumePlan], slot_snapshots: Mapping[str, Snapshot], now: datetime
) -> float | None:
    """Seconds since the newest good snapshot of the volume that is worst off; None where no volume has one.

    Of the volumes whose policy keeps the period; `slot_snapshots` are those that serve this run's slot, by volume.
    A volume without any is not counted: it has no age, and its create has failed by name.
    """
    ages = []
    for plan in plans:
        if plan.rule is None or plan.rule.retain_count == 0:
            continue
        known = (*plan.snapshots, *((slot_snapshots[plan.volume.id],) if plan.volume.id in slot_snapshots else ()))
        good = [each.start_time for each in known if each.state.is_good]
        if good:
            ages.append(max(0.0, (now - max(good)).total_seconds()))
    return max(ages, default=None)


def _is_asked_for(volume: Volume, policy_name: str, request: RunRequest, policies: PolicySet) -> bool:
    if request.volumes and volume.id not in request.volumes:
        return False
    # A tag that names no policy is never silent, whichever policies were asked for.
    return not request.policies or policy_name in request.policies or policy_name not in policies.names


def _missing(request: RunRequest, selected: set[str], plans: list[VolumePlan]) -> tuple[str, ...]:
    planned = {plan.volume.id for plan in plans}
    return tuple(
        f"{volume_id}: asked for, but " + ("its policy was not" if volume_id in selected else "no such tagged volume")
        for volume_id in request.volumes
        if volume_id not in planned
    )


def _failed(period: Period, by_volume: Mapping[str, list[Snapshot]]) -> tuple[str, ...]:
    return tuple(
        sorted(
            snapshot.id
            for of_volume in by_volume.values()
            for snapshot in of_volume
            if snapshot.state is SnapshotState.ERROR and period.value in snapshot.periods
        )
    )


def _plan_volume(volume: Volume, selection: Selection, request: RunRequest, snapshots: list[Snapshot]) -> VolumePlan:
    name, policy = selection.policy_name, selection.policy
    if policy is None or selection.obstacle is not None:
        outcome = _PASSED_OVER[selection.obstacle or Obstacle.UNKNOWN_POLICY]
        return VolumePlan(volume, name, policy, outcome, selection.reason)
    rule = policy.rule(request.period)
    if rule is None:
        reason = f"policy {policy.name} does not manage {request.period.adjective} snapshots"
        return VolumePlan(volume, name, policy, Outcome.NOT_DUE, reason)
    word = request.period.value
    ours = tuple(snapshot for snapshot in snapshots if word in snapshot.periods)
    outcome, reason, slot_snapshot = _decide(policy, rule, request, snapshots, ours)
    joining: tuple[Period, ...] = ()
    if outcome is Outcome.WOULD_SHARE and slot_snapshot is not None:
        joining = joined_periods(request, policy, snapshots, slot_snapshot)
        reason += "".join(f"; the {period} was due as well" for period in joining[:-1])
    return VolumePlan(volume, name, policy, outcome, reason, slot_snapshot, joining, rule, ours)


def _decide(
    policy: Policy, rule: RetentionRule, request: RunRequest, snapshots: list[Snapshot], ours: tuple[Snapshot, ...]
) -> tuple[Outcome, str, Snapshot | None]:
    period = request.period
    if rule.retain_count == 0:
        return Outcome.NOT_DUE, f"policy {policy.name} keeps no {period.adjective} snapshots", None
    slot_snapshot = find_slot_snapshot(request, ours)
    if slot_snapshot is not None:
        what = "since the forced event's time" if request.force else f"in this {period}"
        return (
            Outcome.ALREADY_DONE,
            f"{slot_snapshot.id} was started {what} ({_clock(slot_snapshot.start_time)})",
            slot_snapshot,
        )
    candidate = sharing_candidate(request, policy.name, snapshots)
    if candidate is not None:
        reason = f"{candidate.id} was taken for the {candidate.periods[0]} at {_clock(candidate.start_time)}"
        return Outcome.WOULD_SHARE, reason, candidate
    if request.force:
        return Outcome.WOULD_CREATE, "forced", None
    if any(s.state is SnapshotState.ERROR and in_slot(period, request.time, s.start_time) for s in ours):
        return Outcome.WOULD_CREATE, f"the one started in this {period} failed", None
    return Outcome.WOULD_CREATE, f"none started in this {period} yet", None


def find_slot_snapshot(request: RunRequest, ours: Iterable[Snapshot]) -> Snapshot | None:
    """The newest good snapshot by which the slot is done, among those that bear the period.

    With `force` only one started at or after the event's time counts.
    """
    if request.force:
        good = [s for s in ours if s.state.is_good and s.start_time >= request.time]
    else:
        good = [s for s in ours if s.state.is_good and in_slot(request.period, request.time, s.start_time)]
    return max(good, key=_age_order, default=None)


def sharing_candidate(request: RunRequest, policy_name: str, snapshots: Iterable[Snapshot]) -> Snapshot | None:
    """The newest snapshot that this period may join instead of taking one of its own.

    Taken by the same policy for a shorter period, in this slot, at most an hour old. Never one of the
    cron script's (it names no policy), never with `force`, never one whose tag other tools' words have filled.
    """
    if request.force:
        return None
    shorter = {period.value for period in request.period.up_to()} - {request.period.value}
    candidates = [
        snapshot
        for snapshot in snapshots
        if snapshot.state.is_good
        and snapshot.policy == policy_name
        and request.period.value not in snapshot.periods
        and not shorter.isdisjoint(snapshot.periods)
        and has_room_for_periods(snapshot.periods)
        and in_slot(request.period, request.time, snapshot.start_time)
        and snapshot.start_time >= request.time - SHARING_AGE
    ]
    return max(candidates, key=_age_order, default=None)


def joined_periods(
    request: RunRequest, policy: Policy, snapshots: Iterable[Snapshot], candidate: Snapshot
) -> tuple[Period, ...]:
    """The periods whose words are written on the volume's shared snapshot, shortest first: this one and those due.

    EC2 cannot change a tag on condition. Were a run of a shorter period that is due, and would join the same snapshot,
    under way, its word could be lost to our writing of the tag; a longer period's word lost to a shorter one's run is
    written again the next time its rule fires, a day's would not be.
    """
    due = []
    known = list(snapshots)
    for period in request.period.up_to()[:-1]:
        shorter = replace(request, period=period)
        kept_for_it = [s for s in known if period.value in s.periods]
        rule = policy.rule(period)
        if rule is not None and rule.retain_count > 0 and find_slot_snapshot(shorter, kept_for_it) is None:
            own_candidate = sharing_candidate(shorter, candidate.policy or "", [candidate])
            due += [period] if own_candidate is not None else []
    return (*due, request.period)


def _age_order(snapshot: Snapshot) -> tuple[datetime, str]:
    return snapshot.start_time, snapshot.id


def _clock(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M")
