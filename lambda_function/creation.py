"""One create call and everything EC2 may answer to it.

The aim is one snapshot per volume and slot, whatever happens to answers: a create has no client
token, so when EC2 refuses a second one within 15 seconds this looks whether the first one, or that
of a run beside this one, is there, and adopts it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lambda_function.errors import (
    AwsError,
    CreationTooSoonError,
    OutOfTimeError,
    RequestRejectedError,
    SnapshotNotFoundError,
    TooManyPendingError,
    VolumeNotFoundError,
    VolumePendingError,
)
from lambda_function.grouping import CreateUnit, single
from lambda_function.model import (
    Change,
    ChangeOutcome,
    ChangeResult,
    Instance,
    Outcome,
    RunRequest,
    Snapshot,
    VolumeResult,
)
from lambda_function.pending import PendingRoom
from lambda_function.plan import VolumePlan, serving_snapshot, sharing_candidate
from lambda_function.ports import Ebs
from lambda_function.tags import TagKeys
from lambda_function.time_budget import TimeBudget

logger = logging.getLogger(__name__)

RESERVE_SECONDS = 45.0
"""No create is begun with less time left: its retries, and the pruning of what is done, need it."""

LOOK_AFTER_SECONDS = (0.0, 5.0, 10.0)
"""When to look for a snapshot that just appeared; in sum the 15 seconds after which EC2 allows another."""

VOLUME_PENDING_SECONDS = 30.0
ATTEMPTS = 4


@dataclass(frozen=True, slots=True)
class Creation:
    """What became of one volume; `snapshot` serves its slot, unless the result is a failure."""

    plan: VolumePlan
    result: VolumeResult
    snapshot: Snapshot | None = None


@dataclass(frozen=True, slots=True)
class UnitOutcome:
    """What became of a unit. `changes` are deletions of snapshots that nobody asked for."""

    creations: tuple[Creation, ...]
    changes: tuple[ChangeResult, ...] = ()


class Creator:
    """Creates the units of one run; safe to use from several threads."""

    def __init__(
        self,
        ebs: Ebs,
        request: RunRequest,
        keys: TagKeys,
        instances: Mapping[str, Instance],
        budget: TimeBudget,
    ) -> None:
        self._ebs = ebs
        self._request = request
        self._keys = keys
        self._instances = instances
        self._budget = budget
        self._room = PendingRoom(ebs.count_pending, budget)

    def create(self, unit: CreateUnit) -> UnitOutcome:
        """Create the unit's snapshots. Failures are results, never exceptions, so that others go on."""
        try:
            return self._attempt(unit)
        except VolumeNotFoundError as error:
            reason = f"gone between listing and create ({error.code})"
            return UnitOutcome((_without(unit.plans[0], Outcome.VOLUME_GONE, reason),))
        except (AwsError, OutOfTimeError) as error:
            return _failed(unit, str(error))
        except Exception as error:
            # A fault of our own in one unit must not cost the others their snapshots.
            logger.exception("unexpected while creating snapshots of %s", ", ".join(unit.volume_ids))
            return _failed(unit, f"unexpected {type(error).__name__}: {error}")

    def _attempt(self, unit: CreateUnit) -> UnitOutcome:
        last: AwsError | None = None
        attempts = 0
        while attempts < ATTEMPTS:
            self._budget.require(RESERVE_SECONDS)
            self._room.enter(len(unit.plans), RESERVE_SECONDS)
            try:
                return self._create_set(unit) if unit.is_set else self._create_single(unit)
            except TooManyPendingError:
                # Not an attempt of this unit: it waits until the account has room, or time is out.
                self._room.refused(RESERVE_SECONDS)
                continue
            except CreationTooSoonError as error:
                last = error
                adopted = self._look_and_wait(unit)
                if adopted:
                    return self._with_rest(unit, adopted)
            except VolumePendingError as error:
                last = error
                if unit.is_set:
                    return self._one_by_one(unit.plans, f"not as a set: {error}")
                self._budget.wait(VOLUME_PENDING_SECONDS, RESERVE_SECONDS)
            except (RequestRejectedError, VolumeNotFoundError) as error:
                if not unit.is_set:
                    raise
                return self._one_by_one(unit.plans, f"not as a set: {error}")
            attempts += 1
        if last is None:  # pragma: no cover - the loop ends by return, by raise, or with an error at hand
            raise AssertionError("no attempt was made")
        raise last

    def _create_single(self, unit: CreateUnit) -> UnitOutcome:
        plan = unit.plans[0]
        snapshot = self._ebs.create_snapshot(plan.volume.id, unit.description, unit.tags)
        warnings = (f"tags left out, no room: {', '.join(unit.left_out)}",) if unit.left_out else ()
        return UnitOutcome((self._created(plan, unit, snapshot, warnings),))

    def _create_set(self, unit: CreateUnit) -> UnitOutcome:
        snapshots = self._ebs.create_snapshots(
            unit.instance_id or "", unit.exclude_boot, unit.exclude_data, unit.description, unit.tags
        )
        by_volume = {snapshot.volume_id: snapshot for snapshot in snapshots}
        creations = [
            self._created(plan, unit, by_volume[plan.volume.id]) for plan in unit.plans if plan.volume.id in by_volume
        ]
        missing = [plan for plan in unit.plans if plan.volume.id not in by_volume]
        if missing:
            alone = self._one_by_one(missing, f"not in the set of {unit.instance_id}: detached meanwhile")
            creations += alone.creations
        strays = [snapshot for snapshot in snapshots if snapshot.volume_id not in unit.volume_ids]
        return UnitOutcome(tuple(creations), tuple(self._delete_stray(stray, unit) for stray in strays))

    def _created(
        self, plan: VolumePlan, unit: CreateUnit, snapshot: Snapshot, warnings: tuple[str, ...] = ()
    ) -> Creation:
        if not snapshot.state.is_good:
            return _without(plan, Outcome.FAILED, f"{snapshot.id} was created in state {snapshot.state}")
        reason = plan.reason + (f"; one instant with the others of {unit.instance_id}" if unit.is_set else "")
        result = VolumeResult(
            plan.volume.id, plan.policy_name, Outcome.CREATED, reason, snapshot.id, unit.consistency, warnings
        )
        return Creation(plan, result, snapshot)

    def _delete_stray(self, stray: Snapshot, unit: CreateUnit) -> ChangeResult:
        reason = f"not asked for: attached to {unit.instance_id} while its set was taken"
        outcome = ChangeOutcome.DONE
        try:
            self._ebs.delete_snapshot(stray.id)
        except SnapshotNotFoundError:
            outcome = ChangeOutcome.GONE
        except AwsError as error:
            outcome, reason = ChangeOutcome.FAILED, f"{reason}; {error}"
        return ChangeResult(stray.id, stray.volume_id, Change.DELETE, outcome, reason)

    def _one_by_one(self, plans: Sequence[VolumePlan], why: str) -> UnitOutcome:
        creations: list[Creation] = []
        for plan in plans:
            unit = single(plan, self._instances, self._keys, self._request.period)
            creations += [_with_warning(creation, why) for creation in self.create(unit).creations]
        return UnitOutcome(tuple(creations))

    def _look_and_wait(self, unit: CreateUnit) -> list[Creation]:
        """Adopt what just appeared for the unit's volumes; wait out the 15 seconds if nothing does."""
        for seconds in LOOK_AFTER_SECONDS:
            if seconds:
                self._budget.wait(seconds, RESERVE_SECONDS)
            seen = self._ebs.list_snapshots(self._request.period.up_to(), unit.volume_ids)
            adopted = [self._adopt(plan, [s for s in seen if s.volume_id == plan.volume.id]) for plan in unit.plans]
            if any(adopted):
                return [creation for creation in adopted if creation is not None]
        return []

    def _adopt(self, plan: VolumePlan, snapshots: Sequence[Snapshot]) -> Creation | None:
        period = self._request.period.value
        serving = serving_snapshot(self._request, [s for s in snapshots if period in s.keepers])
        outcome = Outcome.ALREADY_DONE
        if serving is None:
            serving = sharing_candidate(self._request, plan.policy_name or "", snapshots)
            if serving is None:
                return None
            self._ebs.set_keepers(serving.id, (*serving.keepers, period))
            outcome = Outcome.SHARED
        reason = f"{serving.id} had just been started, by a lost answer or a run beside this one"
        return Creation(plan, VolumeResult(plan.volume.id, plan.policy_name, outcome, reason, serving.id), serving)

    def _with_rest(self, unit: CreateUnit, adopted: list[Creation]) -> UnitOutcome:
        served = {creation.plan.volume.id for creation in adopted}
        rest = [plan for plan in unit.plans if plan.volume.id not in served]
        alone = self._one_by_one(rest, "not as a set: another volume of it had just been served")
        return UnitOutcome((*adopted, *alone.creations))


def _without(plan: VolumePlan, outcome: Outcome, reason: str) -> Creation:
    return Creation(plan, VolumeResult(plan.volume.id, plan.policy_name, outcome, reason))


def _failed(unit: CreateUnit, reason: str) -> UnitOutcome:
    return UnitOutcome(tuple(_without(plan, Outcome.FAILED, reason) for plan in unit.plans))


def _with_warning(creation: Creation, warning: str) -> Creation:
    result = replace(creation.result, warnings=(*creation.result.warnings, warning))
    return replace(creation, result=result)
