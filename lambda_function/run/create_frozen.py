"""Creates under a freeze: the result for each volume when the hook, or a create under it, fails."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from lambda_function.errors import (
    AutoSnapshotsError,
    AwsError,
    CreationTooSoonError,
    HookError,
    InterruptedRunError,
    OutOfTimeError,
    ThrottledError,
)
from lambda_function.hooks.command import FreezePlan
from lambda_function.hooks.freeze import Freeze, FreezeResult, seconds_needed
from lambda_function.hooks.preflight import HookReadiness
from lambda_function.model.ec2 import Consistency
from lambda_function.model.request import RunRequest
from lambda_function.model.result import ChangeResult, HookResult
from lambda_function.parallel import MAX_FREEZES, in_parallel
from lambda_function.plan.create_calls import FreezeGroup, plan_freezes
from lambda_function.run.context import RunContext
from lambda_function.run.create import RESERVE_SECONDS, Created, Creator, Frozen, new_set_id, part_note
from lambda_function.run.create_result import CreateResult
from lambda_function.run.frozen_results import (
    after_freeze,
    as_part,
    hook_result,
    is_over_quota,
    is_refused,
    snapshot_ids,
)
from lambda_function.run.quota_line import Claim

logger = logging.getLogger(__name__)

BEGIN_WITHIN_SECONDS = 10.0
"""Creates start at most this long after the freeze; CREATE_SECONDS covers how long one may take."""

FREEZE_ATTEMPTS = 3


class FrozenCreator:
    """Freezes the groups of one run and creates their snapshots; safe to use from several threads.

    At most MAX_FREEZES run at once. Groups that share an instance run one after another: a document
    holds one freeze per instance.
    """

    def __init__(self, request: RunRequest, context: RunContext, creator: Creator, readiness: HookReadiness) -> None:
        self._request = request
        self._context = context
        self._creator = creator
        self._readiness = readiness
        self._time_left_at_start = context.deadline.time_left()
        self._semaphore = threading.BoundedSemaphore(MAX_FREEZES)
        self._instances: dict[str, threading.Lock] = {}

    def create(self, group: FreezeGroup, claim: Claim | None = None) -> list[Created | HookResult]:
        """Freeze, create and thaw: the results of `Creator.create` and the hook's. Failures are results.

        `claim` is the group's if it is the rest of one: a group that never has room as a whole is taken in parts, each
        under a freeze of its own.
        """
        deleted: list[ChangeResult] = []
        return [*self._create(group, claim or Claim(len(group.plans)), deleted), *deleted]

    def _create(self, group: FreezeGroup, claim: Claim, deleted: list[ChangeResult]) -> list[Created | HookResult]:
        try:
            self._context.deadline.interruption.check()
            plan = self._readiness.plan(group, self._request.period)
        except InterruptedRunError as error:
            return [CreateResult(plan, error=error) for plan in group.plans]
        except HookError as error:
            return self._without_freeze(group, error)
        freezes: list[FreezeResult[list[Created]]] = []
        try:
            if self._request.dry_run:
                return self._preview(group, plan)
            part, rest = self._freeze(group, plan, claim, freezes, deleted)
        except (AwsError, OutOfTimeError) as error:
            # Nothing is frozen: interrupted, no quota, or no time for freeze and thaw. Defer to the next run if its
            # full time is enough, unless the policy accepts `crash` snapshots and this run may still create some.
            fits_next_run = isinstance(error, OutOfTimeError) and seconds_needed(plan) <= self._time_left_at_start
            is_interrupted = isinstance(error, InterruptedRunError)
            if is_interrupted or (fits_next_run and group.policy.hook_on_failure == "skip"):
                made = [hook_result(plan, freezes, None)] if freezes else []
                return [*(CreateResult(plan, error=error) for plan in group.plans), *made]
            return self._without_freeze(group, error, hook_result(plan, freezes, str(error)))
        rest = [*rest, *self._left_over(claim, freezes)]
        results = self._conclude(part, plan, freezes)
        return self._with_rest(group, results, rest, claim, is_thawed=freezes[-1].thawed) if rest else results

    def _preview(self, group: FreezeGroup, plan: FreezePlan) -> list[Created | HookResult]:
        """A dry run's results; OutOfTimeError if no run ever has the time for this freeze."""
        if seconds_needed(plan) > self._time_left_at_start:
            self._context.deadline.require(seconds_needed(plan))
        return [result for call in group.calls_under_freeze for result in self._creator.create(call)]

    def _with_rest(
        self,
        group: FreezeGroup,
        results: list[Created | HookResult],
        rest: Sequence[FreezeGroup],
        claim: Claim,
        *,
        is_thawed: bool,
    ) -> list[Created | HookResult]:
        """The results of a part, and those of the rest of its group, which is created now.

        Not `is_thawed`: what may still be frozen is not frozen again.
        """
        more: list[Created | HookResult] = []
        for other in rest:
            if is_thawed:
                more += self.create(other, claim.rest(len(other.plans)))
            else:
                error = HookError("not begun: post failed after another part, so the instance may still be frozen")
                more += self._without_freeze(other, error, is_thawed=False)
        note = part_note(group.instance_ids)
        return [as_part(result, note) if isinstance(result, CreateResult) else result for result in (*results, *more)]

    def _freeze(
        self,
        group: FreezeGroup,
        plan: FreezePlan,
        claim: Claim,
        freezes: list[FreezeResult[list[Created]]],
        deleted: list[ChangeResult],
    ) -> tuple[FreezeGroup, list[FreezeGroup]]:
        """One freeze; a second or third only if the pending quota refused every create, or SSM did not answer.

        Their results are added to `freezes`, so that they are known even if another one cannot begin. Returns the part
        of the group that was frozen, and those that were not.
        """
        with contextlib.ExitStack() as stack:
            # Always in the same order, so that no two groups deadlock.
            for instance_id in group.instance_ids:
                stack.enter_context(self._lock_of(instance_id))
            stack.enter_context(self._semaphore)
            for attempt in range(1, FREEZE_ATTEMPTS + 1):
                freeze, part, rest = self._freeze_once(group, plan, claim, deleted)
                freezes.append(freeze)
                is_refused_whole = is_over_quota(freeze.result)
                if not freeze.thawed or not (is_refused_whole or freeze.is_unanswered) or attempt == FREEZE_ATTEMPTS:
                    break
                if is_refused_whole:
                    self._creator.quota.refused(claim, RESERVE_SECONDS)
            return part, rest

    def _freeze_once(
        self, group: FreezeGroup, plan: FreezePlan, claim: Claim, deleted: list[ChangeResult]
    ) -> tuple[FreezeResult[list[Created]], FreezeGroup, list[FreezeGroup]]:
        """Freeze once all that it needs is there, since nothing is waited for while frozen."""
        context = self._context

        def wait(seconds: float) -> None:
            context.deadline.wait(seconds, seconds_needed(plan))

        while True:
            # In this order, so that what waits for SSM keeps nothing from creates that need no freeze.
            with (
                context.commands.admitted(len(plan.instance_ids), wait),
                self._creator.quota.taken(claim, RESERVE_SECONDS) as room,
            ):
                part, rest = self._part(group, room)
                deleted += self._creator.delete_failed(part.plans)
                try:
                    return self._freeze_now(part, wait), part, rest
                except ThrottledError:
                    logger.info("SSM took no command for %s: waiting", ", ".join(plan.instance_ids))

    def _freeze_now(self, group: FreezeGroup, wait: Callable[[float], None]) -> FreezeResult[list[Created]]:
        sets = sum(call.is_set for call in group.calls)
        with self._context.ebs.creates_held(len(group.calls) - sets, sets, wait):
            plan = self._readiness.plan(group, self._request.period)
            freeze = Freeze[list[Created]](plan, self._context.commands, self._context.deadline)
            return freeze.around(lambda: self._create_frozen(group), snapshot_ids)

    def _part(self, group: FreezeGroup, room: int) -> tuple[FreezeGroup, list[FreezeGroup]]:
        """The group if there is room for all of it, else one of a part of its volumes, and those of the others."""
        if room == len(group.plans):
            return group, []
        instances, keys, period = self._creator.instances, self._context.keys, self._request.period
        first, *rest = [
            part
            for plans in (group.plans[:room], group.plans[room:])
            for part in plan_freezes(plans, instances, keys, period)[0]
        ]
        return first, rest

    def _left_over(self, claim: Claim, freezes: list[FreezeResult[list[Created]]]) -> list[FreezeGroup]:
        """The groups of what the quota refused where the freeze held and other creates under it passed.

        Their results are no longer in the last of `freezes`; those of a freeze without any success stay.
        """
        freeze = freezes[-1]
        if freeze.pre_error or freeze.post_error or freeze.result is None or is_over_quota(freeze.result):
            return []
        refused = [result.plan for result in freeze.result if isinstance(result, CreateResult) and is_refused(result)]
        others = [result for result in freeze.result if not is_refused(result)]
        if not refused or not any(isinstance(result, CreateResult) and result.is_new for result in others):
            return []
        try:
            self._creator.quota.refused(claim, RESERVE_SECONDS)
        except (AwsError, OutOfTimeError):
            return []
        freezes[-1] = replace(freeze, result=others)
        return plan_freezes(refused, self._creator.instances, self._context.keys, self._request.period)[0]

    def _lock_of(self, instance_id: str) -> threading.Lock:
        # setdefault is atomic; a defaultdict's missing key is not.
        return self._instances.setdefault(instance_id, threading.Lock())

    def _create_frozen(self, group: FreezeGroup) -> list[Created]:
        frozen = Frozen(self._context.deadline.elapsed() + BEGIN_WITHIN_SECONDS, new_set_id())
        results_per_call = in_parallel(lambda call: self._creator.create(call, frozen), group.calls_under_freeze)
        return [result for results in results_per_call for result in results]

    def _conclude(
        self, group: FreezeGroup, plan: FreezePlan, freezes: Sequence[FreezeResult[list[Created]]]
    ) -> list[Created | HookResult]:
        freeze = freezes[-1]
        problem = "; ".join(error for error in (freeze.pre_error, freeze.post_error) if error) or None
        error = HookError(problem) if problem else None
        hook = hook_result(plan, freezes, problem)
        if freeze.result is None:
            # Where post failed as well, someone must look at the instance, snapshot or not: the run fails.
            if error is not None and (freeze.thawed or group.policy.hook_on_failure == "continue"):
                return self._without_freeze(group, error, hook, is_thawed=freeze.thawed)
            return [*(CreateResult(plan, error=error) for plan in group.plans), hook]
        created = self._adopt_too_soon(freeze.result)
        proved = {
            result.snapshot.id
            for result in created
            if isinstance(result, CreateResult) and result.is_new and result.snapshot
            if result.plan.volume.id in freeze.proved
        }
        unmarked = self._mark_as_application(proved)
        is_lenient = group.policy.hook_on_failure == "continue" and freeze.thawed
        return [*(after_freeze(result, error, is_lenient, proved, unmarked) for result in created), hook]

    def _adopt_too_soon(self, created: Sequence[Created]) -> list[Created]:
        """Adopt the snapshots that blocked creates, now that nothing is frozen."""
        too_soon: list[CreateResult] = []
        others: list[Created] = []
        for result in created:
            if isinstance(result, CreateResult) and isinstance(result.error, CreationTooSoonError):
                too_soon.append(result)
            else:
                others.append(result)
        return [*others, *self._creator.adopter.adopt(too_soon)]

    def _mark_as_application(self, snapshot_ids: Collection[str]) -> str | None:
        """Raise the snapshots' tag from crash to application; a warning if that fails."""
        if not snapshot_ids:
            return None
        try:
            self._context.ebs.set_consistency(snapshot_ids, Consistency.APPLICATION)
        except Exception as error:
            # No error may cost the journal; if only the response was lost, the tag is raised.
            if not isinstance(error, AwsError):
                logger.exception("unexpected while raising the tag of %s", ", ".join(sorted(snapshot_ids)))
            return f"application-consistent, but its tag may still say crash: {error}"
        return None

    def _without_freeze(
        self,
        group: FreezeGroup,
        error: AutoSnapshotsError,
        hook: HookResult | None = None,
        *,
        is_thawed: bool = True,
    ) -> list[Created | HookResult]:
        """No snapshot or a crash-consistent one, as the policy's `hook_on_failure` says.

        Either way, a concurrent run may have frozen the group and created its snapshots. Not `is_thawed`: the volumes
        fail, whatever is created, so that someone looks at the instance.
        """
        failure = HookError(str(error))
        hook = hook or HookResult(group.instance_ids, group.policy.name, str(error))
        if group.policy.hook_on_failure == "continue":
            created = [result for call in group.calls for result in self._creator.create(call)]
            return [*(after_freeze(result, failure, is_thawed) for result in created), hook]
        results = self._creator.adopter.adopt([CreateResult(plan, error=failure) for plan in group.plans])
        return [*(after_freeze(result, failure, True) if result.is_adopted else result for result in results), hook]
