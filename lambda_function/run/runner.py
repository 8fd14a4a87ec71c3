"""One run: read, plan, create, change, report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lambda_function.errors import AwsError, HookError
from lambda_function.hooks.preflight import HookReadiness, preflight
from lambda_function.inputs.policy import PolicySet
from lambda_function.model.ec2 import Instance, Snapshot, SnapshotState, UnrequestedSnapshot
from lambda_function.model.request import RunRequest
from lambda_function.model.result import (
    Change,
    ChangeOutcome,
    ChangeResult,
    HookResult,
    Outcome,
    RunReport,
    VolumeResult,
)
from lambda_function.parallel import MAX_FREEZES, WORKERS, in_parallel
from lambda_function.plan.create_calls import CreateCall, FreezeGroup, plan_creates, plan_freezes
from lambda_function.plan.due import RunPlan, VolumePlan, plan_run
from lambda_function.run.context import RunContext, policy_faults, read_policies
from lambda_function.run.create import Creator
from lambda_function.run.create_frozen import HookedCreator
from lambda_function.run.create_result import UnitOutcome, failures, judged_by_slot
from lambda_function.run.prune import Changer, PlannedChange, delete_unrequested, kept_for, plan_join, plan_prune
from lambda_function.run.prune_queue import ChangeStream
from lambda_function.run.record import RunRecord


def run(request: RunRequest, context: RunContext) -> RunReport:
    """Do one run and report all of it; failures of single volumes are in the report.

    Raises ConfigurationError when there is no readable policy or an unknown one is asked for, and
    AwsError when a listing could not be completed. In both cases nothing was written.
    """
    policies = read_policies(request, context.policies, context.policies_path)
    context.observer.stage("reading", 0)
    volumes = context.ebs.list_volumes(request.volumes)
    snapshots = context.ebs.list_snapshots(request.period.up_to(), request.volumes)
    plan = plan_run(request, policies, volumes, snapshots, context.keys)
    return _Run(request, context, policies, plan).execute()


@dataclass(frozen=True)
class _PlannedCalls:
    """The create calls for the volumes due, those under a freeze apart, and what was read to arrange them."""

    instances: Mapping[str, Instance]
    groups: Sequence[FreezeGroup]
    units: Sequence[CreateCall]
    readiness: HookReadiness


class _Run:
    """The execution of one plan."""

    def __init__(self, request: RunRequest, context: RunContext, policies: PolicySet, plan: RunPlan) -> None:
        self._request = request
        self._context = context
        self._plan = plan
        self._record = RunRecord(
            request, plan, context.observer, (*policy_faults(policies, request.policies), *request.target_faults)
        )
        self._sharing = {each.volume.id: each for each in plan.volumes if each.outcome is Outcome.WOULD_SHARE}
        self._fallback_creates: list[VolumePlan] = []

    def execute(self) -> RunReport:
        to_create = [plan for plan in self._plan.volumes if plan.outcome is Outcome.WOULD_CREATE]
        for plan in self._plan.volumes:
            if plan.outcome not in (Outcome.WOULD_CREATE, Outcome.WOULD_SHARE):
                self._record.settle(plan, plan.outcome, plan.reason, plan.slot_snapshot)
        if self._request.dry_run:
            self._preview(self._plan_calls(to_create))
        else:
            self._carry_out(to_create)
        return self._record.report()

    def _describe_instances(self, due: Sequence[VolumePlan]) -> dict[str, Instance]:
        """Instances of the volumes due. Without them snapshots are still taken, singly and as `crash`."""
        ids = {instance_id for plan in due for instance_id in plan.volume.instance_ids}
        if not ids:
            return {}
        try:
            return {instance.id: instance for instance in self._context.ebs.list_instances(sorted(ids))}
        except AwsError as error:
            self._record.fail_unrepeatably(
                f"instances could not be described, so volumes were taken one by one: {error}"
            )
            return {}

    def _plan_calls(self, due: Sequence[VolumePlan]) -> _PlannedCalls:
        instances = self._describe_instances(due)
        groups, plain = plan_freezes(due, instances, self._context.keys, self._request.period)
        units = plan_creates(plain, instances, self._context.keys, self._request.period)
        readiness = preflight(self._context.commands, groups)
        return _PlannedCalls(instances, groups, units, readiness)

    def _create(self, calls: _PlannedCalls, changes: ChangeStream | None = None) -> None:
        """All creates side by side, those under a freeze first: each has a thread of its own, up to a limit.

        A volume whose create was answered is handed to `changes` to be pruned, while other creates go on.
        """
        context = self._context
        creator = Creator(context.ebs, self._request, context.keys, calls.instances, context.deadline)
        hooked = HookedCreator(creator, context.ebs, context.commands, calls.readiness, self._request, context.deadline)

        def create(job: CreateCall | FreezeGroup) -> UnitOutcome:
            try:
                return hooked.create(job) if isinstance(job, FreezeGroup) else creator.create(job)
            except Exception as error:
                # A fault of our own in one job must not cost the others their snapshots.
                return UnitOutcome(failures(job.plans, error))

        unrequested: list[UnrequestedSnapshot] = []
        # Those whose newest snapshot is oldest go first, so that it is not always the same that time leaves out.
        jobs: list[CreateCall | FreezeGroup] = [
            *sorted(calls.groups, key=_newest),
            *sorted(calls.units, key=_newest),
        ]
        frozen_to_come = len(calls.groups)
        context.ebs.reserve_creates(min(frozen_to_come, MAX_FREEZES))
        context.observer.stage("creating", sum(len(job.plans) for job in jobs))
        for outcome in in_parallel(create, jobs, WORKERS + min(frozen_to_come, MAX_FREEZES)):
            if outcome.hooks:
                frozen_to_come -= 1
                context.ebs.reserve_creates(min(frozen_to_come, MAX_FREEZES))
            self._take_unit(outcome, changes)
            unrequested += outcome.unrequested
        context.ebs.reserve_creates(0)
        if unrequested:
            for change in delete_unrequested(context.ebs, unrequested, context.deadline):
                self._record.change(change, is_unrepeatable=True)

    def _take_unit(self, outcome: UnitOutcome, changes: ChangeStream | None) -> None:
        for creation in outcome.creations:
            self._record.take(judged_by_slot(creation, self._request))
            if changes is not None:
                changes.add(self._prune(creation.plan))
        for hook in outcome.hooks:
            self._record.hook(hook)
        self._context.observer.advance(len(outcome.creations))
        if changes is not None:
            for result in changes.results():
                self._take_change(result)

    def _predict_hooks(self, groups: Sequence[FreezeGroup], readiness: HookReadiness) -> dict[str, str]:
        """In a dry run: which hooks are known to fail, found by reading only; by volume, where it costs a snapshot."""
        failing: dict[str, str] = {}
        for group in groups:
            try:
                readiness.plan(group, self._request.period)
            except HookError as error:
                self._record.predicted_hook(HookResult(group.instance_ids, group.policy_name, str(error)))
                if group.policy.hook_on_failure == "skip":
                    failing |= {plan.volume.id: f"its hook would fail: {error}" for plan in group.plans}
        return failing

    def _carry_out(self, to_create: Sequence[VolumePlan]) -> None:
        """Create, join and let go, side by side; a volume whose candidate vanished gets a snapshot of its own."""
        context = self._context
        creating = {plan.volume.id for plan in to_create}
        with ChangeStream(Changer(context.ebs, self._request.period, context.deadline).apply) as changes:
            for plan in self._plan.volumes:
                joins = (
                    [plan_join(plan.slot_snapshot, plan.joining, plan.reason)]
                    if plan.slot_snapshot and plan.joining
                    else []
                )
                if plan.volume.id not in creating:
                    changes.add([*joins, *self._prune(plan)])
            changes.flush()
            self._create(self._plan_calls(to_create), changes)
            context.observer.stage("pruning", 0)
            for result in changes.finish():
                self._take_change(result)
                context.observer.advance()
        if self._fallback_creates:
            self._create(self._plan_calls(self._fallback_creates))

    def _take_change(self, result: ChangeResult) -> None:
        self._record.change(result)
        if result.change is not Change.JOIN:
            return
        plan = self._sharing[result.volume_id]
        if result.outcome is ChangeOutcome.DONE:
            self._record.settle(plan, Outcome.SHARED, plan.reason, plan.slot_snapshot)
        elif result.outcome is ChangeOutcome.FAILED:
            self._record.settle(plan, Outcome.FAILED, result.reason)
        elif result.outcome is ChangeOutcome.DEFERRED:
            self._record.settle(plan, Outcome.DEFERRED, result.reason)
        else:
            reason = f"{result.snapshot_id}, which was to be shared, is {result.outcome}"
            self._fallback_creates.append(replace(plan, reason=reason))

    def _prune(self, plan: VolumePlan) -> list[PlannedChange]:
        """What becomes of this volume's snapshots: nothing where it failed, or the period is not its policy's."""
        if plan.retain_count is None or self._record.is_without_snapshot(plan.volume.id):
            return []
        known = {snapshot.id: snapshot for snapshot in plan.snapshots}
        slot_snapshot = self._record.slot_snapshot(plan)
        if slot_snapshot is not None:
            known[slot_snapshot.id] = kept_for(slot_snapshot, self._request.period)
        slot_snapshot_id = slot_snapshot.id if slot_snapshot else None
        return plan_prune(
            self._request.period,
            plan.retain_count,
            list(known.values()),
            slot_snapshot_id,
            with_kept=self._request.dry_run,
        )

    def _preview(self, calls: _PlannedCalls) -> None:
        """A dry run: the same plan with its results assumed, and nothing written."""
        failing = self._predict_hooks(calls.groups, calls.readiness)
        for unit in (*(unit for group in calls.groups for unit in group.units), *calls.units):
            for plan in unit.plans:
                if plan.volume.id in failing:
                    self._record.settle(plan, Outcome.FAILED, failing[plan.volume.id])
                    continue
                together = f"; in one instant with the others of {unit.instance_id}" if unit.is_set else ""
                assumed = Snapshot(
                    "(new)", plan.volume.id, self._request.time, SnapshotState.PENDING, (self._request.period.value,)
                )
                result = VolumeResult(
                    plan.volume.id,
                    plan.policy_name,
                    Outcome.WOULD_CREATE,
                    plan.reason + together,
                    consistency=unit.consistency,
                )
                self._record.assume(result, assumed)
        for plan in self._sharing.values():
            self._record.settle(plan, Outcome.WOULD_SHARE, plan.reason, plan.slot_snapshot)
        for plan in self._plan.volumes:
            for change in self._prune(plan):
                self._record.change(change.result(ChangeOutcome.PLANNED))


def _newest(job: CreateCall | FreezeGroup) -> float:
    """When the job's worst-served volume was last taken, as a time stamp; 0 for never."""
    return min(
        max((each.start_time.timestamp() for each in plan.snapshots if each.state.is_good), default=0.0)
        for plan in job.plans
    )
