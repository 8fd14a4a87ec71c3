"""One create call and every possible response: one snapshot per volume and slot, whatever EC2 returns."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lambda_function.errors import (
    AutoSnapshotsError,
    AwsError,
    CreationTooSoonError,
    FrozenTooLongError,
    NoAnswerError,
    ThrottledError,
    TooManyPendingError,
    VolumePendingError,
)
from lambda_function.model.ec2 import Instance, Snapshot, SnapshotState, UnrequestedSnapshot
from lambda_function.model.request import RunRequest
from lambda_function.model.result import Change, ChangeOutcome, ChangeResult
from lambda_function.parallel import in_parallel
from lambda_function.plan.create_calls import CreateCall, plan_creates, single
from lambda_function.plan.due import VolumePlan
from lambda_function.plan.failed import plan_before_create, plan_room
from lambda_function.plan.retention import PlannedChange
from lambda_function.run.adopt import Adopter
from lambda_function.run.context import RunContext
from lambda_function.run.create_result import CreateResult
from lambda_function.run.offline import OfflineCheck
from lambda_function.run.pending_quota import PendingQuota
from lambda_function.run.prune import Changer
from lambda_function.run.quota_line import Claim

logger = logging.getLogger(__name__)

RESERVE_SECONDS = 45.0
"""No create starts with less time left: its retries, and pruning after it, need the time."""

VOLUME_PENDING_SECONDS = 30.0
ATTEMPTS = 4

_SAME_FOR_SINGLES = (NoAnswerError, ThrottledError, TooManyPendingError, CreationTooSoonError)
"""A set's errors that are no reason to create its volumes singly.

The set may have been created after all, EC2 takes no calls or no snapshots for now, or one of the volumes has just been
served. Any other error may be due to one volume, to its key, or to the call itself, which a policy may deny where it
allows single creates. EC2's codes for these are not all documented, so the list is of what is known.
"""


def part_note(instance_ids: Sequence[str]) -> str:
    """Why the volumes of a set, or of a freeze, are not of one instant."""
    return f"in parts: for a minute, EC2 had no room for so many pending snapshots at once ({', '.join(instance_ids)})"


def new_set_id() -> str:
    """A value of the `-SET` tag, for what is taken at one instant or under one freeze."""
    return str(uuid.uuid4())


@dataclass(frozen=True, slots=True)
class Frozen:
    """What the creates under one freeze share.

    None begins after `begin_by`, in seconds of the elapsed clock. All of them have `set_id`, whether they are one
    call or many.
    """

    begin_by: float
    set_id: str


Created = CreateResult | UnrequestedSnapshot | ChangeResult
"""What comes of a create call: each volume's result, what EC2 made besides, and the failed ones deleted for it."""


