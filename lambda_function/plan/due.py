"""What a run does with each volume, and why: a pure function of EC2's state and the time.

No calls, clock or environment: all decisions are made here, in `sharing.py`, `retention.py` and `create_calls.py`, so
that tables can test them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from lambda_function.inputs.policy import Policy, PolicySet
from lambda_function.model.ec2 import Consistency, Snapshot, SnapshotState, Volume
from lambda_function.model.period import Period, RetentionRule
from lambda_function.model.request import RunRequest
from lambda_function.model.result import Outcome
from lambda_function.model.tags import TagKeys
from lambda_function.plan.failed import is_failed_and_ours, last_failed
from lambda_function.plan.ownership import own_snapshots, stale_tags
from lambda_function.plan.selection import Obstacle, Selection, select
from lambda_function.plan.sharing import (
    find_slot_snapshot,
    joined_periods,
    proved_sets,
    sharing_candidate,
    unproved_candidate,
)

_PASSED_OVER = {
    Obstacle.UNKNOWN_POLICY: Outcome.UNKNOWN_POLICY,
    Obstacle.FAULTY_POLICY: Outcome.FAULTY_POLICY,
    Obstacle.OUTSIDE_POLICY: Outcome.OUTSIDE,
    Obstacle.OPTED_OUT: Outcome.OUTSIDE,
}


@dataclass(frozen=True, slots=True)
class VolumePlan:
    """What to do with one volume.

    `outcome` is WOULD_CREATE, WOULD_SHARE or a final one. `slot_snapshot` is the snapshot to share, or
    the one that the slot already has; `joining` are the periods to add to a shared one. Without a
    `rule`, no policy manages the period and nothing is pruned. `snapshots` are those of this volume
    tagged with the period, without `failed`, which are its snapshots in `error` for whatever period. `last_failed` is
    the newest of those, if it is newer than every completed snapshot.
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
    failed: tuple[Snapshot, ...] = ()
    last_failed: Snapshot | None = None


@dataclass(frozen=True)
class RunPlan:
    """The plans of all volumes in order of id, and what else to report.

    `misspelt` are the volumes whose tag only resembles the key, `stale` those that bear our snapshots' tags, each with
    the reason. `failed_snapshots` are all of ours in state `error`; `orphaned` counts snapshots whose volume is gone
    or no longer selected. `missing` are requested volumes for which nothing can be made, with the reason.
    """

    volumes: tuple[VolumePlan, ...]
    misspelt: tuple[str, ...]
    missing: tuple[str, ...]
    failed_snapshots: tuple[Snapshot, ...]
    orphaned: int
    stale: tuple[str, ...] = ()


def plan_run(
    request: RunRequest,
    policies: PolicySet,
    volumes: Iterable[Volume],
    snapshots: Iterable[Snapshot],
    keys: TagKeys,
    proved_elsewhere: Collection[str] = (),
    failed: Iterable[Snapshot] = (),
) -> RunPlan:
    """Plan every selected volume; `snapshots` are those tagged with this period or a shorter one.

    `proved_elsewhere` are sets with an `application` snapshot that is not among them; `failed` are all in state
    `error`, whatever their period.
    """
    known = {snapshot.id: snapshot for snapshot in (*snapshots, *failed)}
    by_volume: dict[str, list[Snapshot]] = defaultdict(list)
    for snapshot in known.values():
        by_volume[snapshot.volume_id].append(snapshot)
    proved = proved_sets(known.values()).union(proved_elsewhere)
    plans: list[VolumePlan] = []
    misspelt: list[str] = []
    stale: list[str] = []
    selected: set[str] = set()
    for volume in sorted(volumes, key=lambda volume: volume.id):
        selection = select(volume, policies, keys)
        if selection is None:
            continue
        if selection.policy_name is None:
            misspelt.append(f"{volume.id}: {selection.reason}")
            continue
        selected.add(volume.id)
        if tags := stale_tags(volume, keys):
            stale.append(f"{volume.id}: {tags}")
        owned = by_volume[volume.id] = own_snapshots(volume, by_volume[volume.id], keys)
        if _is_asked_for(volume, selection, request):
            plans.append(_plan_volume(volume, selection, request, owned, proved))
    return RunPlan(
        volumes=tuple(plans),
        misspelt=tuple(misspelt),
        missing=_missing(request, selected, plans),
        failed_snapshots=_failed(by_volume.values()),
        orphaned=sum(
            request.period.value in snapshot.periods
            for volume_id, volume_snapshots in by_volume.items()
            if volume_id not in selected
            for snapshot in volume_snapshots
        ),
        stale=tuple(stale),
    )


