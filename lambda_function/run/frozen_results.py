"""What became of creates under a freeze: pure functions of its results."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from lambda_function.errors import HookError, TooManyPendingError
from lambda_function.hooks.command import FreezePlan
from lambda_function.hooks.freeze import FreezeResult
from lambda_function.model.ec2 import Consistency
from lambda_function.model.result import HookResult
from lambda_function.run.create import Created
from lambda_function.run.create_result import CreateResult


def hook_result(plan: FreezePlan, freezes: Sequence[FreezeResult[list[Created]]], problem: str | None) -> HookResult:
    """The journal of all attempts, and the longest freeze among them."""
    return HookResult(
        plan.instance_ids,
        plan.policy,
        problem,
        freeze_ms=max((freeze.freeze_ms for freeze in freezes if freeze.freeze_ms is not None), default=None),
        steps=tuple(str(step) for freeze in freezes for step in freeze.steps),
    )


def as_part(result: CreateResult, note: str) -> CreateResult:
    """The result of one of several freezes of an instance, with the note that says so once."""
    is_noted = note in result.warnings
    return replace(result, warnings=result.warnings if is_noted else (*result.warnings, note), set_of=None)


def after_freeze(
    created: Created,
    error: HookError | None,
    is_lenient: bool,
    proved: Collection[str] = (),
    unmarked: str | None = None,
) -> Created:
    """The create's result, given the outcome of its freeze."""
    if not isinstance(created, CreateResult):
        return created
    is_proved = created.snapshot is not None and created.snapshot.id in proved
    warnings = [*created.warnings, *([unmarked] if is_proved and unmarked else [])]
    if error is not None and is_lenient:
        # An adopted snapshot may be application-consistent: another run may have frozen the instance.
        warnings.append(f"{'crash-consistent, ' if created.is_new else ''}hook failed: {error}")
    if error is not None and created.error is not None and not is_lenient:
        error = HookError(f"{error}; no snapshot: {created.error}")
    return replace(
        created,
        error=created.error if error is None or is_lenient else error,
        consistency=Consistency.APPLICATION if is_proved and not unmarked else created.consistency,
        warnings=tuple(warnings),
    )


def snapshot_ids(created: Sequence[Created]) -> list[str]:
    """What post is told."""
    snapshots = (result.slot_snapshot for result in created if isinstance(result, CreateResult))
    return [snapshot.id for snapshot in snapshots if snapshot is not None]


def is_over_quota(created: Sequence[Created] | None) -> bool:
    """Whether every create was refused; the singles of a set that was refused for another reason do not count."""
    return created is not None and all(
        is_refused(result) and isinstance(result, CreateResult) and not result.warnings for result in created
    )


def is_refused(result: Created) -> bool:
    """Whether the pending quota refused it."""
    return isinstance(result, CreateResult) and isinstance(result.error, TooManyPendingError)
