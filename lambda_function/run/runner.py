"""One run: read, plan, create, change, report. A dry run takes the same path, with a guard at each write."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from lambda_function.errors import AwsError, OutOfTimeError
from lambda_function.hooks.preflight import preflight
from lambda_function.inputs.policy import PolicySet
from lambda_function.model.ec2 import Instance, Snapshot, UnrequestedSnapshot
from lambda_function.model.request import RunRequest
from lambda_function.model.result import Change, ChangeOutcome, ChangeResult, HookResult, Outcome, RunReport
from lambda_function.parallel import MAX_FREEZES, WORKERS, in_parallel
from lambda_function.plan.create_calls import CreateCall, FreezeGroup, plan_creates, plan_freezes
from lambda_function.plan.due import RunPlan, VolumePlan, plan_run
from lambda_function.plan.failed import plan_failed
from lambda_function.plan.retention import PlannedChange, kept_for, plan_join, plan_prune
from lambda_function.plan.sharing import proved_sets, sets_in_question
from lambda_function.run.context import (
    READ_RESERVE_SECONDS,
    RunContext,
    policy_faults,
    read_in_time,
    read_policies,
)
from lambda_function.run.create import Created, Creator
from lambda_function.run.create_frozen import FrozenCreator
from lambda_function.run.create_result import CreateResult
from lambda_function.run.offline import OfflineCheck
from lambda_function.run.prune import Changer
from lambda_function.run.prune_queue import PruneQueue
from lambda_function.run.record import RunRecord
from lambda_function.run.unrequested import delete_unrequested

logger = logging.getLogger(__name__)


def run(request: RunRequest, context: RunContext) -> RunReport:
    """Execute one run and return its report, which includes the failures of single volumes.

    Raises ConfigurationError if no policy is valid or a requested one is unknown, AwsError if a listing fails, and
    RunFailedError if there was no time to read all. In all cases nothing was written. A dry run never begins, since it
    leaves nothing to put in order.
    """
    context.observer.stage("reading", 0)
    read_at = context.deadline.elapsed()
    policies, plan = read_in_time(context, lambda: _read(request, context), "created or deleted")
    interruption = context.deadline.interruption
    if not request.dry_run:
        interruption.begin()
    report = _Run(request, context, policies, plan, read_at).execute()
    return replace(report, is_interrupted=interruption.is_set)


def _read(request: RunRequest, context: RunContext) -> tuple[PolicySet, RunPlan]:
    policies = read_policies(request, context.policies, context.policies_path)
    volumes = context.ebs.list_volumes(request.volumes)
    snapshots = context.ebs.list_snapshots(request.period.up_to(), request.volumes)
    failed = context.ebs.list_failed(request.volumes)
    proved = _proved_elsewhere(request, context, policies, snapshots)
    return policies, plan_run(request, policies, volumes, snapshots, context.keys, proved, failed)


def _proved_elsewhere(
    request: RunRequest, context: RunContext, policies: PolicySet, snapshots: Sequence[Snapshot]
) -> Collection[str]:
    """The sets that are proved only by volumes that the request does not name; a whole run's listing has all."""
    if not request.volumes:
        return ()
    unknown = sets_in_question(request, policies.valid.values(), snapshots, proved_sets(snapshots))
    return context.ebs.list_proved_sets(unknown) if unknown else ()


Job = CreateCall | FreezeGroup