def greatest_newest_age(
    plans: Iterable[VolumePlan], slot_snapshots: Mapping[str, Snapshot], now: datetime
) -> float | None:
    """The greatest age in seconds of any volume's newest good snapshot; None if no volume has one.

    Only volumes whose policy keeps the period count; `slot_snapshots` are those of this run's slot, by volume.
    A volume without any is not counted: it has no age, and its failed create is reported by name.
    """
    ages = []
    for plan in plans:
        if plan.rule is None or plan.rule.retain_count == 0:
            continue
        known = (*plan.snapshots, *((slot_snapshots[plan.volume.id],) if plan.volume.id in slot_snapshots else ()))
        good = [snapshot.start_time for snapshot in known if snapshot.state.is_good]
        if good:
            ages.append(max(0.0, (now - max(good)).total_seconds()))
    return max(ages, default=None)


def _is_asked_for(volume: Volume, selection: Selection, request: RunRequest) -> bool:
    if request.volumes and volume.id not in request.volumes:
        return False
    # A tag that names no policy is always reported, whichever policies were requested.
    is_unknown = selection.obstacle is Obstacle.UNKNOWN_POLICY
    return not request.policies or selection.policy_name in request.policies or is_unknown


def _missing(request: RunRequest, selected: set[str], plans: list[VolumePlan]) -> tuple[str, ...]:
    """Whoever names a volume waits for its snapshot, so what a run for all passes over is a failure here."""
    planned = {plan.volume.id: plan for plan in plans}
    reasons: dict[str, str] = {}
    for volume_id in request.volumes:
        plan = planned.get(volume_id)
        if plan is None:
            reasons[volume_id] = "its policy was not" if volume_id in selected else "no such tagged volume"
        elif plan.outcome in (Outcome.OUTSIDE, Outcome.UNKNOWN_POLICY) or _is_unmanaged(plan):
            reasons[volume_id] = plan.reason
    return tuple(f"{volume_id}: asked for, but {reason}" for volume_id, reason in reasons.items())


def _is_unmanaged(plan: VolumePlan) -> bool:
    """Whether the policy does not manage the period; one that keeps 0 of it does."""
    return plan.outcome is Outcome.NOT_DUE and plan.rule is None


def _failed(snapshots_of_volumes: Iterable[Iterable[Snapshot]]) -> tuple[Snapshot, ...]:
    failed = [
        snapshot
        for snapshots in snapshots_of_volumes
        for snapshot in snapshots
        if snapshot.state is SnapshotState.ERROR
    ]
    return tuple(sorted(failed, key=lambda snapshot: snapshot.id))


def _plan_volume(
    volume: Volume, selection: Selection, request: RunRequest, known: Sequence[Snapshot], proved: Collection[str]
) -> VolumePlan:
    name, policy = selection.policy_name, selection.policy
    if selection.obstacle is not None:
        return VolumePlan(volume, name, policy, _PASSED_OVER[selection.obstacle], selection.reason)
    assert policy is not None  # noqa: S101  # without a policy there is an obstacle
    rule = policy.rule(request.period)
    if rule is None:
        reason = f"policy {policy.name} does not manage {request.period.adjective} snapshots"
        return VolumePlan(volume, name, policy, Outcome.NOT_DUE, reason)
    failed = tuple(snapshot for snapshot in known if is_failed_and_ours(snapshot))
    snapshots = [snapshot for snapshot in known if snapshot.state is not SnapshotState.ERROR]
    ours = tuple(snapshot for snapshot in snapshots if request.period in snapshot.periods)
    last = last_failed(failed, snapshots)
    outcome, reason, slot_snapshot = _decide(policy, rule, request, snapshots, ours, proved, last)
    joining: tuple[Period, ...] = ()
    if outcome is Outcome.WOULD_SHARE and slot_snapshot is not None:
        joining = joined_periods(request, policy, snapshots, slot_snapshot)
        reason += "".join(f"; the {period} was due as well" for period in joining[:-1])
    return VolumePlan(volume, name, policy, outcome, reason, slot_snapshot, joining, rule, ours, failed, last)


def _decide(
    policy: Policy,
    rule: RetentionRule,
    request: RunRequest,
    snapshots: list[Snapshot],
    ours: tuple[Snapshot, ...],
    proved: Collection[str],
    last_failed: Snapshot | None,
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
    candidate = sharing_candidate(request, policy, snapshots, proved)
    if candidate is not None:
        reason = f"{candidate.id} was taken for the {candidate.periods[0]} at {_clock(candidate.start_time)}"
        if policy.hook_document and candidate.consistency is Consistency.CRASH:
            reason += ", under a freeze that others of its set prove"
        return Outcome.WOULD_SHARE, reason, candidate
    if request.force:
        return Outcome.WOULD_CREATE, "forced", None
    reason = f"none started in this {period} yet"
    if last_failed is not None:
        reason += f"; by itself, not in a set, since {last_failed.id} of {_clock(last_failed.start_time)} failed"
    passed_over = unproved_candidate(request, policy, snapshots, proved)
    if passed_over is not None:
        reason += f"; {passed_over.id} of the {passed_over.periods[0]} is only crash-consistent, so not shared"
    return Outcome.WOULD_CREATE, reason, None


def _clock(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M")
