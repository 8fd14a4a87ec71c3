"""The result of one volume's create as facts, and the one function that words them."""

from __future__ import annotations

from dataclasses import dataclass

from lambda_function.errors import AutoSnapshotsError, HookError, OutOfTimeError, VolumeNotFoundError
from lambda_function.model.ec2 import Consistency, Snapshot
from lambda_function.model.period import slot
from lambda_function.model.request import RunRequest
from lambda_function.model.result import Outcome, VolumeResult
from lambda_function.plan.due import VolumePlan


@dataclass(frozen=True, slots=True)
class CreateResult:
    """One volume's create, plain or under a freeze.

    `snapshot` is the new one; if `is_adopted`, the listed one that a create with a lost response or a concurrent run
    had just started. `error` is why there is none, or a HookError despite a snapshot. `set_of` is the instance whose
    set the snapshot belongs to.
    """

    plan: VolumePlan
    snapshot: Snapshot | None = None
    error: Exception | None = None
    consistency: Consistency | None = None
    warnings: tuple[str, ...] = ()
    set_of: str | None = None
    is_adopted: bool = False

    @property
    def slot_snapshot(self) -> Snapshot | None:
        """The snapshot, if a restore can use it."""
        return self.snapshot if self.snapshot is not None and self.snapshot.state.is_good else None

    @property
    def is_new(self) -> bool:
        """Whether this run created a good snapshot without an error."""
        return self.slot_snapshot is not None and self.error is None and not self.is_adopted


def volume_result(result: CreateResult, request: RunRequest) -> VolumeResult:
    """The volume's result, in words."""
    snapshot = result.slot_snapshot
    outcome, reason = _without_snapshot(result) if result.error or snapshot is None else _with_snapshot(result, request)
    is_assumed = request.dry_run and not result.is_adopted
    return VolumeResult(
        result.plan.volume.id,
        result.plan.policy_name,
        outcome,
        reason,
        snapshot.id if snapshot is not None and not is_assumed else None,
        result.consistency if snapshot is not None else None,
        result.warnings,
    )


def _without_snapshot(result: CreateResult) -> tuple[Outcome, str]:
    match result.error:
        case HookError() as error:
            made = f"{result.slot_snapshot.id} was made, but " if result.slot_snapshot else ""
            return Outcome.FAILED, f"{made}hook failed: {error}"
        case VolumeNotFoundError() as error:
            return Outcome.VOLUME_GONE, f"gone between listing and create ({error.code})"
        case OutOfTimeError() as error:
            return Outcome.DEFERRED, str(error)
        case AutoSnapshotsError() as error:
            return Outcome.FAILED, str(error)
        case Exception() as error:
            return Outcome.FAILED, f"unexpected {type(error).__name__}: {error}"
    if result.snapshot is None:  # pragma: no cover - a create that returned nothing
        raise AssertionError(f"{result.plan.volume.id}: neither snapshot nor error")
    return Outcome.FAILED, f"{result.snapshot.id} was created in state {result.snapshot.state}"


def _with_snapshot(result: CreateResult, request: RunRequest) -> tuple[Outcome, str]:
    snapshot = result.snapshot
    assert snapshot is not None  # noqa: S101  # the caller checked
    if result.is_adopted:
        shared = Outcome.WOULD_SHARE if request.dry_run else Outcome.SHARED
        outcome = Outcome.ALREADY_DONE if request.period.value in snapshot.periods else shared
        return outcome, f"{snapshot.id} had just been started, by a lost answer or a run beside this one"
    _, end = slot(request.period, request.time)
    if not request.force and snapshot.start_time >= end:
        return Outcome.FAILED, (
            f"{snapshot.id} was started when the {request.period} was over: it is the next one's, and this one has none"
        )
    together = f"; one instant with the others of {result.set_of}" if result.set_of else ""
    return Outcome.WOULD_CREATE if request.dry_run else Outcome.CREATED, result.plan.reason + together
