"""Creates under a freeze: what becomes of volumes when the hook, or a create under it, goes wrong."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Collection, Sequence
from dataclasses import replace

from lambda_function.errors import (
    AutoSnapshotsError,
    AwsError,
    CreationTooSoonError,
    HookError,
    OutOfTimeError,
    TooManyPendingError,
)
from lambda_function.hooks.command import FreezePlan
from lambda_function.hooks.freeze import Freeze, FreezeResult, seconds_needed
from lambda_function.hooks.preflight import HookReadiness
from lambda_function.model.ec2 import Consistency, UnrequestedSnapshot
from lambda_function.model.request import RunRequest
from lambda_function.model.result import HookResult
from lambda_function.parallel import MAX_FREEZES, in_parallel
from lambda_function.plan.create_calls import FreezeGroup
from lambda_function.run.adopt import Adopter
from lambda_function.run.context import RunContext
from lambda_function.run.create import RESERVE_SECONDS, Creator
from lambda_function.run.create_result import CreateResult

logger = logging.getLogger(__name__)

BEGIN_WITHIN_SECONDS = 10.0
"""Creates are begun only so long after the freeze: what one of them may take is in CREATE_SECONDS."""

QUOTA_ATTEMPTS = 3

Created = CreateResult | UnrequestedSnapshot
"""What a create call yields."""


class FrozenCreator:
    """Freezes the groups of one run and creates their snapshots; safe to use from several threads.

    At most MAX_FREEZES at once; and groups that share an instance one after another, since a document
    holds one freeze an instance.
    """

    def __init__(self, request: RunRequest, context: RunContext, creator: Creator, readiness: HookReadiness) -> None:
        self._request = request
        self._context = context
        self._creator = creator
        self._readiness = readiness
        self._adopter = Adopter(request, context)
        self._time_left_at_start = context.deadline.time_left()
        self._places = threading.BoundedSemaphore(MAX_FREEZES)
        self._instances: dict[str, threading.Lock] = {}

    def create(self, group: FreezeGroup) -> list[Created | HookResult]:
        """Freeze, create and thaw: results as `Creator.create` gives them, and the hook's. Failures are results."""
        try:
            plan = self._readiness.plan(group, self._request.period)
        except HookError as error:
            return self._without_freeze(group, error)
        if self._request.dry_run:
            return [created for call in group.calls for created in self._creator.create(call)]
        try:
            freeze = self._freeze(group, plan)
        except (AwsError, OutOfTimeError) as error:
            # Nothing was frozen: no room, or no time for a freeze and its thaw. The next run begins with all of its
            # time, unless not even that would do; but a policy that is content with `crash` is not kept waiting.
            next_run_may = isinstance(error, OutOfTimeError) and seconds_needed(plan) <= self._time_left_at_start
            if next_run_may and group.policy.hook_on_failure == "skip":
                return [CreateResult(plan, error=error) for plan in group.plans]
            return self._without_freeze(group, error)
        return self._conclude(group, plan, freeze)

    def _freeze(self, group: FreezeGroup, plan: FreezePlan) -> FreezeResult[list[Created]]:
        """One freeze; a second and third one only where the cap on pending snapshots refused every create."""
        quota = self._creator.quota
        with contextlib.ExitStack() as stack:
            # In one order everywhere, so that no two groups wait for each other.
            for instance_id in group.instance_ids:
                stack.enter_context(self._lock_of(instance_id))
            stack.enter_context(self._places)
            for attempt in range(1, QUOTA_ATTEMPTS + 1):
                # Waiting for room comes before the freeze, never within it.
                with quota.taken(len(group.plans), RESERVE_SECONDS):
                    freeze = Freeze[list[Created]](plan, self._context.commands, self._context.deadline).around(
                        lambda: self._create_frozen(group), _snapshot_ids
                    )
                if not freeze.thawed or not _is_over_quota(freeze.result) or attempt == QUOTA_ATTEMPTS:
                    break
                quota.refused(RESERVE_SECONDS)
        return freeze

    def _lock_of(self, instance_id: str) -> threading.Lock:
        # setdefault is one step for all threads; a defaultdict's missing key is not.
        return self._instances.setdefault(instance_id, threading.Lock())

    def _create_frozen(self, group: FreezeGroup) -> list[Created]:
        begin_by = self._context.deadline.elapsed() + BEGIN_WITHIN_SECONDS
        created = in_parallel(lambda call: self._creator.create(call, begin_by), group.calls)
        return [each for of_call in created for each in of_call]

    def _conclude(
        self, group: FreezeGroup, plan: FreezePlan, freeze: FreezeResult[list[Created]]
    ) -> list[Created | HookResult]:
        problem = "; ".join(error for error in (freeze.pre_error, freeze.post_error) if error) or None
        error = HookError(problem) if problem else None
        hook = HookResult(
            plan.instance_ids,
            plan.policy,
            problem,
            freeze_ms=freeze.freeze_ms,
            held_ms=freeze.held_ms,
            steps=tuple(str(step) for step in freeze.steps),
        )
        if freeze.result is None:
            if freeze.thawed and error is not None:
                return self._without_freeze(group, error, hook)
            return [*(CreateResult(plan, error=error) for plan in group.plans), hook]
        created = self._adopt_too_soon(freeze.result)
        proved = {
            each.snapshot.id
            for each in created
            if isinstance(each, CreateResult) and each.is_new and each.snapshot and each.plan.volume.id in freeze.proved
        }
        unmarked = self._mark_as_application(proved)
        is_lenient = group.policy.hook_on_failure == "continue" and freeze.thawed
        return [*(_judged(each, error, is_lenient, proved, unmarked) for each in created), hook]

    def _adopt_too_soon(self, created: Sequence[Created]) -> list[Created]:
        """Adopt what stood in the way of a create, now that nothing is frozen."""
        refused = [c for c in created if isinstance(c, CreateResult) and isinstance(c.error, CreationTooSoonError)]
        adopted = {result.plan.volume.id: result for result in self._adopter.adopt([c.plan for c in refused])}
        return [adopted.get(c.plan.volume.id, c) if c in refused else c for c in created]

    def _mark_as_application(self, snapshot_ids: Collection[str]) -> str | None:
        """Raise the tag of these from crash to application; where that failed, a warning."""
        if not snapshot_ids:
            return None
        try:
            self._context.ebs.set_consistency(snapshot_ids, Consistency.APPLICATION)
        except Exception as error:
            # Whatever it was, it must not cost the journal; and if only the answer was lost, the tag is raised.
            if not isinstance(error, AwsError):
                logger.exception("unexpected while raising the tag of %s", ", ".join(sorted(snapshot_ids)))
            return f"application-consistent, but its tag may still say crash: {error}"
        return None

    def _without_freeze(
        self, group: FreezeGroup, error: AutoSnapshotsError, hook: HookResult | None = None
    ) -> list[Created | HookResult]:
        """The policy's `hook_on_failure` decides: no snapshot, or a crash-consistent one.

        Either way a run beside this one may have had the freeze, and made the snapshots.
        """
        failure = HookError(str(error))
        hook = hook or HookResult(group.instance_ids, group.policy.name, str(error))
        if group.policy.hook_on_failure == "continue":
            created = [each for call in group.calls for each in self._creator.create(call)]
            return [*(_judged(each, failure, True) for each in created), hook]
        adopted = {result.plan.volume.id: result for result in self._adopter.adopt(group.plans)}
        failed = [CreateResult(plan, error=failure) for plan in group.plans if plan.volume.id not in adopted]
        return [*(_judged(each, failure, True) for each in adopted.values()), *failed, hook]


def _judged(
    created: Created,
    error: HookError | None,
    is_lenient: bool,
    proved: Collection[str] = (),
    unmarked: str | None = None,
) -> Created:
    """The create's result in the light of the freeze around it."""
    if isinstance(created, UnrequestedSnapshot):
        return created
    is_proved = created.snapshot is not None and created.snapshot.id in proved
    warnings = [*created.warnings, *([unmarked] if is_proved and unmarked else [])]
    if error is not None and is_lenient:
        # What another run's freeze made, and this one adopted, may well be application-consistent.
        warnings.append(f"{'crash-consistent, ' if created.is_new else ''}hook failed: {error}")
    return replace(
        created,
        error=created.error if error is None or is_lenient else error,
        consistency=Consistency.APPLICATION if is_proved and not unmarked else created.consistency,
        warnings=tuple(warnings),
    )


def _snapshot_ids(created: Sequence[Created]) -> list[str]:
    results = (each.slot_snapshot for each in created if isinstance(each, CreateResult))
    return [snapshot.id for snapshot in results if snapshot is not None]


def _is_over_quota(created: Sequence[Created] | None) -> bool:
    return created is not None and all(
        isinstance(each, CreateResult) and isinstance(each.error, TooManyPendingError) for each in created
    )
