"""Tag changes and deletions: the recheck, then the write.

Deletion is the dangerous act. Just before it, exactly the snapshots concerned are read again, and
whatever is no longer as it was planned for leaves the plan.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from lambda_function.deadline import Deadline
from lambda_function.errors import AwsError, OutOfTimeError, SnapshotNotFoundError, SnapshotProtectedError
from lambda_function.model.ec2 import Snapshot, UnrequestedSnapshot
from lambda_function.model.period import Period
from lambda_function.model.result import Change, ChangeOutcome, ChangeResult
from lambda_function.model.tags import ordered_periods
from lambda_function.parallel import in_parallel
from lambda_function.plan.retention import apply_retention, change_for
from lambda_function.ports import Ebs

logger = logging.getLogger(__name__)

BATCH = 200
"""Values of one filter in one call (EC2: more give FilterLimitExceeded)."""

WRITE_SECONDS = 45.0
"""No change is begun with less time left: its retries, and handing on what is left, need it."""

UNREQUESTED_CHECKS = (0.0, 3.0, 10.0)
"""Seconds before each check of unrequested snapshots that are not visible yet."""


class PlannedChange(NamedTuple):
    """A change to a snapshot as it was listed, and its reason; `joining` are the periods a join adds."""

    snapshot: Snapshot
    change: Change
    reason: str
    joining: tuple[Period, ...] = ()

    def result(self, outcome: ChangeOutcome, note: str = "") -> ChangeResult:
        """The report's line for this change."""
        reason = f"{self.reason}; {note}" if note else self.reason
        return ChangeResult(self.snapshot.id, self.snapshot.volume_id, self.change, outcome, reason)


def plan_join(snapshot: Snapshot, joining: tuple[Period, ...], reason: str) -> PlannedChange:
    """These periods are to be added to a shorter one's snapshot."""
    return PlannedChange(snapshot, Change.JOIN, reason, joining)


def plan_prune(
    period: Period,
    retain_count: int,
    snapshots: Sequence[Snapshot],
    slot_snapshot_id: str | None,
    *,
    with_kept: bool = False,
) -> list[PlannedChange]:
    """What becomes of one volume's snapshots: retagged or deleted, each with the reason.

    Those that are kept are told only `with_kept`: of 100,000 snapshots a run lets go a few.
    """
    planned = []
    for verdict in apply_retention(period, retain_count, snapshots, slot_snapshot_id):
        if verdict.keep:
            if with_kept:
                planned.append(PlannedChange(verdict.snapshot, Change.KEEP, verdict.reason))
            continue
        change, remaining = change_for(verdict.snapshot, period)
        reason = verdict.reason + (f"; still kept for {' '.join(remaining)}" if remaining else "")
        planned.append(PlannedChange(verdict.snapshot, change, reason))
    return planned


class Changer:
    """Applies the changes of one run, batch after batch: a recheck at exactly those snapshots, then the writes.

    A volume whose join did not succeed loses nothing: its other changes, in this batch or a later one, are dropped.
    """

    def __init__(self, ebs: Ebs, period: Period, deadline: Deadline) -> None:
        self._ebs = ebs
        self._period = period
        self._deadline = deadline
        self._volumes_without_snapshot: set[str] = set()

    def apply(self, batch: Sequence[PlannedChange]) -> Iterator[ChangeResult]:
        """Yield the results as they come, joins first. At most BATCH changes."""
        try:
            self._deadline.require(WRITE_SECONDS)
            seen = self._ebs.read_snapshots([change.snapshot.id for change in batch])
        except Exception as error:
            outcome, note = _failed(error, "the recheck")
            for change in batch:
                yield self._noted(change.result(outcome, note))
            return
        writer = _Writer(self._ebs, self._period, seen, self._deadline)
        for joining in (True, False):
            todo = [
                change
                for change in batch
                if (change.change is Change.JOIN) is joining
                and (joining or change.snapshot.volume_id not in self._volumes_without_snapshot)
            ]
            for result in in_parallel(writer.write, todo):
                yield self._noted(result)

    def _noted(self, result: ChangeResult) -> ChangeResult:
        if result.change is Change.JOIN and result.outcome is not ChangeOutcome.DONE:
            self._volumes_without_snapshot.add(result.volume_id)
        return result


