"""Snapshots within one freeze: what becomes of volumes when the hook, or a create under it, goes wrong."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Sequence
from dataclasses import replace

from lambda_function.deadline import Deadline
from lambda_function.errors import AwsError, HookError, OutOfTimeError
from lambda_function.hooks.command import FreezePlan
from lambda_function.hooks.freeze import Freeze, FreezeResult, seconds_needed
from lambda_function.hooks.preflight import HookReadiness
from lambda_function.model.ec2 import Consistency
from lambda_function.model.request import RunRequest
from lambda_function.model.result import HookResult, Outcome
from lambda_function.parallel import MAX_FREEZES, in_parallel
from lambda_function.plan.create_calls import FreezeGroup
from lambda_function.ports import Commands, Ebs
from lambda_function.run.create import Creator
from lambda_function.run.create_result import (
    Creation,
    FrozenOutcome,
    UnitOutcome,
    failures,
    with_warning,
    without_snapshot,
)

logger = logging.getLogger(__name__)

BEGIN_WITHIN_SECONDS = 10.0
"""Creates are begun only so long after the freeze: what one of them may take is in CREATE_SECONDS."""

ROOM_ATTEMPTS = 3


class HookedCreator:
    """Creates the groups of one run; safe to use from several threads.

    At most MAX_FREEZES at once; and groups that share an instance one after another, since a document
    holds one freeze an instance.
    """

    def __init__(
        self,
        creator: Creator,
        ebs: Ebs,
        commands: Commands,
        readiness: HookReadiness,
        request: RunRequest,
        deadline: Deadline,
    ) -> None:
        self._creator = creator
        self._ebs = ebs
        self._commands = commands
        self._readiness = readiness
        self._request = request
        self._deadline = deadline
        self._time_left_at_start = deadline.time_left()
        self._places = threading.BoundedSemaphore(MAX_FREEZES)
        self._instances: dict[str, threading.Lock] = {}

    def create(self, group: FreezeGroup) -> UnitOutcome:
        """Freeze, create and thaw. Failures are results, so that others go on."""
        try:
            plan = self._readiness.plan(group, self._request.period)
        except HookError as error:
            return self._without_hook(group, str(error), HookResult(group.instance_ids, group.policy_name, str(error)))
        try:
            held = self._freeze(group, plan)
        except (AwsError, OutOfTimeError) as error:
            # Nothing was frozen: no room, or no time for a freeze and its thaw. The next run begins with all of its
            # time, unless not even that would do; but a policy that is content with `crash` is not kept waiting.
            next_run_may = isinstance(error, OutOfTimeError) and seconds_needed(plan) <= self._time_left_at_start
            if next_run_may and group.policy.hook_on_failure == "skip":
                return UnitOutcome(failures(group.plans, error))
            return self._without_hook(group, str(error), HookResult(group.instance_ids, group.policy_name, str(error)))
        return self._conclude(group, plan, held)

    def _freeze(self, group: FreezeGroup, plan: FreezePlan) -> FreezeResult[list[FrozenOutcome]]:
        """One freeze; a second and third one only where the cap on pending snapshots refused every create."""
        with contextlib.ExitStack() as stack:
            # In one order everywhere, so that no two groups wait for each other.
            for instance_id in group.instance_ids:
                stack.enter_context(self._lock_of(instance_id))
            stack.enter_context(self._places)
            for attempt in range(1, ROOM_ATTEMPTS + 1):
                # Waiting for room comes before the freeze, never within it.
                with self._creator.quota(len(group.plans)):
                    held = Freeze[list[FrozenOutcome]](plan, self._commands, self._deadline).around(
                        lambda: self._create_frozen(group), _snapshot_ids
                    )
                refused = held.result is not None and all(outcome.no_room for outcome in held.result)
                if not refused or not held.thawed or attempt == ROOM_ATTEMPTS:
                    break
                self._creator.quota_refused()
        return held

    def _lock_of(self, instance_id: str) -> threading.Lock:
        # setdefault is one step for all threads; a defaultdict's missing key is not.
        return self._instances.setdefault(instance_id, threading.Lock())

    def _create_frozen(self, group: FreezeGroup) -> list[FrozenOutcome]:
        begin_by = self._deadline.elapsed() + BEGIN_WITHIN_SECONDS
        return list(in_parallel(lambda unit: self._creator.create_frozen(unit, begin_by), group.units))

    def _conclude(self, group: FreezeGroup, plan: FreezePlan, held: FreezeResult[list[FrozenOutcome]]) -> UnitOutcome:
        problem = "; ".join(error for error in (held.pre_error, held.post_error) if error) or None
        hook = HookResult(
            plan.instance_ids,
            plan.policy,
            problem,
            freeze_ms=held.freeze_ms,
            held_ms=held.held_ms,
            steps=tuple(str(step) for step in held.steps),
        )
        if held.result is None:
            if not held.thawed:
                return UnitOutcome(self._all_failed(group, problem or ""), hooks=(hook,))
            return self._without_hook(group, problem or "", hook)
        outcomes = [self._creator.after_thaw(outcome) for outcome in held.result]
        creations = self._raise([each for outcome in outcomes for each in outcome.creations], held.proved)
        if problem is not None:
            lenient = group.policy.hook_on_failure == "continue" and held.thawed
            creations = [_warned(each, problem) if lenient else _turned_failed(each, problem) for each in creations]
        unrequested = tuple(
            unrequested_snapshot for outcome in outcomes for unrequested_snapshot in outcome.unrequested
        )
        return UnitOutcome(tuple(creations), unrequested, (hook,))

    def _without_hook(self, group: FreezeGroup, problem: str, hook: HookResult) -> UnitOutcome:
        """The policy's `hook_on_failure` decides: no snapshot, or a crash-consistent one.

        Either way a run beside this one may have had the freeze, and made the snapshots.
        """
        if group.policy.hook_on_failure == "skip":
            adopted = [each for unit in group.units for each in self._creator.adopted_now(unit)]
            served = {creation.plan.volume.id for creation in adopted}
            failed = (each for each in self._all_failed(group, problem) if each.plan.volume.id not in served)
            return UnitOutcome((*(_warned(each, problem) for each in adopted), *failed), hooks=(hook,))
        outcomes = [self._creator.create(unit) for unit in group.units]
        return UnitOutcome(
            tuple(_warned(creation, problem) for outcome in outcomes for creation in outcome.creations),
            tuple(unrequested_snapshot for outcome in outcomes for unrequested_snapshot in outcome.unrequested),
            (hook,),
        )

    def _all_failed(self, group: FreezeGroup, problem: str) -> tuple[Creation, ...]:
        return tuple(without_snapshot(plan, Outcome.FAILED, f"hook failed: {problem}") for plan in group.plans)

    def _raise(self, creations: Sequence[Creation], proved: frozenset[str]) -> list[Creation]:
        """Raise the proved snapshots from crash to application; where that fails they stay what they are."""
        raised = {
            creation.snapshot.id
            for creation in creations
            if creation.result.outcome is Outcome.CREATED
            and creation.snapshot is not None
            and creation.result.volume_id in proved
        }
        if not raised:
            return list(creations)
        try:
            self._ebs.set_consistency(raised, Consistency.APPLICATION)
        except Exception as error:
            # Whatever it was, it must not cost the journal; and if only the answer was lost, the tag is raised.
            if not isinstance(error, AwsError):
                logger.exception("unexpected while raising the tag of %s", ", ".join(sorted(raised)))
            note = f"application-consistent, but its tag may still say crash: {error}"
            return [with_warning(each, note) if each.result.snapshot_id in raised else each for each in creations]
        return [_consistent(each) if each.result.snapshot_id in raised else each for each in creations]


def _snapshot_ids(outcomes: Sequence[FrozenOutcome]) -> list[str]:
    return [each.snapshot.id for outcome in outcomes for each in outcome.creations if each.snapshot is not None]


def _turned_failed(creation: Creation, problem: str) -> Creation:
    made = f"{creation.result.snapshot_id} was made, but " if creation.result.snapshot_id else ""
    result = replace(creation.result, outcome=Outcome.FAILED, reason=f"{made}hook failed: {problem}")
    return replace(creation, result=result)


def _warned(creation: Creation, problem: str) -> Creation:
    # What another run's freeze made, and this one adopted, may well be application-consistent.
    is_home = creation.result.outcome is Outcome.CREATED
    return with_warning(creation, f"crash-consistent, hook failed: {problem}" if is_home else f"hook failed: {problem}")


def _consistent(creation: Creation) -> Creation:
    return replace(creation, result=replace(creation.result, consistency=Consistency.APPLICATION))
