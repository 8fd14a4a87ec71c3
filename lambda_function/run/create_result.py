"""What became of volumes that were to get a snapshot: a unit's outcome, with or without a freeze around it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lambda_function.errors import AutoSnapshotsError, OutOfTimeError, VolumeNotFoundError
from lambda_function.model.ec2 import Snapshot, UnrequestedSnapshot
from lambda_function.model.period import slot
from lambda_function.model.request import RunRequest
from lambda_function.model.result import HookResult, Outcome, VolumeResult
from lambda_function.plan.create_calls import CreateCall
from lambda_function.plan.due import VolumePlan

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Creation:
    """What became of one volume; `snapshot` serves its slot, unless the result is a failure."""

    plan: VolumePlan
    result: VolumeResult
    snapshot: Snapshot | None = None


@dataclass(frozen=True)
class UnitOutcome:
    """What became of a unit. `unrequested` are snapshots that nobody asked for, made by a set."""

    creations: tuple[Creation, ...]
    unrequested: tuple[UnrequestedSnapshot, ...] = ()
    hooks: tuple[HookResult, ...] = ()


@dataclass(frozen=True)
class FrozenOutcome:
    """What a create under a freeze has made so far.

    `too_soon` are the units that EC2's 15 seconds refused, to be seen to after the thaw; `no_room` says
    that the cap on pending snapshots refused it.
    """

    creations: tuple[Creation, ...]
    unrequested: tuple[UnrequestedSnapshot, ...] = ()
    too_soon: tuple[tuple[CreateCall, str], ...] = ()
    no_room: bool = False


def without_snapshot(plan: VolumePlan, outcome: Outcome, reason: str) -> Creation:
    """A volume that got none, and why."""
    return Creation(plan, VolumeResult(plan.volume.id, plan.policy_name, outcome, reason))


def with_warning(creation: Creation, warning: str) -> Creation:
    """The same with one more warning."""
    result = replace(creation.result, warnings=(*creation.result.warnings, warning))
    return replace(creation, result=result)


def judged_by_slot(creation: Creation, request: RunRequest) -> Creation:
    """A failure where the snapshot was started when the slot was over: it serves the next one, this one has none."""
    made = creation.snapshot
    if request.force or made is None or creation.result.outcome is not Outcome.CREATED:
        return creation
    _, end = slot(request.period, request.time)
    if made.start_time < end:
        return creation
    reason = f"{made.id} was started when the {request.period} was over: it is the next one's, and this one has none"
    return replace(creation, result=replace(creation.result, outcome=Outcome.FAILED, reason=reason))


def failures(plans: Sequence[VolumePlan], error: Exception) -> tuple[Creation, ...]:
    """These volumes without a snapshot, because of this error of the call for them."""
    outcome, reason = Outcome.FAILED, str(error)
    if isinstance(error, VolumeNotFoundError) and len(plans) == 1:
        outcome, reason = Outcome.VOLUME_GONE, f"gone between listing and create ({error.code})"
    elif isinstance(error, OutOfTimeError):
        outcome = Outcome.DEFERRED
    elif not isinstance(error, AutoSnapshotsError):
        # A fault of our own in one unit must not cost the others their snapshots.
        logger.error(
            "unexpected while creating snapshots of %s", ", ".join(plan.volume.id for plan in plans), exc_info=error
        )
        reason = f"unexpected {type(error).__name__}: {error}"
    return tuple(without_snapshot(plan, outcome, reason) for plan in plans)