class Creator:
    """Makes the create calls of one run; safe to use from several threads."""

    def __init__(
        self, request: RunRequest, context: RunContext, instances: Mapping[str, Instance], offline: OfflineCheck
    ) -> None:
        self._request = request
        self._context = context
        self.instances = instances
        self._offline = offline
        self._changer = Changer(request, context)
        self._deleted: set[str] = set()
        self.adopter = Adopter(request, context)
        self.quota = PendingQuota(context.ebs.count_pending, context.deadline)

    def create(self, call: CreateCall, frozen: Frozen | None = None, claim: Claim | None = None) -> list[Created]:
        """Create the call's snapshots: one result per volume, any unrequested snapshots, and what was deleted for it.

        With `frozen`, an instance is: nothing waits, and nothing starts late. `claim` is the call's if it is the rest
        of one. Failures are results, never exceptions, so that other creates continue.
        """
        deleted: list[ChangeResult] = []
        try:
            return [*self._create(call, frozen, claim or Claim(len(call.plans)), deleted), *deleted]
        except Exception as error:
            if not isinstance(error, AutoSnapshotsError):
                logger.exception("unexpected while creating snapshots of %s", ", ".join(call.volume_ids))
            return [*(CreateResult(plan, error=error, warnings=call.notes) for plan in call.plans), *deleted]

    def delete_failed(self, plans: Sequence[VolumePlan]) -> list[ChangeResult]:
        """Delete the volumes' failed snapshots, once in a run, as EC2 counts them towards its limit for the next one.

        Just before that is made, and not earlier: where it never comes to that, they have to be known to the next run.
        """
        changes = [
            change
            for plan in plans
            for change in plan_before_create(
                plan.volume, plan.failed, plan.last_failed, with_kept=self._request.dry_run
            )
        ]
        kept = [change.result(ChangeOutcome.PLANNED) for change in changes if change.change is Change.KEEP]
        return [*kept, *self._delete([change for change in changes if change.change is Change.DELETE])]

    def _delete(self, changes: Sequence[PlannedChange]) -> list[ChangeResult]:
        left = [change for change in changes if change.snapshot.id not in self._deleted]
        self._deleted.update(change.snapshot.id for change in left)
        return list(self._changer.apply(left))

    def _create(
        self, call: CreateCall, frozen: Frozen | None, claim: Claim, deleted: list[ChangeResult]
    ) -> list[Created]:
        attempts = 0
        while True:
            try:
                return self._attempt(call, frozen, claim, deleted)
            except AwsError as error:
                if _refuses_set(error):
                    return self._singly(call.plans, f"not as a set: {error}", frozen)
                if frozen is not None:
                    raise
                recovered = self._recover(call, error, claim, deleted)
                if recovered:
                    return recovered
                # Over the pending quota: not counted as an attempt, but retried until time runs out.
                attempts += not isinstance(error, TooManyPendingError)
                if attempts == ATTEMPTS:
                    raise

    def _attempt(
        self, call: CreateCall, frozen: Frozen | None, claim: Claim, deleted: list[ChangeResult]
    ) -> list[Created]:
        deadline = self._context.deadline
        if self._request.dry_run:
            deleted += self.delete_failed(call.plans)
            snapshots = [self._assumed(plan) for plan in call.plans]
        elif frozen is None:
            deadline.require(RESERVE_SECONDS)
            with self.quota.taken(claim, RESERVE_SECONDS) as room:
                is_whole = room == len(call.plans)
                if is_whole:
                    call = self._offline.checked(call)
                    deleted += self.delete_failed(call.plans)
                    deadline.require(RESERVE_SECONDS)
                    snapshots = self._send(call, new_set_id(), urgent=False)
            if not is_whole:
                # Each part is a create of its own, so that what is wrong with one fails no other.
                parts = self._parts(call, room)
                return [result for part in parts for result in self.create(part, None, claim.rest(len(part.plans)))]
        elif deadline.elapsed() <= frozen.begin_by:
            snapshots = self._send(call, frozen.set_id, urgent=True)
        else:
            raise FrozenTooLongError("not begun: the instance had been frozen for too long")
        return self._compare(call, snapshots, frozen)

    def _parts(self, call: CreateCall, room: int) -> list[CreateCall]:
        """The calls for as many of the call's volumes as there is room for, and those for the others."""
        keys, period = self._context.keys, self._request.period
        note = part_note(call.plans[0].volume.instance_ids)
        return [
            replace(part, notes=call.notes or (*part.notes, note))
            for plans in (call.plans[:room], call.plans[room:])
            for part in plan_creates(plans, self.instances, keys, period)
        ]

    def _send(self, call: CreateCall, set_id: str, *, urgent: bool) -> list[Snapshot]:
        ebs = self._context.ebs
        tags = {**call.tags, self._context.keys.set: set_id}
        if call.instance_id is None:
            return [ebs.create_snapshot(call.volume_ids[0], call.description, tags, urgent=urgent)]
        return ebs.create_snapshots(
            call.instance_id, call.exclude_boot, call.exclude_data, call.description, tags, urgent=urgent
        )

    def _assumed(self, plan: VolumePlan) -> Snapshot:
        request = self._request
        return Snapshot("(new)", plan.volume.id, request.time, SnapshotState.PENDING, (request.period.value,))

    def _compare(self, call: CreateCall, snapshots: Sequence[Snapshot], frozen: Frozen | None) -> list[Created]:
        """Match EC2's response to the request; volumes missing from a set are created singly."""
        by_volume = {snapshot.volume_id: snapshot for snapshot in snapshots}
        created = [
            CreateResult(
                plan,
                by_volume[plan.volume.id],
                consistency=call.consistency,
                warnings=(*call.tag_warnings, *call.notes),
                # A part with a note is not of one instant with all that the instance has.
                set_of=None if call.notes else call.instance_id,
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
        singles = self._singly(missing, f"not in the set of {call.instance_id}: detached meanwhile", frozen)
        return [*created, *singles, *unrequested]

    def _singly(self, plans: Sequence[VolumePlan], note: str, frozen: Frozen | None) -> list[Created]:
        calls = [single(plan, self.instances, self._context.keys, self._request.period, note) for plan in plans]

        def create(call: CreateCall) -> list[Created]:
            return self.create(call, frozen)

        # All at once, since none may begin late while an instance is frozen, and one may have to wait otherwise.
        return [result for results_of_call in in_parallel(create, calls) for result in results_of_call]

    def _recover(self, call: CreateCall, error: AwsError, claim: Claim, deleted: list[ChangeResult]) -> list[Created]:
        """Wait until the call can be retried (empty), or its results if it need not be. Else raises the error."""
        match error:
            case TooManyPendingError():
                self.quota.refused(claim, RESERVE_SECONDS)
            case VolumePendingError():
                # The last failed one may be what is too many.
                last = [plan.last_failed for plan in call.plans if plan.last_failed is not None]
                more = self._delete([plan_room(snapshot) for snapshot in last])
                deleted += more
                if not any(change.outcome is ChangeOutcome.DONE for change in more):
                    self._context.deadline.wait(VOLUME_PENDING_SECONDS, RESERVE_SECONDS)
            case CreationTooSoonError():
                adopted = self.adopter.wait_and_adopt(call, RESERVE_SECONDS)
                if adopted:
                    adopted_ids = {result.plan.volume.id for result in adopted}
                    rest = [plan for plan in call.plans if plan.volume.id not in adopted_ids]
                    note = "not as a set: another volume of it had just been served"
                    return [*adopted, *self._singly(rest, note, None)]
            case _:
                raise error
        return []


def _refuses_set(error: AwsError) -> bool:
    """Whether EC2 refused a set whose volumes may be created singly; counting the pending ones may fail, too."""
    return error.operation == "CreateSnapshots" and not isinstance(error, _SAME_FOR_SINGLES)
