"""Just before tags are changed or snapshots deleted, exactly those are read again."""

from __future__ import annotations

from datetime import timedelta

import pytest

from lambda_function.model.ec2 import SnapshotState
from lambda_function.model.result import ChangeOutcome, Outcome
from tests.support.cloud import KEYS, FakeCloud, refused

HOUR = timedelta(hours=1)


@pytest.fixture
def cloud():
    return FakeCloud(policies={"P": '{"hour": 1, "day": 1}'})


def at_last_look(cloud, action):
    def hook(called, target):
        if (called, target) == ("DescribeSnapshots", "recheck"):
            cloud.before = lambda *_: None
            action()

    cloud.before = hook


def test_a_snapshot_another_run_joined_meanwhile_leaves_the_plan(cloud):
    volume = cloud.volume(1)
    old = cloud.snapshot(volume, "hour", 3 * HOUR)
    at_last_look(cloud, lambda: old.tags.update({KEYS.period: "hour day"}))
    report = cloud.run("hour")
    assert old.id in cloud.snapshots
    assert old.tags[KEYS.period] == "hour day"
    (change,) = report.changes
    assert change.outcome is ChangeOutcome.CHANGED_SINCE
    assert "it is now kept for hour day" in change.reason
    assert report.failures == ()


def test_a_snapshot_that_lost_our_key_meanwhile_is_not_touched(cloud):
    volume = cloud.volume(1)
    old = cloud.snapshot(volume, "hour", 3 * HOUR)
    at_last_look(cloud, lambda: old.tags.pop(KEYS.period))
    report = cloud.run("hour")
    assert old.id in cloud.snapshots
    assert report.changes[0].outcome is ChangeOutcome.GONE


def test_a_snapshot_whose_state_changed_leaves_the_plan(cloud):
    volume = cloud.volume(1)
    old = cloud.snapshot(volume, "hour", 3 * HOUR)
    at_last_look(cloud, lambda: setattr(old, "state", SnapshotState.RECOVERING))
    report = cloud.run("hour")
    assert report.changes[0].outcome is ChangeOutcome.CHANGED_SINCE
    assert old.id in cloud.snapshots


def test_one_that_is_already_gone_is_reported_and_no_failure(cloud):
    volume = cloud.volume(1)
    old = cloud.snapshot(volume, "hour", 3 * HOUR)
    at_last_look(cloud, lambda: cloud.snapshots.pop(old.id))
    report = cloud.run("hour")
    assert report.changes[0].outcome is ChangeOutcome.GONE
    assert report.failures == ()


def test_a_snapshot_gone_after_the_recheck_is_no_failure(cloud):
    """It vanishes between the recheck and its deletion."""
    volume = cloud.volume(1)
    old = cloud.snapshot(volume, "hour", 3 * HOUR)

    def vanish(called, target):
        if called == "DeleteSnapshot":
            cloud.snapshots.pop(old.id, None)

    cloud.before = vanish
    report = cloud.run("hour")
    assert report.changes[0].outcome is ChangeOutcome.GONE
    assert report.failures == ()


def test_a_join_keeps_the_words_that_others_added_meanwhile(cloud):
    cloud.policies["P"] = '{"hour": 1, "week": 1}'
    volume = cloud.volume(1)
    cloud.clock.now += HOUR / 2
    shared = cloud.snapshot(volume, "hour", HOUR / 6)
    at_last_look(cloud, lambda: shared.tags.update({KEYS.period: "hour day"}))
    cloud.run("week")
    assert shared.tags[KEYS.period] == "hour day week"


@pytest.mark.parametrize("how", ["gone", "failed"])
def test_a_volume_whose_shared_snapshot_is_lost_gets_its_own(cloud, how):
    volume = cloud.volume(1)
    cloud.clock.now += HOUR / 2
    lost = cloud.snapshot(volume, "hour", HOUR / 6)
    old = cloud.snapshot(volume, "day", 30 * HOUR)

    def lose():
        if how == "gone":
            cloud.snapshots.pop(lost.id)
        else:
            lost.state = SnapshotState.ERROR

    at_last_look(cloud, lose)
    report = cloud.run("day")
    assert report.volumes[0].outcome is Outcome.CREATED
    assert len(cloud.of(volume, "day")) == 2
    assert old.id in cloud.snapshots, "nothing is let go for a snapshot that was not there"
    assert report.failures == ()


def test_a_failed_join_fails_its_volume_and_prunes_none_of_it(cloud):
    volume = cloud.volume(1)
    cloud.clock.now += HOUR / 2
    cloud.snapshot(volume, "hour", HOUR / 6)
    old = cloud.snapshot(volume, "day", 30 * HOUR)

    def fail(called, target):
        if called == "CreateTags":
            raise refused(called)

    cloud.before = fail
    report = cloud.run("day")
    assert report.volumes[0].outcome is Outcome.FAILED
    assert old.id in cloud.snapshots
    assert len(report.failures) == 1


def test_a_run_without_the_recheck_deletes_nothing_and_fails(cloud):
    volume = cloud.volume(1)
    old = cloud.snapshot(volume, "hour", 3 * HOUR)

    def fail(called, target):
        if target == "recheck":
            raise refused(called)

    cloud.before = fail
    report = cloud.run("hour")
    assert old.id in cloud.snapshots
    assert len(report.failures) == 1
    assert old.id in report.failures[0]


def test_an_unexpected_fault_of_the_recheck_is_reported(cloud, caplog):
    """The run still has a report."""
    old, volume = cloud.volume(1), cloud.volume(2)
    gone = cloud.snapshot(old, "hour", 3 * HOUR)

    def break_down():
        raise ZeroDivisionError("ours")

    at_last_look(cloud, break_down)
    report = cloud.run("hour")
    assert [result.outcome for result in report.volumes] == [Outcome.CREATED, Outcome.CREATED]
    assert cloud.of(volume)
    assert gone.id in cloud.snapshots
    (change,) = report.changes
    assert (change.outcome, change.snapshot_id) == (ChangeOutcome.FAILED, gone.id)
    assert "unexpected ZeroDivisionError: ours" in report.failures[0]
    assert "unexpected at the recheck" in caplog.text


def test_deletions_that_time_does_not_allow_are_named(cloud):
    volume = cloud.volume(1)
    old = cloud.snapshot(volume, "hour", 3 * HOUR)

    def slow(called, target):
        if called == "CreateSnapshot":
            cloud.clock.now += timedelta(seconds=895)

    cloud.before = slow
    report = cloud.run("hour", seconds=900)
    assert report.volumes[0].outcome is Outcome.CREATED
    assert old.id in cloud.snapshots
    assert report.failures == ()
    assert report.deferred[0].startswith(f"{old.id} of {volume.id}: ")
    assert "s left" in report.deferred[0]
