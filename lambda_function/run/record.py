"""Collects what a run decides and does, and builds its report."""

from __future__ import annotations

from collections.abc import Sequence

from lambda_function.model.ec2 import Snapshot
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
from lambda_function.plan.due import RunPlan, VolumePlan, greatest_newest_age
from lambda_function.ports import Observer
from lambda_function.run.create_result import CreateResult, volume_result

_WITHOUT_SNAPSHOT = (Outcome.FAILED, Outcome.DEFERRED, Outcome.VOLUME_GONE)


class RunRecord:
    """Written by one thread; passes each entry on to the observer."""

    def __init__(self, request: RunRequest, plan: RunPlan, observer: Observer, faults: Sequence[str]) -> None:
        self._request = request
        self._plan = plan
        self._observer = observer
        self._results: dict[str, VolumeResult] = {}
        self._changes: list[ChangeResult] = []
        self._hooks: list[HookResult] = []
        self._failure_lines: list[str] = []
        self._deferred: list[str] = []
        self._unrepeatable_failures: list[str] = []
        self._slot_snapshots: dict[str, Snapshot] = {}
        self._failures: list[str] = []
        for text in (*faults, *plan.missing):
            self._fail(text)
        self._warnings: list[str] = []
        for text in (
            *plan.misspelt,
            *plan.stale,
            *(f"{snapshot.id} of {snapshot.volume_id} is in state error" for snapshot in plan.failed_snapshots),
        ):
            self.warn(text)

    def _fail(self, text: str) -> None:
        self._failures.append(text)
        self._observer.failure(text)

    def warn(self, text: str) -> None:
        """Record what someone should know and what belongs to no planned volume."""
        self._warnings.append(text)
        self._observer.warning(text)

    def fail_unrepeatably(self, text: str) -> None:
        """Record a failure that a retry of the run would not find again."""
        self._fail(text)
        self._unrepeatable_failures.append(text)

    def created(self, result: CreateResult) -> None:
        """Record a volume's create; in a dry run, as if it had succeeded."""
        if result.slot_snapshot is not None:
            self._slot_snapshots[result.plan.volume.id] = result.slot_snapshot
        self.volume(volume_result(result, self._request))

    def settle(self, plan: VolumePlan, outcome: Outcome, reason: str, slot_snapshot: Snapshot | None = None) -> None:
        """Record a volume that needed or got no snapshot of its own."""
        self.volume(
            VolumeResult(plan.volume.id, plan.policy_name, outcome, reason, slot_snapshot.id if slot_snapshot else None)
        )

    def volume(self, result: VolumeResult) -> None:
        """Record a volume's outcome, replacing an earlier one."""
        self._results[result.volume_id] = result
        self._observer.volume(result)
        line = f"{result.volume_id}: {result.reason}"
        if result.outcome is Outcome.FAILED:
            self._failure_lines.append(line)
            if result.snapshot_id is not None:
                # The slot has its snapshot, so no retry would repeat the hook: only this run can report its failure.
                self._unrepeatable_failures.append(line)
        elif result.outcome is Outcome.DEFERRED:
            self._deferred.append(line)

    def change(self, result: ChangeResult, *, is_unrepeatable: bool = False) -> None:
        """Record a snapshot's change; a failed join is its volume's failure."""
        self._changes.append(result)
        self._observer.change(result)
        if result.change is Change.JOIN:
            return
        line = f"{result.snapshot_id} of {result.volume_id}: {result.reason}"
        if result.outcome is ChangeOutcome.FAILED:
            self._failure_lines.append(line)
            if is_unrepeatable:
                self._unrepeatable_failures.append(line)
        elif result.outcome is ChangeOutcome.DEFERRED:
            self._deferred.append(line)

    def hook(self, result: HookResult) -> None:
        """Record a freeze that ended or could not start."""
        self._hooks.append(result)
        self._observer.hook(result)

    def is_without_snapshot(self, volume_id: str) -> bool:
        """Whether the volume has no valid snapshot for this slot."""
        result = self._results.get(volume_id)
        return result is not None and result.outcome in _WITHOUT_SNAPSHOT

    def slot_snapshot(self, plan: VolumePlan) -> Snapshot | None:
        """The volume's snapshot for this slot, or the one it is to share."""
        return self._slot_snapshots.get(plan.volume.id, plan.slot_snapshot)

    def report(self) -> RunReport:
        """The run's report, ordered by id."""
        results = [self._results[volume_id] for volume_id in sorted(self._results)]
        unknown = [
            f"{result.volume_id}: {result.reason}" for result in results if result.outcome is Outcome.UNKNOWN_POLICY
        ]
        own = [f"{result.volume_id}: {warning}" for result in results for warning in result.warnings]
        return RunReport(
            request=self._request,
            volumes=tuple(results),
            changes=tuple(sorted(self._changes, key=lambda change: change.volume_id)),
            failures=(*self._failures, *sorted(self._failure_lines)),
            unrepeatable_failures=tuple(self._unrepeatable_failures),
            deferred=tuple(sorted(self._deferred)),
            warnings=(*self._warnings, *unknown, *own),
            hooks=tuple(sorted(self._hooks, key=lambda hook: hook.instance_ids)),
            failed_snapshots=tuple(snapshot.id for snapshot in self._plan.failed_snapshots),
            orphaned_snapshots=self._plan.orphaned,
            misspelt_tags=len(self._plan.misspelt),
            newest_age_seconds=greatest_newest_age(
                self._plan.volumes, self._final_slot_snapshots(), self._request.time
            ),
        )

    def _final_slot_snapshots(self) -> dict[str, Snapshot]:
        """The slot's snapshots by volume, without candidates that could not be joined."""
        joined = {
            plan.volume.id: plan.slot_snapshot
            for plan in self._plan.volumes
            if plan.slot_snapshot is not None and not self.is_without_snapshot(plan.volume.id)
        }
        return {**joined, **self._slot_snapshots}
