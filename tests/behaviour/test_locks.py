"""A locked snapshot cannot be deleted by anybody: that is seen before, reported, and not tried run by run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from lambda_function.errors import AccessRefusedError, ThrottledError
from lambda_function.model.ec2 import SnapshotLock
from lambda_function.model.result import Change, ChangeOutcome
from tests.support.cloud import KEYS, FakeCloud

HOUR = timedelta(hours=1)
LOOK = "DescribeLockedSnapshots"
LOCK = SnapshotLock("governance", datetime(2027, 5, 5, tzinfo=UTC))


@pytest.fixture
def cloud():
    return FakeCloud(policies={"P": '{"hour": 1}'})


def outcomes(report):
    return {change.snapshot_id: change.outcome for change in report.changes}


@pytest.mark.parametrize("dry_run", [False, True], ids=["run", "dry run"])
def test_locked_snapshots_beyond_n_are_reported_and_not_tried(cloud, dry_run):
    """In a dry run, too. One call looks at all."""
    volume = cloud.volume(1)
    locked = [cloud.snapshot(volume, "hour", age * HOUR, lock=LOCK) for age in range(3, 42)]
    free = cloud.snapshot(volume, "hour", 2 * HOUR)
    report = cloud.run("hour", dry_run=dry_run)
    assert [target for operation, target in cloud.journal if operation == "DeleteSnapshot"] == [free.id] * (not dry_run)
    assert cloud.calls(LOOK) == 1
    refused = [change for change in report.changes if change.outcome is ChangeOutcome.REFUSED]
    assert {change.snapshot_id for change in refused} == {stored.id for stored in locked}
    assert {change.change for change in refused} == {Change.DELETE}
    assert all(
        change.reason.endswith("; the policy keeps 1; locked in governance mode until 2027-05-05 00:00 UTC")
        for change in refused
    )
    assert (report.failures, report.warnings) == ((), ())


def test_locks_are_looked_at_once_per_200_deletions(cloud):
    for number in range(500):
        cloud.snapshot(cloud.volume(number), "hour", 2 * HOUR)
    cloud.run("hour")
    assert cloud.calls("DeleteSnapshot") == 500
    assert cloud.calls(LOOK) <= cloud.journal.count(("DescribeSnapshots", "recheck"))


@pytest.mark.parametrize(
    "words",
    [pytest.param("hour day", id="only released, not deleted"), pytest.param("hour", id="none beyond N")],
)
def test_locks_are_not_looked_at_where_nothing_is_deleted(cloud, words):
    volume = cloud.volume(1)
    stored = cloud.snapshot(volume, words, 2 * HOUR, lock=LOCK)
    if words == "hour":
        cloud.policies["P"] = '{"hour": 2}'
    report = cloud.run("hour")
    assert cloud.calls(LOOK) == 0
    assert stored.tags[KEYS.period] == ("day" if words == "hour day" else "hour")
    assert ChangeOutcome.REFUSED not in outcomes(report).values()


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (AccessRefusedError(LOOK, "UnauthorizedOperation", "no"), f"{LOOK}: UnauthorizedOperation: no"),
        (ThrottledError(LOOK, "RequestLimitExceeded", "later"), f"{LOOK}: RequestLimitExceeded: later"),
        (ZeroDivisionError("ours"), "unexpected ZeroDivisionError: ours"),
    ],
    ids=["denied", "throttled", "a fault of our own"],
)
def test_deletions_are_tried_where_locks_are_not_known(cloud, error, says):
    """With one warning and one call, however many batches there are; EC2 refuses what is locked."""
    for number in range(500):
        cloud.snapshot(cloud.volume(number), "hour", 2 * HOUR)
    locked = cloud.snapshot(cloud.volume(500), "hour", 2 * HOUR, lock=LOCK)
    asked = []

    def refuse(operation, target):
        if operation == LOOK:
            asked.append(target)
            raise error

    cloud.before = refuse
    report = cloud.run("hour")
    assert len(asked) == 1
    assert cloud.calls("DeleteSnapshot") == 501
    assert outcomes(report)[locked.id] is ChangeOutcome.REFUSED
    assert report.warnings == (f"which snapshots are locked is not known, so their deletion is tried: {says}",)
    assert report.failures == ()


def test_a_snapshot_locked_after_the_look_is_refused(cloud):
    stored = cloud.snapshot(cloud.volume(1), "hour", 2 * HOUR)

    def lock(operation, target):
        if operation == LOOK:
            stored.lock = LOCK

    cloud.after = lock
    report = cloud.run("hour")
    (change,) = report.changes
    assert change.outcome is ChangeOutcome.REFUSED
    assert change.reason.endswith(f"; The snapshot {stored.id} is locked.")
    assert report.failures == ()


def test_one_gone_before_the_look_costs_the_others_nothing(cloud):
    """EC2 refuses the whole look for one unknown id. Another run has deleted it; that is no warning."""
    gone, other = (cloud.snapshot(cloud.volume(number), "hour", 2 * HOUR) for number in (1, 2))
    locked = cloud.snapshot(cloud.volume(3), "hour", 2 * HOUR, lock=LOCK)

    def delete(operation, target):
        if operation == LOOK:
            cloud.snapshots.pop(gone.id)

    cloud.before = delete
    report = cloud.run("hour")
    assert outcomes(report) == {
        gone.id: ChangeOutcome.GONE,
        other.id: ChangeOutcome.DONE,
        locked.id: ChangeOutcome.REFUSED,
    }
    assert (report.failures, report.warnings) == ((), ())


def test_a_locked_snapshot_that_was_joined_is_changed_since(cloud):
    """It changed after it was planned, and stays for that reason."""
    stored = cloud.snapshot(cloud.volume(1), "hour", 2 * HOUR, lock=LOCK)

    def join(operation, target):
        if (operation, target) == ("DescribeSnapshots", "recheck"):
            stored.tags[KEYS.period] = "hour day"

    cloud.before = join
    report = cloud.run("hour")
    assert outcomes(report) == {stored.id: ChangeOutcome.CHANGED_SINCE}
