"""Snapshots within one freeze: what becomes of volumes when the hook, or a create under it, goes wrong."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lambda_function.creation import Creation, Creator, FrozenOutcome, UnitOutcome, with_warning, without_snapshot
from lambda_function.errors import AutoSnapshotsError, AwsError, HookError
from lambda_function.grouping import HookGroup
from lambda_function.hook_readiness import HookReadiness
from lambda_function.hooks import Freeze, Held, HookPlan
from lambda_function.model import Consistency, HookResult, Outcome, RunRequest
from lambda_function.ports import Commands, Ebs
from lambda_function.time_budget import TimeBudget

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class HookedCreator:
    """Creates the groups of one run; safe to use from several threads."""

    creator: Creator
    ebs: Ebs
    commands: Commands
    readiness: HookReadiness
    request: RunRequest
    time: TimeBudget

    def create(self, group: HookGroup) -> UnitOutcome:
        """Freeze, create and thaw. Failures are results, never exceptions, so that others go on."""
        try:
            plan = self.readiness.plan(group, self.request.period)
        except HookError as error:
            return self._without_hook(group, str(error), HookResult(group.instance_ids, group.policy_name, str(error)))
        try:
            # Waiting for room under the cap on pending snapshots comes before the freeze, never within it.
            self.creator.enter_room(len(group.plans))
            held = Freeze[list[FrozenOutcome]](plan, self.commands, self.time).around(
                lambda: [self.creator.create_frozen(unit) for unit in group.units], _snapshot_ids
            )
        except Exception as error:
            if not isinstance(error, AutoSnapshotsError):
                logger.exception("unexpected while %s was to be frozen", ", ".join(group.instance_ids))
            hook = HookResult(group.instance_ids, group.policy_name, str(error))
            return UnitOutcome(self._all_failed(group, str(error)), hooks=(hook,))
        return self._conclude(group, plan, held)

    def _conclude(self, group: HookGroup, plan: HookPlan, held: Held[list[FrozenOutcome]]) -> UnitOutcome:
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
        outcomes = [self.creator.after_thaw(outcome) for outcome in held.result]
        creations = self._raise([each for outcome in outcomes for each in outcome.creations], held.proved)
        if problem is not None:
            lenient = group.policy.hook_on_failure == "continue" and held.thawed
            creations = [_warned(each, problem) if lenient else _turned_failed(each, problem) for each in creations]
        changes = tuple(change for outcome in outcomes for change in outcome.changes)
        return UnitOutcome(tuple(creations), changes, (hook,))

    def _without_hook(self, group: HookGroup, problem: str, hook: HookResult) -> UnitOutcome:
        """The policy's `hook_on_failure` decides: no snapshot, or a crash-consistent one."""
        if group.policy.hook_on_failure == "skip":
            return UnitOutcome(self._all_failed(group, problem), hooks=(hook,))
        outcomes = [self.creator.create(unit) for unit in group.units]
        return UnitOutcome(
            tuple(_warned(creation, problem) for outcome in outcomes for creation in outcome.creations),
            tuple(change for outcome in outcomes for change in outcome.changes),
            (hook,),
        )

    def _all_failed(self, group: HookGroup, problem: str) -> tuple[Creation, ...]:
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
            self.ebs.set_consistency(raised, Consistency.APPLICATION)
        except AwsError as error:
            note = f"application-consistent, but its tag still says crash: {error}"
            return [with_warning(each, note) if each.result.snapshot_id in raised else each for each in creations]
        return [_consistent(each) if each.result.snapshot_id in raised else each for each in creations]


def _snapshot_ids(outcomes: Sequence[FrozenOutcome]) -> list[str]:
    return [each.snapshot.id for outcome in outcomes for each in outcome.creations if each.snapshot is not None]


def _turned_failed(creation: Creation, problem: str) -> Creation:
    made = f"{creation.result.snapshot_id} was made, but " if creation.result.snapshot_id else ""
    result = replace(creation.result, outcome=Outcome.FAILED, reason=f"{made}hook failed: {problem}")
    return replace(creation, result=result)


def _warned(creation: Creation, problem: str) -> Creation:
    return with_warning(creation, f"crash-consistent, hook failed: {problem}")


def _consistent(creation: Creation) -> Creation:
    return replace(creation, result=replace(creation.result, consistency=Consistency.APPLICATION))
