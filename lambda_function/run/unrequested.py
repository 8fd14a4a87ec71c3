"""Deletes unrequested snapshots: a set includes a volume attached while the set is created."""

from __future__ import annotations

from collections.abc import Sequence

from lambda_function.errors import SnapshotNotFoundError
from lambda_function.inputs.policy import OPTED_OUT
from lambda_function.model.ec2 import Snapshot, UnrequestedSnapshot
from lambda_function.model.result import Change, ChangeOutcome, ChangeResult
from lambda_function.plan.retention import PlannedChange
from lambda_function.ports import Ebs
from lambda_function.run.context import RunContext
from lambda_function.run.prune import BATCH, WRITE_SECONDS, failed_change

CHECK_AFTER_SECONDS = (0.0, 3.0, 10.0)
"""Waits before each recheck of those not visible yet."""


def delete_unrequested(context: RunContext, unrequested: Sequence[UnrequestedSnapshot]) -> list[ChangeResult]:
    """Delete unrequested snapshots, except those of a selected volume: a run may have adopted one as that volume's own.

    Call once no create is in flight. EC2 copied the volume's tags onto the snapshot, so the recheck
    shows them; what is not visible yet is read again.
    """
    planned = [PlannedChange(extra.snapshot, Change.DELETE, extra.reason) for extra in unrequested]
    try:
        seen = _recheck(context, [change.snapshot.id for change in planned])
    except Exception as error:
        # Never deferred: another run would not find them.
        _, note = failed_change(error, "the check of unrequested snapshots")
        return [change.result(ChangeOutcome.FAILED, note) for change in planned]
    return [_delete(context.ebs, change, seen.get(change.snapshot.id)) for change in planned]


def _recheck(context: RunContext, snapshot_ids: Sequence[str]) -> dict[str, Snapshot]:
    seen: dict[str, Snapshot] = {}
    for seconds in CHECK_AFTER_SECONDS:
        context.deadline.wait(seconds, WRITE_SECONDS)
        unseen = [snapshot_id for snapshot_id in snapshot_ids if snapshot_id not in seen]
        for start in range(0, len(unseen), BATCH):
            seen.update(context.ebs.read_snapshots(unseen[start : start + BATCH]))
        if len(seen) == len(snapshot_ids):
            break
    return seen


def _delete(ebs: Ebs, planned: PlannedChange, now: Snapshot | None) -> ChangeResult:
    if now is None:
        return planned.result(ChangeOutcome.GONE)
    if now.policy not in (None, OPTED_OUT):
        return planned.result(ChangeOutcome.CHANGED_SINCE, "its volume is selected, so it stays as that volume's")
    try:
        ebs.delete_snapshot(now.id)
    except SnapshotNotFoundError:
        return planned.result(ChangeOutcome.GONE)
    except Exception as error:
        return planned.result(*failed_change(error, f"the deletion of {now.id}"))
    return planned.result(ChangeOutcome.DONE)
