"""Snapshots in `error`: EC2 counts them towards its limit for the volume, and one bad volume spoils its whole set."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from lambda_function.model.ec2 import SnapshotState
from lambda_function.model.result import Change, ChangeOutcome, Outcome
from tests.support.cloud import KEYS, FakeCloud, refused
from tests.support.ssm import Reply

HOUR = timedelta(hours=1)
HOOKED = '{"hour": 3, "hook_document": "DOC", "hook_on_failure": "skip"}'


@pytest.fixture
def cloud():
    cloud = FakeCloud(policies={"P": '{"hour": 3, "day": 2}', "H": HOOKED})
    cloud.pending_for = timedelta(minutes=5)
    return cloud


def outcomes(report):
    return {result.volume_id: result.outcome for result in report.volumes}


def creates(cloud):
    """What the last run asked for: volumes, or the instance of a set."""
    return sorted(target for operation, target in cloud.journal if operation.startswith("CreateSnapshot"))


def next_hour(cloud, period="hour", **fields):
    cloud.clock.now += HOUR
    cloud.journal.clear()
    return cloud.run(period, **fields)


def failed_before(cloud, volume, *hours, **more):
    return [cloud.snapshot(volume, "hour day", age * HOUR, failed=True, **more) for age in hours]


@pytest.mark.parametrize(("kind", "failed", "stays"), [("gp3", 5, 1), ("st1", 1, 0), ("sc1", 1, 0), (None, 5, 1)])
def test_failed_snapshots_do_not_lock_a_volume_out(cloud, kind, failed, stays):
    """With five of a gp3 volume, or one of an st1 one, EC2 takes no other until one is deleted."""
    volume = cloud.volumes["vol-00000001"] = replace(cloud.volume(1), type=kind)
    cloud.slow_volumes = {volume.id} if failed == 1 else set()
    errors = failed_before(cloud, volume, *range(1, failed + 1))
    began = cloud.clock.now
    report = cloud.run()
    assert outcomes(report) == {volume.id: Outcome.CREATED}
    assert cloud.clock.now - began < timedelta(seconds=1), "nothing was waited for"
    assert set(report.failed_snapshots) == {stored.id for stored in errors}
    gone = {change.snapshot_id for change in report.changes if change.outcome is ChangeOutcome.DONE}
    assert gone == {stored.id for stored in errors[stays:]}, "the newest stays where there is room"
    assert gone.isdisjoint(cloud.snapshots)


def test_the_newest_failed_one_goes_where_there_is_no_room(cloud):
    """Four others are pending: EC2 says so, and then it goes as well."""
    volume = cloud.volume(1)
    cloud.pending_for = timedelta(days=1)
    (failed,) = failed_before(cloud, volume, 2, state=SnapshotState.ERROR)
    for hours in (3, 4, 5, 6):
        cloud.snapshot(volume, "day", hours * HOUR)
    began = cloud.clock.now
    report = cloud.run()
    assert outcomes(report) == {volume.id: Outcome.CREATED}
    assert failed.id not in cloud.snapshots
    assert cloud.clock.now == began, "nothing was waited for"


def test_failed_ones_go_just_before_the_next_one_is_made(cloud):
    """All but the newest, which goes once one is completed."""
    volume = cloud.volume(1)
    newest, older = failed_before(cloud, volume, 1, 2)
    cloud.run()
    assert cloud.journal[-3:] == [
        ("DescribeSnapshots", "recheck"),
        ("DeleteSnapshot", older.id),
        ("CreateSnapshot", volume.id),
    ]
    report = next_hour(cloud)
    assert [(change.snapshot_id, change.reason) for change in report.changes] == [
        (newest.id, "failed, and EC2 counts it towards its volume's limit: gone before the next one is made")
    ]


def test_what_is_not_made_leaves_the_failed_one_there(cloud):
    """It is what the next run knows the volume by."""
    volume = cloud.volume(1)
    failed = cloud.snapshot(volume, "hour", HOUR, failed=True)
    report = cloud.run(seconds=40)
    assert outcomes(report) == {volume.id: Outcome.DEFERRED}
    assert failed.id in cloud.snapshots


def test_one_bad_volume_costs_its_neighbours_one_hour(cloud):
    """It is named in each run; its neighbours go on as a set once theirs are good."""
    bad, *good = [cloud.volume(number, instance="i-1") for number in (1, 2, 3)]
    cloud.bad_volumes = {bad.id}
    cloud.run()
    assert creates(cloud) == ["i-1"]
    for made in (["vol-00000001", "vol-00000002", "vol-00000003"], ["i-1", "vol-00000001"], ["i-1", "vol-00000001"]):
        report = next_hour(cloud)
        assert creates(cloud) == made
        assert any(bad.id in warning and "is in state error" in warning for warning in report.warnings)
        assert report.failures == ()
    cloud.clock.now += HOUR / 2
    for volume in good:
        assert [cloud.state_of(stored).value for stored in cloud.of(volume)] == ["completed"] * 3
    cloud.bad_volumes = set()
    next_hour(cloud)
    assert creates(cloud) == ["i-1", "vol-00000001"]
    next_hour(cloud)
    assert creates(cloud) == ["i-1"]


def test_a_failure_that_shows_late_does_not_spoil_set_after_set(cloud):
    """Where it takes longer than an hour, the next one is pending already when it is seen."""
    bad, *good = [cloud.volume(number, instance="i-1") for number in (1, 2, 3)]
    cloud.bad_volumes = {bad.id}
    cloud.pending_for = timedelta(minutes=90)
    for _ in range(4):
        next_hour(cloud)
    cloud.clock.now += 2 * HOUR
    for volume in good:
        assert [cloud.state_of(stored).value for stored in cloud.of(volume)].count("completed") == 2


def test_a_bad_volume_fails_where_its_create_is_refused(cloud):
    """Its set is not tried again, although EC2 might refuse the single only."""
    bad, good = (cloud.volume(number, instance="i-1") for number in (1, 2))
    cloud.bad_volumes = {bad.id}
    cloud.run()

    def refuse(operation, target):
        if target == bad.id:
            raise refused(operation)

    cloud.before = refuse
    for _ in range(2):
        report = next_hour(cloud)
        assert outcomes(report) == {bad.id: Outcome.FAILED, good.id: Outcome.CREATED}
        assert any(bad.id in failure for failure in report.failures)


def test_singles_of_a_bad_volume_share_the_one_freeze(cloud):
    volumes = [cloud.volume(number, "H", instance="i-1") for number in (1, 2, 3)]
    cloud.bad_volumes = {volumes[0].id}
    cloud.run()
    cloud.ssm.sent.clear()
    next_hour(cloud)
    assert creates(cloud) == ["i-1", "vol-00000001"] or creates(cloud) == [volume.id for volume in volumes]
    assert cloud.ssm.stages() == [("pre-script", "i-1"), ("post-script", "i-1")]
    newest = [cloud.of(volume)[-1] for volume in volumes]
    assert len({stored.tags[KEYS.set] for stored in newest}) == 1


def test_nothing_is_deleted_while_an_instance_is_frozen(cloud):
    volume = cloud.volume(1, "H", instance="i-1")
    failed_before(cloud, volume, 1, 2, 3)
    cloud.run()
    writes = [operation for operation, _ in cloud.writes()]
    assert writes == ["DeleteSnapshot", "DeleteSnapshot", "CreateSnapshot", "CreateTags"]


def test_a_failed_pre_script_does_not_make_a_run_forget(cloud):
    for number in (1, 2, 3):
        cloud.volume(number, "H", instance="i-1")
    cloud.bad_volumes = {"vol-00000001"}
    cloud.run()
    usual, cloud.ssm.script = cloud.ssm.script, lambda _, parameters: Reply(exit_code=201)
    next_hour(cloud)
    cloud.ssm.script = usual
    next_hour(cloud)
    assert creates(cloud) == ["vol-00000001", "vol-00000002", "vol-00000003"]


def test_a_failed_pre_script_is_told_with_what_was_deleted(cloud):
    volume = cloud.volume(1, "H", instance="i-1")
    _, failed = failed_before(cloud, volume, 1, 2)
    cloud.ssm.script = lambda _, parameters: Reply(exit_code=201 if parameters["command"] == ["pre-script"] else 0)
    report = cloud.run()
    assert outcomes(report) == {volume.id: Outcome.FAILED}
    assert [change.snapshot_id for change in report.changes] == [failed.id]


@pytest.mark.parametrize(
    ("policy", "more"),
    [("BAD", {}), ("typo", {}), ("P", {"volumes": ("vol-00000002",)}), ("P", {"policies": ("H",)}), (None, {})],
    ids=["of a faulty policy", "of no policy", "not asked for", "of another policy", "not selected"],
)
def test_failed_ones_of_other_volumes_stay_and_are_named(cloud, policy, more):
    cloud.policies["BAD"] = "{"
    volume = cloud.volume(1, policy)
    cloud.volume(2)
    failed = [cloud.snapshot(volume, "hour", age * HOUR, failed=True) for age in (1, 2)]
    report = cloud.run(**more)
    assert {stored.id for stored in failed} <= cloud.snapshots.keys()
    named = set(report.failed_snapshots)
    assert named == ({stored.id for stored in failed} if "volumes" not in more else set())


@pytest.mark.parametrize(
    ("good", "goes"),
    [(SnapshotState.COMPLETED, True), (SnapshotState.PENDING, False)],
)
def test_where_none_is_made_only_a_replaced_one_goes(cloud, good, goes):
    volume = cloud.volume(1)
    failed = cloud.snapshot(volume, "week", timedelta(minutes=4), state=SnapshotState.ERROR)
    cloud.snapshot(volume, "hour", timedelta(minutes=1), state=good)
    report = cloud.run()
    assert outcomes(report) == {volume.id: Outcome.ALREADY_DONE}
    assert (failed.id not in cloud.snapshots) is goes


def test_another_tool_s_word_keeps_a_failed_one(cloud):
    volume = cloud.volume(1)
    failed = cloud.snapshot(volume, "hour another", HOUR, failed=True)
    assert outcomes(cloud.run()) == {volume.id: Outcome.CREATED}
    assert failed.id in cloud.snapshots


def test_a_dry_run_says_what_would_go(cloud):
    newest, older = failed_before(cloud, cloud.volume(1), 1, 2)
    report = cloud.run(dry_run=True)
    changes = {change.snapshot_id: change for change in report.changes}
    assert {change.outcome for change in changes.values()} == {ChangeOutcome.PLANNED}
    assert (changes[newest.id].change, changes[older.id].change) == (Change.KEEP, Change.DELETE)
    assert cloud.writes() == []


def test_one_that_cannot_go_fails_the_run_not_the_volume(cloud):
    volume = cloud.volume(1)
    _, failed = failed_before(cloud, volume, 1, 2)

    def deny(operation, _):
        if operation == "DeleteSnapshot":
            raise refused(operation)

    cloud.before = deny
    report = cloud.run()
    assert outcomes(report) == {volume.id: Outcome.CREATED}
    assert len(report.failures) == 1
    assert failed.id in report.failures[0]
