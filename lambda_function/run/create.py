"""One create call and everything EC2 may answer to it.

The aim is one snapshot per volume and slot, whatever happens to answers: a create has no client
token, so when EC2 refuses a second one within 15 seconds this looks whether the first one, or that
of a run beside this one, is there, and adopts it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from lambda_function.deadline import Deadline
from lambda_function.errors import (
    AwsError,
    CreationTooSoonError,
    FrozenTooLongError,
    RequestRejectedError,
    TooManyPendingError,
    VolumeNotFoundError,
    VolumePendingError,
)
from lambda_function.model.ec2 import Instance, Snapshot, UnrequestedSnapshot
from lambda_function.model.request import RunRequest
from lambda_function.model.result import Outcome, VolumeResult
from lambda_function.model.tags import TagKeys, ordered_periods
from lambda_function.plan.create_calls import CreateCall, single
from lambda_function.plan.due import VolumePlan, find_slot_snapshot, joined_periods, sharing_candidate
from lambda_function.ports import Ebs
from lambda_function.run.create_result import (
    Creation,
    FrozenOutcome,
    UnitOutcome,
    failures,
    with_warning,
    without_snapshot,
)
from lambda_function.run.pending_quota import PendingQuota

RESERVE_SECONDS = 45.0
"""No create is begun with less time left: its retries, and the pruning of what is done, need it."""

ADOPT_AFTER_SECONDS = (0.0, 5.0, 10.0)
"""When to look for a snapshot that just appeared; in sum the 15 seconds after which EC2 allows another."""

VOLUME_PENDING_SECONDS = 30.0
ATTEMPTS = 4


@dataclass(frozen=True)
class _Answer:
    creations: tuple[Creation, ...]
    missing: tuple[VolumePlan, ...] = ()
    unrequested: tuple[UnrequestedSnapshot, ...] = ()


class Creator:
    """Creates the units of one run; safe to use from several threads."""

    def __init__(
        self,
        ebs: Ebs,
        request: RunRequest,
        keys: TagKeys,
        instances: Mapping[str, Instance],
        deadline: Deadline,
    ) -> None:
        self._ebs = ebs
        self._request = request
        self._keys = keys
        self._instances = instances
        self._deadline = deadline
        self._quota = PendingQuota(ebs.count_pending, deadline)

    def create(self, unit: CreateCall) -> UnitOutcome:
        """Create the unit's snapshots. Failures are results, never exceptions, so that others go on."""
        try:
            return self._attempt(unit)
        except Exception as error:
            return UnitOutcome(failures(unit.plans, error))

    def quota_refused(self) -> None:
        """The cap refused a create under a freeze: wait, and have all further creates wait for room."""
        self._quota.refused(RESERVE_SECONDS)

    def quota(self, snapshots: int) -> AbstractContextManager[None]:
        """Wait until that many more snapshots may be pending, and hold the place. Raises OutOfTimeError."""
        return self._quota.taken(snapshots, RESERVE_SECONDS)

    def create_frozen(self, unit: CreateCall, begin_by: float) -> FrozenOutcome:
        """As `create`, but while something is frozen: it waits for nothing, and `after_thaw` completes it.

        Nothing is begun after `begin_by` on the elapsed clock, so that the freeze stays short.
        """
        try:
            if self._deadline.elapsed() > begin_by:
                raise FrozenTooLongError("not begun: the instance had been frozen for too long")
            answer = self._call(unit, urgent=True)
        except CreationTooSoonError as error:
            return FrozenOutcome((), too_soon=((unit, str(error)),))
        except (RequestRejectedError, VolumeNotFoundError, VolumePendingError) as error:
            if unit.is_set:
                return self._frozen_one_by_one(unit.plans, f"not as a set: {error}", begin_by)
            return FrozenOutcome(failures(unit.plans, error))
        except Exception as error:
            return FrozenOutcome(failures(unit.plans, error), no_room=isinstance(error, TooManyPendingError))
        alone = self._frozen_one_by_one(answer.missing, _detached(unit), begin_by)
        return FrozenOutcome((*answer.creations, *alone.creations), answer.unrequested, alone.too_soon)

    def _frozen_one_by_one(self, plans: Sequence[VolumePlan], why: str, begin_by: float) -> FrozenOutcome:
        outcomes = [self.create_frozen(self._single(plan), begin_by) for plan in plans]
        creations = tuple(with_warning(each, why) for outcome in outcomes for each in outcome.creations)
        return FrozenOutcome(creations, too_soon=tuple(each for outcome in outcomes for each in outcome.too_soon))

    def after_thaw(self, frozen: FrozenOutcome) -> UnitOutcome:
        """Adopt what stood in the way of a create; what cannot be adopted has failed."""
        creations = list(frozen.creations)
        for unit, reason in frozen.too_soon:
            adopted = self.adopted_now(unit)
            served = {creation.plan.volume.id for creation in adopted}
            left = (plan for plan in unit.plans if plan.volume.id not in served)
            creations += [*adopted, *(without_snapshot(plan, Outcome.FAILED, reason) for plan in left)]
        return UnitOutcome(tuple(creations), frozen.unrequested)

    def adopted_now(self, unit: CreateCall) -> list[Creation]:
        """Volumes of the unit that a run beside this one has just served."""
        try:
            return self._find_existing(unit)
        except AwsError:
            # The volumes fail with what was refused, which says more than a failed look.
            return []

    def _attempt(self, unit: CreateCall) -> UnitOutcome:
        last: AwsError | None = None
        attempts = 0
        while attempts < ATTEMPTS:
            self._deadline.require(RESERVE_SECONDS)
            try:
                with self._quota.taken(len(unit.plans), RESERVE_SECONDS):
                    answer = self._call(unit)
                return self._complete(unit, answer)
            except TooManyPendingError:
                # Not an attempt of this unit: it waits until the account has room, or time is out.
                self._quota.refused(RESERVE_SECONDS)
                continue
            except CreationTooSoonError as error:
                last = error
                adopted = self._find_existing_or_wait(unit)
                if adopted:
                    return self._with_rest(unit, adopted)
            except VolumePendingError as error:
                last = error
                if unit.is_set:
                    return self._one_by_one(unit.plans, f"not as a set: {error}")
                self._deadline.wait(VOLUME_PENDING_SECONDS, RESERVE_SECONDS)
            except (RequestRejectedError, VolumeNotFoundError) as error:
                if not unit.is_set:
                    raise
                return self._one_by_one(unit.plans, f"not as a set: {error}")
            attempts += 1
        if last is None:  # pragma: no cover - the loop ends by return, by raise, or with an error at hand
            raise AssertionError("no attempt was made")
        raise last

    def _call(self, unit: CreateCall, *, urgent: bool = False) -> _Answer:
        """The one create call, and its answer compared with what was meant."""
        if unit.instance_id is None:
            plan = unit.plans[0]
            snapshot = self._ebs.create_snapshot(plan.volume.id, unit.description, unit.tags, urgent=urgent)
            warnings = (f"tags left out, no room: {', '.join(unit.left_out)}",) if unit.left_out else ()
            return _Answer((self._created(plan, unit, snapshot, warnings),))
        snapshots = self._ebs.create_snapshots(
            unit.instance_id, unit.exclude_boot, unit.exclude_data, unit.description, unit.tags, urgent=urgent
        )
        by_volume = {snapshot.volume_id: snapshot for snapshot in snapshots}
        return _Answer(
            tuple(self._created(p, unit, by_volume[p.volume.id]) for p in unit.plans if p.volume.id in by_volume),
            tuple(plan for plan in unit.plans if plan.volume.id not in by_volume),
            tuple(
                UnrequestedSnapshot(each, f"not asked for: attached to {unit.instance_id} while its set was taken")
                for each in snapshots
                if each.volume_id not in unit.volume_ids
            ),
        )

    def _complete(self, unit: CreateCall, answer: _Answer) -> UnitOutcome:
        """Create singly what a set's answer lacks."""
        alone = self._one_by_one(answer.missing, _detached(unit))
        return UnitOutcome((*answer.creations, *alone.creations), answer.unrequested)

    def _created(
        self, plan: VolumePlan, unit: CreateCall, snapshot: Snapshot, warnings: tuple[str, ...] = ()
    ) -> Creation:
        if not snapshot.state.is_good:
            return without_snapshot(plan, Outcome.FAILED, f"{snapshot.id} was created in state {snapshot.state}")
        reason = plan.reason + (f"; one instant with the others of {unit.instance_id}" if unit.is_set else "")
        result = VolumeResult(
            plan.volume.id, plan.policy_name, Outcome.CREATED, reason, snapshot.id, unit.consistency, warnings
        )
        return Creation(plan, result, snapshot)

    def _single(self, plan: VolumePlan) -> CreateCall:
        return single(plan, self._instances, self._keys, self._request.period)

    def _one_by_one(self, plans: Sequence[VolumePlan], why: str) -> UnitOutcome:
        creations = [each for plan in plans for each in self.create(self._single(plan)).creations]
        return UnitOutcome(tuple(with_warning(creation, why) for creation in creations))

    def _find_existing_or_wait(self, unit: CreateCall) -> list[Creation]:
        """Adopt what just appeared for the unit's volumes; wait out the 15 seconds if nothing does."""
        for seconds in ADOPT_AFTER_SECONDS:
            if seconds:
                self._deadline.wait(seconds, RESERVE_SECONDS)
            adopted = self._find_existing(unit)
            if adopted:
                return adopted
        return []

    def _find_existing(self, unit: CreateCall) -> list[Creation]:
        seen = self._ebs.list_snapshots(self._request.period.up_to(), unit.volume_ids)
        adopted = [self._adopt(plan, [s for s in seen if s.volume_id == plan.volume.id]) for plan in unit.plans]
        return [creation for creation in adopted if creation is not None]

    def _adopt(self, plan: VolumePlan, snapshots: Sequence[Snapshot]) -> Creation | None:
        period = self._request.period.value
        slot_snapshot = find_slot_snapshot(self._request, [s for s in snapshots if period in s.periods])
        outcome = Outcome.ALREADY_DONE
        if slot_snapshot is None:
            slot_snapshot = sharing_candidate(self._request, plan.policy_name or "", snapshots)
            if slot_snapshot is None or plan.policy is None:
                return None
            joining = joined_periods(self._request, plan.policy, snapshots, slot_snapshot)
            self._ebs.set_periods(slot_snapshot.id, ordered_periods((*slot_snapshot.periods, *joining)))
            outcome = Outcome.SHARED
        reason = f"{slot_snapshot.id} had just been started, by a lost answer or a run beside this one"
        return Creation(
            plan, VolumeResult(plan.volume.id, plan.policy_name, outcome, reason, slot_snapshot.id), slot_snapshot
        )

    def _with_rest(self, unit: CreateCall, adopted: list[Creation]) -> UnitOutcome:
        served = {creation.plan.volume.id for creation in adopted}
        rest = [plan for plan in unit.plans if plan.volume.id not in served]
        alone = self._one_by_one(rest, "not as a set: another volume of it had just been served")
        return UnitOutcome((*adopted, *alone.creations))


def _detached(unit: CreateCall) -> str:
    return f"not in the set of {unit.instance_id}: detached meanwhile"
