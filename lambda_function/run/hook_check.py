"""Check that hooks are ready: dry-run each document on each instance it would run on; freeze nothing."""

from __future__ import annotations

from dataclasses import dataclass

from lambda_function.deadline import Deadline
from lambda_function.errors import AutoSnapshotsError, AwsError, HookError
from lambda_function.hooks.command import NO_EXECUTION, FreezePlan, Stage, parameters_for
from lambda_function.hooks.preflight import HookReadiness, preflight
from lambda_function.hooks.stages import CANCEL_SECONDS
from lambda_function.inputs.policy import PolicySet
from lambda_function.model.ec2 import Volume
from lambda_function.model.period import Period
from lambda_function.model.request import HookCheckRequest
from lambda_function.model.result import HookCheckReport, HookResult, Outcome
from lambda_function.model.tags import TagKeys, policy_named_by
from lambda_function.parallel import MAX_FREEZES, in_parallel
from lambda_function.plan.create_calls import FreezeGroup, plan_freezes
from lambda_function.plan.due import VolumePlan
from lambda_function.ports import Commands
from lambda_function.run.context import RunContext, policy_faults, read_in_time, read_policies

_ANY_PERIOD = Period.HOUR
"""Grouping needs a period, but its result does not depend on which."""


def check_hooks(request: HookCheckRequest, context: RunContext) -> HookCheckReport:
    """Dry-run the document of every policy that has one, on every running instance of its volumes.

    Raises ConfigurationError, AwsError and RunFailedError as `runner.run` does.
    """
    policies, hooked, groups, readiness = read_in_time(context, lambda: _read(request, context), "checked")
    checker = _Checker(context.commands, readiness, context.deadline)
    context.observer.stage("checking", len(groups))
    context.deadline.interruption.begin()
    results = []
    for result in in_parallel(checker.check, groups, MAX_FREEZES):
        results.append(result)
        context.observer.hook(result)
        context.observer.advance()
    ordered = sorted(results, key=lambda result: (result.instance_ids, result.policy))
    covered = {plan.volume.id for plan in hooked}
    missing = [volume_id for volume_id in request.volumes if volume_id not in covered]
    faults = [f"{volume_id}: asked for, but no tagged volume with a hook" for volume_id in missing]
    return HookCheckReport(tuple(ordered), (*policy_faults(policies, request.policies), *faults))


def _read(
    request: HookCheckRequest, context: RunContext
) -> tuple[PolicySet, list[VolumePlan], list[FreezeGroup], HookReadiness]:
    policies = read_policies(request, context.policies, context.policies_path)
    volumes = context.ebs.list_volumes(request.volumes)
    hooked = _hooked(volumes, policies, request, context.keys)
    ids = sorted({instance_id for plan in hooked for instance_id in plan.volume.instance_ids})
    instances = {instance.id: instance for instance in context.ebs.list_instances(ids)} if ids else {}
    groups, _ = plan_freezes(hooked, instances, context.keys, _ANY_PERIOD)
    return policies, hooked, groups, preflight(context.commands, groups)


def _hooked(volumes: list[Volume], policies: PolicySet, request: HookCheckRequest, keys: TagKeys) -> list[VolumePlan]:
    plans = []
    for volume in sorted(volumes, key=lambda volume: volume.id):
        name = policy_named_by(volume.tags, keys)
        policy = policies.valid.get(name or "")
        if policy is not None and policy.hook_document and (not request.policies or name in request.policies):
            plans.append(VolumePlan(volume, name, policy, Outcome.WOULD_CREATE, "to be checked"))
    return plans


@dataclass(frozen=True)
class _Checker:
    commands: Commands
    readiness: HookReadiness
    deadline: Deadline

    def check(self, group: FreezeGroup) -> HookResult:
        steps: list[str] = []
        plan: FreezePlan | None = None
        try:
            plan = self.readiness.plan(group, _ANY_PERIOD)
            answers = [self._dry_run(plan, instance_id, steps) for instance_id in group.instance_ids]
            problems = [problem for problem in answers if problem]
        except (HookError, AwsError) as error:
            problems = [plan.redact(str(error)) if plan else str(error)]
        except AutoSnapshotsError as error:
            problems = [f"not checked: {error}"]
        return HookResult(group.instance_ids, group.policy.name, "; ".join(problems) or None, steps=tuple(steps))

    def _dry_run(self, plan: FreezePlan, instance_id: str, steps: list[str]) -> str | None:
        self.deadline.require(plan.timeout_seconds + CANCEL_SECONDS)
        parameters = parameters_for(plan, Stage.DRY_RUN, instance_id, NO_EXECUTION)
        until = self.deadline.elapsed() + plan.timeout_seconds
        command_id = self.commands.send(plan.document, instance_id, parameters, until=until)
        outcome = self.commands.wait(command_id, instance_id, self.deadline.elapsed() + plan.timeout_seconds)
        if outcome is None:
            self.commands.cancel(command_id, instance_id)
            return f"dry-run on {instance_id}: not finished after {plan.timeout_seconds} s, cancelled"
        redacted = plan.redact_outcome(outcome)
        steps.append(f"dry-run {instance_id}: {redacted}")
        return None if outcome.succeeded else f"dry-run on {instance_id}: {redacted}"
