"""Adoption: use a snapshot that was just created for a volume instead of creating another.

A create has no client token. When EC2 refuses one because another was started within 15 seconds, the other may be
ours: from a create whose response was lost, or from a concurrent run.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from lambda_function.errors import AwsError
from lambda_function.model.ec2 import Snapshot
from lambda_function.model.request import RunRequest
from lambda_function.model.tags import ordered_periods
from lambda_function.plan.create_calls import CreateCall
from lambda_function.plan.due import VolumePlan
from lambda_function.plan.ownership import own_snapshots
from lambda_function.plan.sharing import (
    find_slot_snapshot,
    joined_periods,
    proved_sets,
    sets_in_question,
    sharing_candidate,
)
from lambda_function.run.context import RunContext
from lambda_function.run.create_result import CreateResult

LOOK_AFTER_SECONDS = (0.0, 5.0, 10.0)
"""Waits before each poll; their sum is the 15 seconds after which EC2 allows another create."""


class _Listing(NamedTuple):
    """Snapshots of some volumes, and the sets that an `application` snapshot proves, listed or not."""

    snapshots: Sequence[Snapshot]
    proved: Collection[str]


class Adopter:
    """Finds and adopts snapshots for the volumes of one run; safe to use from several threads."""

    def __init__(self, request: RunRequest, context: RunContext) -> None:
        self._request = request
        self._context = context

    def wait_and_adopt(self, call: CreateCall, reserve: float) -> list[CreateResult]:
        """Adopt what appears within EC2's 15 seconds for the call's volumes; empty if nothing does.

        Raises OutOfTimeError if waiting would leave less than `reserve` seconds, and AwsError.
        """
        self._context.deadline.interruption.check()
        for seconds in LOOK_AFTER_SECONDS:
            if seconds:
                self._context.deadline.wait(seconds, reserve)
            listed = self._list(call.plans)
            found = [(plan, self._find(plan, listed)) for plan in call.plans]
            if adopted := [_adopted(plan, snapshot, call.notes) for plan, snapshot in found if snapshot is not None]:
                return adopted
        return []

    def adopt(self, refused: Sequence[CreateResult]) -> list[CreateResult]:
        """These results, with an adopted snapshot in place of the error where one exists now.

        A failed listing or tag change adopts nothing for its volumes, because the error they have says more. Nor does
        an interrupted run.
        """
        if not refused or self._context.deadline.interruption.is_set:
            return list(refused)
        try:
            listed = self._list([result.plan for result in refused])
        except AwsError:
            return list(refused)
        return [self._adopt_instead(result, listed) for result in refused]

    def _adopt_instead(self, refused: CreateResult, listed: _Listing) -> CreateResult:
        try:
            snapshot = self._find(refused.plan, listed)
        except AwsError:
            return refused
        return refused if snapshot is None else _adopted(refused.plan, snapshot, refused.warnings)

    def _list(self, plans: Sequence[VolumePlan]) -> _Listing:
        ebs, request = self._context.ebs, self._request
        snapshots = ebs.list_snapshots(request.period.up_to(), [plan.volume.id for plan in plans])
        proved = proved_sets(snapshots)
        policies = {plan.policy.name: plan.policy for plan in plans if plan.policy is not None}
        unknown = sets_in_question(request, policies.values(), snapshots, proved)
        return _Listing(snapshots, proved.union(ebs.list_proved_sets(unknown)) if unknown else proved)

    def _find(self, plan: VolumePlan, listed: _Listing) -> Snapshot | None:
        """The snapshot that serves the volume's slot, or one that now does since it was joined."""
        period = self._request.period.value
        of_volume = [snapshot for snapshot in listed.snapshots if snapshot.volume_id == plan.volume.id]
        snapshots = own_snapshots(plan.volume, of_volume, self._context.keys)
        existing = find_slot_snapshot(self._request, [snapshot for snapshot in snapshots if period in snapshot.periods])
        if existing is not None:
            return existing
        if plan.policy is None:
            return None
        candidate = sharing_candidate(self._request, plan.policy, snapshots, listed.proved)
        if candidate is None:
            return None
        joining = joined_periods(self._request, plan.policy, snapshots, candidate)
        if not self._request.dry_run:
            self._context.ebs.set_periods(candidate.id, ordered_periods((*candidate.periods, *joining)))
        return candidate


def _adopted(plan: VolumePlan, snapshot: Snapshot, warnings: tuple[str, ...]) -> CreateResult:
    return CreateResult(plan, snapshot, warnings=warnings, is_adopted=True)
