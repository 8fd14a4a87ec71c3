"""Tag changes and deletions: the recheck, then the write.

Deletion is the dangerous step. Just before it, exactly the affected snapshots are read again, and
any that changed since planning are left alone. So are those that are locked: EC2 would refuse to delete them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence

from lambda_function.errors import AwsError, OutOfTimeError, SnapshotNotFoundError, SnapshotProtectedError
from lambda_function.model.ec2 import Consistency, Snapshot, SnapshotLock, SnapshotState
from lambda_function.model.request import RunRequest
from lambda_function.model.result import Change, ChangeOutcome, ChangeResult
from lambda_function.model.tags import ordered_periods
from lambda_function.parallel import in_parallel
from lambda_function.plan.retention import PlannedChange, change_for
from lambda_function.run.context import RunContext

logger = logging.getLogger(__name__)

BATCH = 200
"""Values per filter and call (EC2: more raise FilterLimitExceeded)."""

WRITE_SECONDS = 45.0
"""No change starts with less time left: its retries, and continuing the rest elsewhere, need it."""


class Changer:
    """Applies one run's changes batch by batch: a recheck of exactly those snapshots, then the writes.

    A volume whose join did not succeed loses nothing: its other changes, in this batch or a later one, are dropped.
    `warning` is why locks could not be looked at, if that is so: then EC2 decides, deletion by deletion.
    """

    def __init__(self, request: RunRequest, context: RunContext) -> None:
        self._request = request
        self._context = context
        self._volumes_without_snapshot: set[str] = set()
        self.warning: str | None = None

    def apply(self, changes: Sequence[PlannedChange]) -> Iterator[ChangeResult]:
        """Yield results as they complete, BATCH changes after BATCH, of each the joins first."""
        for start in range(0, len(changes), BATCH):
            yield from self._apply(changes[start : start + BATCH])

    def _apply(self, batch: Sequence[PlannedChange]) -> Iterator[ChangeResult]:
        try:
            self._require_time()
            seen = self._context.ebs.read_snapshots([change.snapshot.id for change in batch])
        except Exception as error:
            outcome, note = failed_change(error, "the recheck")
            for change in batch:
                yield self._noted(change.result(outcome, note))
            return
        joins = [change for change in batch if change.change is Change.JOIN]
        yield from self._write_all(joins, seen, {})
        others = [
            change
            for change in batch
            if change.change is not Change.JOIN and change.snapshot.volume_id not in self._volumes_without_snapshot
        ]
        yield from self._write_all(others, seen, self._read_locks(others, seen))

    def _read_locks(self, changes: Sequence[PlannedChange], seen: Mapping[str, Snapshot]) -> dict[str, SnapshotLock]:
        """The locks of those that would be deleted; none if they cannot be read, and then it is not tried again."""
        # What is in `error` cannot be locked (EBS user guide: only what is pending or completed can).
        deletions = (
            change.snapshot.id
            for change in changes
            if change.change is Change.DELETE and change.snapshot.state is not SnapshotState.ERROR
        )
        snapshot_ids = [snapshot_id for snapshot_id in deletions if snapshot_id in seen]
        if not snapshot_ids or self.warning is not None:
            return {}
        try:
            return self._context.ebs.read_locks(snapshot_ids)
        except SnapshotNotFoundError:
            # Another run is deleting the same ones. EC2 says which are locked when they are tried.
            return {}
        except Exception as error:
            _, note = failed_change(error, "the look at locks")
            self.warning = f"which snapshots are locked is not known, so their deletion is tried: {note}"
            return {}

    def _write_all(
        self, changes: Sequence[PlannedChange], seen: Mapping[str, Snapshot], locks: Mapping[str, SnapshotLock]
    ) -> Iterator[ChangeResult]:
        def write(change: PlannedChange) -> ChangeResult:
            return self._write(change, seen.get(change.snapshot.id), locks.get(change.snapshot.id))

        for result in in_parallel(write, changes):
            yield self._noted(result)

    def _noted(self, result: ChangeResult) -> ChangeResult:
        if result.change is Change.JOIN and result.outcome not in (ChangeOutcome.DONE, ChangeOutcome.PLANNED):
            self._volumes_without_snapshot.add(result.volume_id)
        return result

    def _write(self, planned: PlannedChange, now: Snapshot | None, lock: SnapshotLock | None) -> ChangeResult:
        """Write one change; `now` is its snapshot as rechecked, `lock` what keeps it from being deleted."""
        try:
            self._require_time()
            if now is None:
                return planned.result(ChangeOutcome.GONE)
            return self._join(planned, now) if planned.change is Change.JOIN else self._release(planned, now, lock)
        except SnapshotNotFoundError:
            return planned.result(ChangeOutcome.GONE)
        except SnapshotProtectedError as error:
            return planned.result(ChangeOutcome.REFUSED, error.message)
        except Exception as error:
            return planned.result(*failed_change(error, f"the change of {planned.snapshot.id}"))

    def _require_time(self) -> None:
        if not self._request.dry_run:
            self._context.deadline.require(WRITE_SECONDS)

    def _join(self, planned: PlannedChange, now: Snapshot) -> ChangeResult:
        if not now.state.is_good:
            return planned.result(ChangeOutcome.CHANGED_SINCE, f"it is now {now.state}")
        if now.consistency is not planned.snapshot.consistency and now.consistency is not Consistency.APPLICATION:
            # The word may have been why it was joined. Another run only ever raises it.
            return planned.result(ChangeOutcome.CHANGED_SINCE, f"it is now {now.consistency or 'without a word'}")
        if self._request.dry_run:
            return planned.result(ChangeOutcome.PLANNED)
        if not set(planned.joining) <= set(now.periods):
            self._context.ebs.set_periods(now.id, ordered_periods((*now.periods, *planned.joining)))
        return planned.result(ChangeOutcome.DONE)

    def _release(self, planned: PlannedChange, now: Snapshot, lock: SnapshotLock | None) -> ChangeResult:
        if now.periods != planned.snapshot.periods:
            return planned.result(ChangeOutcome.CHANGED_SINCE, f"it is now kept for {' '.join(now.periods)}")
        if now.state is not planned.snapshot.state:
            return planned.result(ChangeOutcome.CHANGED_SINCE, f"it is now {now.state}")
        if lock is not None:
            return planned.result(ChangeOutcome.REFUSED, str(lock))
        if self._request.dry_run:
            return planned.result(ChangeOutcome.PLANNED)
        if planned.change is Change.DELETE:
            self._context.ebs.delete_snapshot(now.id)
        else:
            self._context.ebs.set_periods(now.id, change_for(now, self._request.period)[1])
        return planned.result(ChangeOutcome.DONE)


def failed_change(error: Exception, at: str) -> tuple[ChangeOutcome, str]:
    """Outcome and note. A bug in one change or recheck must not cost the run its report."""
    if isinstance(error, OutOfTimeError):
        return ChangeOutcome.DEFERRED, str(error)
    if isinstance(error, AwsError):
        return ChangeOutcome.FAILED, str(error)
    logger.error("unexpected at %s", at, exc_info=error)
    return ChangeOutcome.FAILED, f"unexpected {type(error).__name__}: {error}"
