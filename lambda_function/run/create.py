"""One create call and everything EC2 may answer to it: one snapshot per volume and slot, whatever it answers."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from lambda_function.errors import (
    AutoSnapshotsError,
    AwsError,
    CreationTooSoonError,
    FrozenTooLongError,
    RequestRejectedError,
    TooManyPendingError,
    VolumeNotFoundError,
    VolumePendingError,
)
from lambda_function.model.ec2 import Instance, Snapshot, SnapshotState, UnrequestedSnapshot
from lambda_function.model.request import RunRequest
from lambda_function.plan.create_calls import CreateCall, single
from lambda_function.plan.due import VolumePlan
from lambda_function.run.adopt import Adopter
from lambda_function.run.context import RunContext
from lambda_function.run.create_result import CreateResult
from lambda_function.run.pending_quota import PendingQuota

logger = logging.getLogger(__name__)

RESERVE_SECONDS = 45.0
"""No create is begun with less time left: its retries, and the pruning of what is done, need it."""

VOLUME_PENDING_SECONDS = 30.0
ATTEMPTS = 4

_NOT_AS_A_SET = (RequestRejectedError, VolumeNotFoundError, VolumePendingError)
"""A set's errors that may be one volume's: the volumes are then taken singly."""


class Creator:
    """Makes the create calls of one run; safe to use from several threads."""

    def __init__(self, request: RunRequest, context: RunContext, instances: Mapping[str, Instance]) -> None:
        self._request = request
        self._context = context
        self._instances = instances
        self._adopter = Adopter(request, context)
        self.quota = PendingQuota(context.ebs.count_pending, context.deadline)

    def create(self, call: CreateCall, begin_by: float | None = None) -> list[CreateResult | UnrequestedSnapshot]:
        """Create the call's snapshots: a result for each volume, and what EC2 made besides.

        With `begin_by`, a moment of the elapsed clock, an instance is frozen meanwhile: nothing is waited for, and
        nothing begun after that moment. Failures are results, never exceptions, so that others go on.
        """
        try:
            return self._create(call, begin_by)
        except Exception as error:
            if not isinstance(error, AutoSnapshotsError):
                logger.exception("unexpected while creating snapshots of %s", ", ".join(call.volume_ids))
            return [CreateResult(plan, error=error, warnings=call.notes) for plan in call.plans]

    def _create(self, call: CreateCall, begin_by: float | None) -> list[CreateResult | UnrequestedSnapshot]:
        attempts = 0
        while True:
            try:
                return self._attempt(call, begin_by)
            except AwsError as error:
                if call.is_set and isinstance(error, _NOT_AS_A_SET):
                    return self._singly(call.plans, f"not as a set: {error}", begin_by)
                if begin_by is not None:
                    raise
                recovered = self._recover(call, error)
                if recovered:
                    return recovered
                # Without room for it the call was not tried: it waits until there is, or time is out.
                attempts += not isinstance(error, TooManyPendingError)
                if attempts == ATTEMPTS:
                    raise

    def _attempt(self, call: CreateCall, begin_by: float | None) -> list[CreateResult | UnrequestedSnapshot]:
        deadline = self._context.deadline
        if begin_by is None:
            deadline.require(RESERVE_SECONDS)
            with self.quota.taken(len(call.plans), RESERVE_SECONDS):
                snapshots = self._send(call, urgent=False)
        elif deadline.elapsed() <= begin_by:
            snapshots = self._send(call, urgent=True)
        else:
            raise FrozenTooLongError("not begun: the instance had been frozen for too long")
        return self._compare(call, snapshots, begin_by)

    def _send(self, call: CreateCall, *, urgent: bool) -> list[Snapshot]:
        if self._request.dry_run:
            return [self._assumed(plan) for plan in call.plans]
        ebs = self._context.ebs
        if call.instance_id is None:
            return [ebs.create_snapshot(call.volume_ids[0], call.description, call.tags, urgent=urgent)]
        return ebs.create_snapshots(
            call.instance_id, call.exclude_boot, call.exclude_data, call.description, call.tags, urgent=urgent
        )

    def _assumed(self, plan: VolumePlan) -> Snapshot:
        request = self._request
        return Snapshot("(new)", plan.volume.id, request.time, SnapshotState.PENDING, (request.period.value,))

    def _compare(
        self, call: CreateCall, snapshots: Sequence[Snapshot], begin_by: float | None
    ) -> list[CreateResult | UnrequestedSnapshot]:
        """EC2's answer beside what was asked for; what a set's answer lacks is created singly."""
        by_volume = {snapshot.volume_id: snapshot for snapshot in snapshots}
        made = [
            CreateResult(
                plan,
                by_volume[plan.volume.id],
                consistency=call.consistency,
                warnings=(*call.tag_warnings, *call.notes),
                set_of=call.instance_id,
            )
            for plan in call.plans
            if plan.volume.id in by_volume
        ]
        unrequested = [
            UnrequestedSnapshot(snapshot, f"not asked for: attached to {call.instance_id} while its set was taken")
            for snapshot in snapshots
            if snapshot.volume_id not in call.volume_ids
        ]
        missing = [plan for plan in call.plans if plan.volume.id not in by_volume]
        alone = self._singly(missing, f"not in the set of {call.instance_id}: detached meanwhile", begin_by)
        return [*made, *alone, *unrequested]

    def _singly(
        self, plans: Sequence[VolumePlan], note: str, begin_by: float | None
    ) -> list[CreateResult | UnrequestedSnapshot]:
        calls = (single(plan, self._instances, self._context.keys, self._request.period, note) for plan in plans)
        return [created for call in calls for created in self.create(call, begin_by)]

    def _recover(self, call: CreateCall, error: AwsError) -> list[CreateResult | UnrequestedSnapshot]:
        """Wait until the call may be tried again; or what came of it, if it need not be. Else raises the error."""
        match error:
            case TooManyPendingError():
                self.quota.refused(RESERVE_SECONDS)
            case VolumePendingError():
                self._context.deadline.wait(VOLUME_PENDING_SECONDS, RESERVE_SECONDS)
            case CreationTooSoonError():
                adopted = self._adopter.wait_and_adopt(call.plans, RESERVE_SECONDS)
                if adopted:
                    served = {result.plan.volume.id for result in adopted}
                    rest = [plan for plan in call.plans if plan.volume.id not in served]
                    note = "not as a set: another volume of it had just been served"
                    return [*adopted, *self._singly(rest, note, None)]
            case _:
                raise error
        return []