def delete_unrequested(ebs: Ebs, unrequested: Sequence[UnrequestedSnapshot], deadline: Deadline) -> list[ChangeResult]:
    """Delete unrequested snapshots, but not those of a selected volume: a run may have taken one for that volume's own.

    To be called when no create is under way any more. EC2 copied the volume's tags onto such a
    snapshot, so the recheck shows them; what is not visible yet is read again.
    """
    seen: dict[str, Snapshot] = {}
    try:
        for seconds in UNREQUESTED_CHECKS:
            deadline.wait(seconds, WRITE_SECONDS)
            unseen = [
                unrequested_snapshot.snapshot.id
                for unrequested_snapshot in unrequested
                if unrequested_snapshot.snapshot.id not in seen
            ]
            for start in range(0, len(unseen), BATCH):
                seen.update(ebs.read_snapshots(unseen[start : start + BATCH]))
            if all(unrequested_snapshot.snapshot.id in seen for unrequested_snapshot in unrequested):
                break
    except Exception as error:
        # No NO_TIME here: another run would not know of them.
        _, note = _failed(error, "the check of unrequested snapshots")
        return [
            _planned(unrequested_snapshot).result(ChangeOutcome.FAILED, note) for unrequested_snapshot in unrequested
        ]
    return [
        _delete_unrequested_snapshot(ebs, unrequested_snapshot, seen.get(unrequested_snapshot.snapshot.id))
        for unrequested_snapshot in unrequested
    ]


def _planned(unrequested_snapshot: UnrequestedSnapshot) -> PlannedChange:
    return PlannedChange(unrequested_snapshot.snapshot, Change.DELETE, unrequested_snapshot.reason)


def _delete_unrequested_snapshot(
    ebs: Ebs, unrequested_snapshot: UnrequestedSnapshot, now: Snapshot | None
) -> ChangeResult:
    planned = _planned(unrequested_snapshot)
    if now is None:
        return planned.result(ChangeOutcome.GONE)
    if now.policy is not None:
        return planned.result(ChangeOutcome.CHANGED_SINCE, "its volume is selected, so it stays as that volume's")
    try:
        ebs.delete_snapshot(now.id)
    except SnapshotNotFoundError:
        return planned.result(ChangeOutcome.GONE)
    except Exception as error:
        return planned.result(*_failed(error, f"the deletion of {now.id}"))
    return planned.result(ChangeOutcome.DONE)


def _failed(error: Exception, at: str) -> tuple[ChangeOutcome, str]:
    """Outcome and note. A fault of our own with one snapshot, or one look, must not cost the run its report."""
    if isinstance(error, OutOfTimeError):
        return ChangeOutcome.DEFERRED, str(error)
    if isinstance(error, AwsError):
        return ChangeOutcome.FAILED, str(error)
    logger.error("unexpected at %s", at, exc_info=error)
    return ChangeOutcome.FAILED, f"unexpected {type(error).__name__}: {error}"


class _Writer:
    """Writes the changes of one batch, knowing what the recheck saw."""

    def __init__(self, ebs: Ebs, period: Period, seen: dict[str, Snapshot], deadline: Deadline) -> None:
        self._ebs = ebs
        self._period = period
        self._seen = seen
        self._deadline = deadline

    def write(self, planned: PlannedChange) -> ChangeResult:
        try:
            self._deadline.require(WRITE_SECONDS)
            return self._write(planned)
        except SnapshotNotFoundError:
            return planned.result(ChangeOutcome.GONE)
        except SnapshotProtectedError as error:
            return planned.result(ChangeOutcome.REFUSED, error.message)
        except Exception as error:
            return planned.result(*_failed(error, f"the change of {planned.snapshot.id}"))

    def _write(self, planned: PlannedChange) -> ChangeResult:
        now = self._seen.get(planned.snapshot.id)
        if now is None:
            return planned.result(ChangeOutcome.GONE)
        return self._join(planned, now) if planned.change is Change.JOIN else self._let_go(planned, now)

    def _join(self, planned: PlannedChange, now: Snapshot) -> ChangeResult:
        if not now.state.is_good:
            return planned.result(ChangeOutcome.CHANGED_SINCE, f"it is now {now.state}")
        if not set(planned.joining) <= set(now.periods):
            self._ebs.set_periods(now.id, ordered_periods((*now.periods, *planned.joining)))
        return planned.result(ChangeOutcome.DONE)

    def _let_go(self, planned: PlannedChange, now: Snapshot) -> ChangeResult:
        if now.periods != planned.snapshot.periods:
            return planned.result(ChangeOutcome.CHANGED_SINCE, f"it is now kept for {' '.join(now.periods)}")
        if now.state is not planned.snapshot.state:
            return planned.result(ChangeOutcome.CHANGED_SINCE, f"it is now {now.state}")
        change, remaining = change_for(now, self._period)
        if change is Change.DELETE:
            self._ebs.delete_snapshot(now.id)
        else:
            self._ebs.set_periods(now.id, remaining)
        return planned.result(ChangeOutcome.DONE)


def kept_for(snapshot: Snapshot, period: Period) -> Snapshot:
    """The snapshot as it is once the period keeps it."""
    return replace(snapshot, periods=ordered_periods((*snapshot.periods, period.value)))
