"""Which snapshot serves a volume's slot, and which of a shorter period a longer one may join: pure functions."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from lambda_function.inputs.policy import Policy
from lambda_function.model.ec2 import Consistency, Snapshot
from lambda_function.model.period import Period, in_slot
from lambda_function.model.request import RunRequest
from lambda_function.model.tags import has_room_for_periods

SHARING_AGE = timedelta(hours=1)
"""A longer period joins a shorter one's snapshot only up to this age."""


def find_slot_snapshot(request: RunRequest, ours: Iterable[Snapshot]) -> Snapshot | None:
    """The newest good snapshot of the slot, among those tagged with the period.

    With `force`, only one started at or after the event's time counts.
    """
    good = (snapshot for snapshot in ours if snapshot.state.is_good)
    if request.force:
        of_slot = [snapshot for snapshot in good if snapshot.start_time >= request.time]
    else:
        of_slot = [snapshot for snapshot in good if in_slot(request.period, request.time, snapshot.start_time)]
    return max(of_slot, key=_age_order, default=None)


def sharing_candidate(
    request: RunRequest, policy: Policy, snapshots: Iterable[Snapshot], proved: Collection[str]
) -> Snapshot | None:
    """The newest snapshot that this period may join instead of creating its own.

    Created by the same policy for a shorter period, in this slot, at most an hour old. Never one of the
    cron script's (it names no policy), never with `force`, never one whose tag other tools' words have filled. With a
    hook, only one that the hook made good, so that a hook that fails once at midnight does not decide the year;
    `proved` are the sets with an `application` snapshot.
    """
    candidates = _candidates(request, policy.name, snapshots)
    return max((each for each in candidates if _is_good_enough(policy, each, proved)), key=_age_order, default=None)


def unproved_candidate(
    request: RunRequest, policy: Policy, snapshots: Iterable[Snapshot], proved: Collection[str]
) -> Snapshot | None:
    """The newest snapshot that this period could join if the policy's hook had made it good."""
    candidates = _candidates(request, policy.name, snapshots)
    return max((each for each in candidates if not _is_good_enough(policy, each, proved)), key=_age_order, default=None)


def proved_sets(snapshots: Iterable[Snapshot]) -> frozenset[str]:
    """The `-SET` ids of which a snapshot is `application`: a freeze was held around all of the set."""
    return frozenset(
        snapshot.set_id
        for snapshot in snapshots
        if snapshot.set_id is not None and snapshot.consistency is Consistency.APPLICATION
    )


def sets_in_question(
    request: RunRequest, policies: Iterable[Policy], snapshots: Collection[Snapshot], proved: Collection[str]
) -> frozenset[str]:
    """The sets that decide whether a snapshot may be joined, and of which no listed snapshot is the proof."""
    return frozenset(
        candidate.set_id
        for policy in policies
        if policy.hook_document
        for candidate in _candidates(request, policy.name, snapshots)
        if candidate.set_id is not None and not _is_good_enough(policy, candidate, proved)
    )


def joined_periods(
    request: RunRequest, policy: Policy, snapshots: Iterable[Snapshot], candidate: Snapshot
) -> tuple[Period, ...]:
    """The periods to add to the volume's shared snapshot, shortest first: shorter ones due, then this one.

    EC2 cannot change a tag conditionally. If a concurrent run of a shorter due period joins the same snapshot, our
    write of the tag could erase its word. A longer period's word that a shorter one's run erases is written again
    when its rule next fires; a day's would cost another snapshot three hours later.
    """
    due = []
    known = list(snapshots)
    for period in request.period.up_to()[:-1]:
        shorter = replace(request, period=period)
        tagged = [snapshot for snapshot in known if period.value in snapshot.periods]
        rule = policy.rule(period)
        if rule is not None and rule.retain_count > 0 and find_slot_snapshot(shorter, tagged) is None:
            due += [period] if _candidates(shorter, policy.name, [candidate]) else []
    return (*due, request.period)


def _candidates(request: RunRequest, policy_name: str, snapshots: Iterable[Snapshot]) -> list[Snapshot]:
    if request.force:
        return []
    shorter = {period.value for period in request.period.up_to()} - {request.period.value}
    return [
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


def _is_good_enough(policy: Policy, snapshot: Snapshot, proved: Collection[str]) -> bool:
    """With a hook: `application`, `offline`, or of a set with an `application` one, as a root volume's is."""
    return not policy.hook_document or snapshot.consistency in _GOOD_ENOUGH or snapshot.set_id in proved


_GOOD_ENOUGH = (Consistency.APPLICATION, Consistency.OFFLINE)


def _age_order(snapshot: Snapshot) -> tuple[datetime, str]:
    return snapshot.start_time, snapshot.id
