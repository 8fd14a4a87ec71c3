"""One run: read, plan, create, change, report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lambda_function.change_stream import ChangeStream
from lambda_function.changes import Changer, PlannedChange, delete_strays, kept_for, plan_join, plan_prune
from lambda_function.concurrency import MAX_FREEZES, WORKERS, in_parallel
from lambda_function.creation import Creator
from lambda_function.creation_outcome import Creation, UnitOutcome, failures
from lambda_function.errors import AwsError, HookError
from lambda_function.grouping import CreateUnit, HookGroup, arrange, arrange_hooked
from lambda_function.hook_readiness import HookReadiness, look
from lambda_function.hooked_creation import HookedCreator
from lambda_function.model import (
    Change,
    ChangeOutcome,
    ChangeResult,
    HookResult,
    Instance,
    Outcome,
    RunReport,
    RunRequest,
    Snapshot,
    SnapshotState,
    Stray,
    VolumeResult,
)
from lambda_function.plan import RunPlan, VolumePlan, greatest_newest_age, plan_run
from lambda_function.policy import PolicySet
from lambda_function.surroundings import Surroundings, policy_faults, read_policies


def run(request: RunRequest, around: Surroundings) -> RunReport:
    """Do one run and report all of it; failures of single volumes are in the report.

    Raises ConfigurationError when there is no readable policy or an unknown one is asked for, and
    AwsError when a listing could not be completed. In both cases nothing was written.
    """
    policies = read_policies(request, around.policies, around.policies_path)
    around.observer.stage("reading", 0)
    volumes = around.ebs.list_volumes(request.volumes)
    snapshots = around.ebs.list_snapshots(request.period.up_to(), request.volumes)
    plan = plan_run(request, policies, volumes, snapshots, around.keys)
    return _Run(request, around, policies, plan).execute()


_UNSERVED = (Outcome.FAILED, Outcome.LEFT, Outcome.VOLUME_GONE)


@dataclass(frozen=True)
class _Arrangement:
    """The create calls for the volumes due, those under a freeze apart, and what was read to arrange them."""

    instances: Mapping[str, Instance]
    groups: Sequence[HookGroup]
    units: Sequence[CreateUnit]
    readiness: HookReadiness


class _Run:
    """The execution of one plan: its outcomes gather here."""

    def __init__(self, request: RunRequest, around: Surroundings, policies: PolicySet, plan: RunPlan) -> None:
        self._request = request
        self._around = around
        self._plan = plan
        self._results: dict[str, VolumeResult] = {}
        self._changes: list[ChangeResult] = []
        self._hooks: list[HookResult] = []
        self._unserved: list[str] = []
        self._left: list[str] = []
        self._told_once: list[str] = []
        self._frozen_to_come = 0
        self._serving: dict[str, Snapshot] = {}
        self._failures: list[str] = []
        self._sharing: dict[str, VolumePlan] = {}
        self._instead: list[VolumePlan] = []
        for text in (*policy_faults(policies, request.policies), *plan.missing):
            self._fail(text)
        self._warnings = (*plan.warnings, *(f"{each} is in state error" for each in plan.failed_snapshots))
        for text in self._warnings:
            around.observer.warning(text)

    def execute(self) -> RunReport:
        to_create = [plan for plan in self._plan.volumes if plan.outcome is Outcome.WOULD_CREATE]
        to_share = [plan for plan in self._plan.volumes if plan.outcome is Outcome.WOULD_SHARE]
        for plan in self._plan.volumes:
            if plan.outcome not in (Outcome.WOULD_CREATE, Outcome.WOULD_SHARE):
                self._settle(plan, plan.outcome, plan.reason, plan.serving)
        if self._request.dry_run:
            self._pretend(self._arrange(to_create), to_share)
        else:
            self._carry_out(to_create, to_share)
        return self._report()

    def _describe_instances(self, due: Sequence[VolumePlan]) -> dict[str, Instance]:
        """Instances of the volumes due. Without them snapshots are still taken, singly and as `crash`."""
        ids = {instance_id for plan in due for instance_id in plan.volume.instance_ids}
        if not ids:
            return {}
        try:
            return {instance.id: instance for instance in self._around.ebs.list_instances(sorted(ids))}
        except AwsError as error:
            text = f"instances could not be described, so volumes were taken one by one: {error}"
            self._fail(text)
            self._told_once.append(text)
            return {}

    def _arrange(self, due: Sequence[VolumePlan]) -> _Arrangement:
        instances = self._describe_instances(due)
        groups, plain = arrange_hooked(due, instances, self._around.keys, self._request.period)
        units = arrange(plain, instances, self._around.keys, self._request.period)
        readiness = look(self._around.commands, groups) if groups else HookReadiness({}, {}, {})
        return _Arrangement(instances, groups, units, readiness)

    def _create(self, arranged: _Arrangement, changes: ChangeStream | None = None) -> None:
        """All creates side by side, those under a freeze first: each has a thread of its own, up to a limit.

        A volume whose create was answered is handed to `changes` to be pruned, while other creates go on.
        """
        around = self._around
        creator = Creator(around.ebs, self._request, around.keys, arranged.instances, around.budget)
        hooked = HookedCreator(creator, around.ebs, around.commands, arranged.readiness, self._request, around.budget)

        def create(job: CreateUnit | HookGroup) -> UnitOutcome:
            try:
                return hooked.create(job) if isinstance(job, HookGroup) else creator.create(job)
            except Exception as error:
                # A fault of our own in one job must not cost the others their snapshots.
                return UnitOutcome(failures(job.plans, error))

        strays: list[Stray] = []
        # Those whose newest snapshot is oldest go first, so that it is not always the same that time leaves out.
        jobs: list[CreateUnit | HookGroup] = [
            *sorted(arranged.groups, key=_newest),
            *sorted(arranged.units, key=_newest),
        ]
        self._frozen_to_come = len(arranged.groups)
        around.ebs.hold_back(min(self._frozen_to_come, MAX_FREEZES))
        around.observer.stage("creating", sum(len(job.plans) for job in jobs))
        for outcome in in_parallel(create, jobs, WORKERS + min(len(arranged.groups), MAX_FREEZES)):
            self._take_unit(outcome, changes)
            strays += outcome.strays
        around.ebs.hold_back(0)
        if strays:
            for change in delete_strays(around.ebs, strays, around.budget):
                self._note(change)
                if change.outcome is ChangeOutcome.FAILED:
                    self._told_once.append(f"{change.snapshot_id} of {change.volume_id}: {change.reason}")

    def _take_unit(self, outcome: UnitOutcome, changes: ChangeStream | None) -> None:
        for creation in outcome.creations:
            self._take(creation)
            if changes is not None:
                changes.add(self._prune(creation.plan))
        for hook in outcome.hooks:
            self._hooks.append(hook)
            self._around.observer.hook(hook)
        if outcome.hooks:
            self._frozen_to_come -= 1
            self._around.ebs.hold_back(min(self._frozen_to_come, MAX_FREEZES))
        self._around.observer.advance(len(outcome.creations))
        if changes is not None:
            for result in changes.results():
                self._take_change(result)

    def _foretell(self, groups: Sequence[HookGroup], readiness: HookReadiness) -> dict[str, str]:
        """In a dry run: which hooks are known to fail, found by reading only; by volume, where it costs a snapshot."""
        failing: dict[str, str] = {}
        for group in groups:
            try:
                readiness.plan(group, self._request.period)
            except HookError as error:
                self._hooks.append(HookResult(group.instance_ids, group.policy_name, str(error)))
                if group.policy.hook_on_failure == "skip":
                    failing |= {plan.volume.id: f"its hook would fail: {error}" for plan in group.plans}
        return failing

    def _carry_out(self, to_create: Sequence[VolumePlan], to_share: Sequence[VolumePlan]) -> None:
        """Create, join and let go, side by side; a volume whose candidate vanished gets a snapshot of its own."""
        around = self._around
        self._sharing = {plan.volume.id: plan for plan in to_share}
        creating = {plan.volume.id for plan in to_create}
        with ChangeStream(Changer(around.ebs, self._request.period, around.budget).apply) as changes:
            for plan in self._plan.volumes:
                joins = [plan_join(plan.serving, plan.joining, plan.reason)] if plan.serving and plan.joining else []
                if plan.volume.id not in creating:
                    changes.add([*joins, *self._prune(plan)])
            self._create(self._arrange(to_create), changes)
            around.observer.stage("pruning", 0)
            for result in changes.finish():
                self._take_change(result)
                around.observer.advance()
        if self._instead:
            self._create(self._arrange(self._instead))

    def _take_change(self, result: ChangeResult) -> None:
        self._note(result)
        if result.change is not Change.JOIN:
            return
        plan = self._sharing[result.volume_id]
        if result.outcome is ChangeOutcome.DONE:
            self._settle(plan, Outcome.SHARED, plan.reason, plan.serving)
        elif result.outcome is ChangeOutcome.FAILED:
            self._settle(plan, Outcome.FAILED, result.reason)
        elif result.outcome is ChangeOutcome.NO_TIME:
            self._settle(plan, Outcome.LEFT, result.reason)
        else:
            reason = f"{result.snapshot_id}, which was to be shared, is {result.outcome}"
            self._instead.append(replace(plan, outcome=Outcome.WOULD_CREATE, reason=reason))

    def _prune(self, plan: VolumePlan) -> list[PlannedChange]:
        """What becomes of this volume's snapshots: nothing where it failed, or the period is not its policy's."""
        result = self._results.get(plan.volume.id)
        if plan.count is None or (result is not None and result.outcome in _UNSERVED):
            return []
        known = {snapshot.id: snapshot for snapshot in plan.snapshots}
        serving = self._serving.get(plan.volume.id, plan.serving)
        if serving is not None:
            known[serving.id] = kept_for(serving, self._request.period)
        serving_id = serving.id if serving else None
        return plan_prune(
            self._request.period, plan.count, list(known.values()), serving_id, with_kept=self._request.dry_run
        )

    def _pretend(self, arranged: _Arrangement, to_share: Sequence[VolumePlan]) -> None:
        """A dry run: the same plan with its results assumed, and nothing written."""
        failing = self._foretell(arranged.groups, arranged.readiness)
        for unit in (*(unit for group in arranged.groups for unit in group.units), *arranged.units):
            for plan in unit.plans:
                if plan.volume.id in failing:
                    self._settle(plan, Outcome.FAILED, failing[plan.volume.id])
                    continue
                together = f"; in one instant with the others of {unit.instance_id}" if unit.is_set else ""
                assumed = Snapshot(
                    "(new)", plan.volume.id, self._request.time, SnapshotState.PENDING, (self._request.period.value,)
                )
                self._serving[plan.volume.id] = assumed
                self._record(
                    VolumeResult(
                        plan.volume.id,
                        plan.policy_name,
                        Outcome.WOULD_CREATE,
                        plan.reason + together,
                        consistency=unit.consistency,
                    )
                )
        for plan in to_share:
            self._settle(plan, Outcome.WOULD_SHARE, plan.reason, plan.serving)
        for plan in self._plan.volumes:
            for change in self._prune(plan):
                self._note(change.result(ChangeOutcome.PLANNED))

    def _fail(self, text: str) -> None:
        self._failures.append(text)
        self._around.observer.failure(text)

    def _take(self, creation: Creation) -> None:
        self._record(creation.result)
        if creation.snapshot is not None:
            self._serving[creation.plan.volume.id] = creation.snapshot

    def _settle(self, plan: VolumePlan, outcome: Outcome, reason: str, serving: Snapshot | None = None) -> None:
        self._record(VolumeResult(plan.volume.id, plan.policy_name, outcome, reason, serving.id if serving else None))

    def _record(self, result: VolumeResult) -> None:
        self._results[result.volume_id] = result
        self._around.observer.volume(result)
        if result.outcome is Outcome.FAILED:
            self._unserved.append(f"{result.volume_id}: {result.reason}")
            if result.snapshot_id is not None:
                # The slot is served, so no other run would look at it: its hook's failure is told here or never.
                self._told_once.append(f"{result.volume_id}: {result.reason}")
        elif result.outcome is Outcome.LEFT:
            self._left.append(f"{result.volume_id}: {result.reason}")

    def _note(self, result: ChangeResult) -> None:
        self._changes.append(result)
        self._around.observer.change(result)
        line = f"{result.snapshot_id} of {result.volume_id}: {result.reason}"
        if result.change is Change.JOIN:
            return  # told of its volume
        if result.outcome is ChangeOutcome.FAILED:
            self._unserved.append(line)
        elif result.outcome is ChangeOutcome.NO_TIME:
            self._left.append(line)

    def _finally_serving(self) -> dict[str, Snapshot]:
        """The snapshots that serve the slot, by volume: a candidate that could not be joined does not."""
        unserved = {volume_id for volume_id, result in self._results.items() if result.outcome in _UNSERVED}
        joined = {
            plan.volume.id: plan.serving
            for plan in self._plan.volumes
            if plan.serving is not None and plan.volume.id not in unserved
        }
        return {**joined, **self._serving}

    def _report(self) -> RunReport:
        results = [self._results[volume_id] for volume_id in sorted(self._results)]
        unknown = [
            f"{result.volume_id}: {result.reason}" for result in results if result.outcome is Outcome.UNKNOWN_POLICY
        ]
        own = [f"{result.volume_id}: {warning}" for result in results for warning in result.warnings]
        return RunReport(
            request=self._request,
            volumes=tuple(results),
            changes=tuple(sorted(self._changes, key=lambda change: change.volume_id)),
            failures=(*self._failures, *sorted(self._unserved)),
            told_once=tuple(self._told_once),
            left=tuple(sorted(self._left)),
            warnings=(*self._warnings, *unknown, *own),
            hooks=tuple(sorted(self._hooks, key=lambda hook: hook.instance_ids)),
            failed_snapshots=self._plan.failed_snapshots,
            orphaned_snapshots=self._plan.orphaned,
            misspelt_tags=len(self._plan.warnings),
            newest_age_seconds=greatest_newest_age(self._plan.volumes, self._finally_serving(), self._request.time),
        )


def _newest(job: CreateUnit | HookGroup) -> float:
    """When the job's worst-served volume was last taken, as a time stamp; 0 for never."""
    return min(
        max((each.start_time.timestamp() for each in plan.snapshots if each.state.is_good), default=0.0)
        for plan in job.plans
    )