class _Run:
    """The execution of one plan, of what was read at `read_at` on the elapsed clock."""

    def __init__(
        self, request: RunRequest, context: RunContext, policies: PolicySet, plan: RunPlan, read_at: float
    ) -> None:
        self._request = request
        self._context = context
        self._plan = plan
        self._read_at = read_at
        self._record = RunRecord(
            request, plan, context.observer, (*policy_faults(policies, request.policies), *request.target_faults)
        )
        self._sharing = {plan.volume.id: plan for plan in plan.volumes if plan.outcome is Outcome.WOULD_SHARE}
        self._fallback_creates: list[VolumePlan] = []
        self._unrequested: list[UnrequestedSnapshot] = []

    def execute(self) -> RunReport:
        """Create, join and prune in parallel; a volume whose shared snapshot is gone gets its own."""
        for plan in self._plan.volumes:
            if plan.outcome not in (Outcome.WOULD_CREATE, Outcome.WOULD_SHARE):
                self._record.settle(plan, plan.outcome, plan.reason, plan.slot_snapshot)
        changer = Changer(self._request, self._context)
        with PruneQueue(changer.apply) as queue:
            for plan in self._plan.volumes:
                if plan.outcome is Outcome.WOULD_CREATE:
                    continue
                shared = plan.slot_snapshot if plan.joining else None
                joins = [plan_join(shared, plan.joining, plan.reason)] if shared is not None else []
                queue.add([*joins, *self._prune(plan)])
            queue.flush()
            self._create([plan for plan in self._plan.volumes if plan.outcome is Outcome.WOULD_CREATE], queue)
            self._context.observer.stage("pruning", 0)
            for result in queue.finish():
                self._change(result)
                self._context.observer.advance()
        if changer.warning is not None:
            self._record.warn(changer.warning)
        if self._fallback_creates:
            self._create(self._fallback_creates)
        return self._record.report()

    def _create(self, due: Sequence[VolumePlan], queue: PruneQueue | None = None) -> None:
        """Create in parallel, freezes first: each freeze has a thread of its own, up to MAX_FREEZES.

        Once a volume's create is answered, its pruning goes to `queue` while other creates continue.
        """
        try:
            create, jobs, problem = self._context.deadline.bounded(lambda: self._plan_jobs(due), READ_RESERVE_SECONDS)
        except OutOfTimeError as error:
            for plan in due:
                self._record.created(CreateResult(plan, error=error))
            return
        if problem is not None:
            self._record.fail_unrepeatably(problem)
        freezes = sum(isinstance(job, FreezeGroup) for job in jobs)
        workers = WORKERS + min(freezes, MAX_FREEZES)
        self._context.observer.stage("creating", sum(len(job.plans) for job in jobs))
        for results in in_parallel(create, jobs, workers):
            for result in results:
                self._record_result(result, queue)
            for change in queue.results() if queue is not None else ():
                self._change(change)
        unrequested, self._unrequested = self._unrequested, []
        for change in delete_unrequested(self._context, unrequested) if unrequested else ():
            self._record.change(change, is_unrepeatable=True)

    def _plan_jobs(
        self, due: Sequence[VolumePlan]
    ) -> tuple[Callable[[Job], Sequence[Created | HookResult]], list[Job], str | None]:
        """The function that does one job, the jobs for the due volumes in order, and a failure to record."""
        request, context = self._request, self._context
        instances, problem = self._describe_instances(due)
        groups, plain = plan_freezes(due, instances, context.keys, request.period)
        calls = plan_creates(plain, instances, context.keys, request.period)
        creator = Creator(request, context, instances, OfflineCheck(context, calls, self._read_at))
        frozen_creator = FrozenCreator(request, context, creator, preflight(context.commands, groups))
        if groups and not request.dry_run:
            connections = min(len(groups), MAX_FREEZES)
            context.commands.warm_up(connections)
            context.ebs.warm_up(connections)

        def create(job: Job) -> Sequence[Created | HookResult]:
            try:
                return frozen_creator.create(job) if isinstance(job, FreezeGroup) else creator.create(job)
            except Exception as error:
                # A bug in one job must not cost the others their snapshots.
                logger.exception("unexpected while creating")
                return [CreateResult(plan, error=error) for plan in job.plans]

        # Oldest newest snapshot first, so that running out of time does not always hit the same volumes.
        return create, [*sorted(groups, key=_newest), *sorted(calls, key=_newest)], problem

    def _record_result(self, result: Created | HookResult, queue: PruneQueue | None) -> None:
        match result:
            case CreateResult():
                self._record.created(result)
                self._context.observer.advance()
                if queue is not None:
                    queue.add(self._prune(result.plan))
            case UnrequestedSnapshot():
                self._unrequested.append(result)
            case ChangeResult():
                self._record.change(result)
            case HookResult():
                self._record.hook(result)

    def _describe_instances(self, due: Sequence[VolumePlan]) -> tuple[dict[str, Instance], str | None]:
        """Instances of the due volumes; if empty, snapshots are still created, singly and as `crash`.

        The text is why they could not be described. Nothing is recorded here: the run may have given up waiting.
        """
        ids = {instance_id for plan in due for instance_id in plan.volume.instance_ids}
        if not ids:
            return {}, None
        try:
            return {instance.id: instance for instance in self._context.ebs.list_instances(sorted(ids))}, None
        except AwsError as error:
            return {}, f"instances could not be described, so volumes were taken one by one: {error}"

    def _change(self, result: ChangeResult) -> None:
        self._record.change(result)
        if result.change is not Change.JOIN:
            return
        plan = self._sharing[result.volume_id]
        match result.outcome:
            case ChangeOutcome.DONE:
                self._record.settle(plan, Outcome.SHARED, plan.reason, plan.slot_snapshot)
            case ChangeOutcome.PLANNED:
                self._record.settle(plan, Outcome.WOULD_SHARE, plan.reason, plan.slot_snapshot)
            case ChangeOutcome.FAILED:
                self._record.settle(plan, Outcome.FAILED, result.reason)
            case ChangeOutcome.DEFERRED:
                self._record.settle(plan, Outcome.DEFERRED, result.reason)
            case _:
                reason = f"{result.snapshot_id}, which was to be shared, is {result.outcome}"
                self._fallback_creates.append(replace(plan, reason=reason))

    def _prune(self, plan: VolumePlan) -> list[PlannedChange]:
        """Changes to this volume's snapshots; none if its create failed or its policy has no rule for the period."""
        if plan.rule is None or self._record.is_without_snapshot(plan.volume.id):
            return []
        known = {snapshot.id: snapshot for snapshot in plan.snapshots}
        slot_snapshot = self._record.slot_snapshot(plan)
        if slot_snapshot is not None:
            known[slot_snapshot.id] = kept_for(slot_snapshot, self._request.period)
        with_kept = self._request.dry_run
        # A dry run's moment may be past, where the slot's snapshot is not the newest.
        slot_snapshot_id = slot_snapshot.id if slot_snapshot is not None and not with_kept else None
        planned = plan_prune(plan.rule, list(known.values()), slot_snapshot_id, with_kept=with_kept)
        if plan.outcome is not Outcome.WOULD_CREATE:
            planned += plan_failed(plan.rule, plan.failed, list(known.values()), with_kept=with_kept)
        for change in planned:
            if change.change is Change.KEEP:
                self._record.change(change.result(ChangeOutcome.PLANNED))
        return [change for change in planned if change.change is not Change.KEEP]


def _newest(job: Job) -> float:
    """The oldest of its volumes' newest good snapshots, as a timestamp; 0 if a volume has none."""
    return min(
        max((snapshot.start_time.timestamp() for snapshot in plan.snapshots if snapshot.state.is_good), default=0.0)
        for plan in job.plans
    )
