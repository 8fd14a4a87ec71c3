"""Tags can be copied, descriptions cannot: what others made with our tags on it never counts and never goes."""

from __future__ import annotations

from datetime import timedelta

import pytest

from lambda_function.model.result import Outcome
from tests.support.cloud import KEYS, FakeCloud

HOUR = timedelta(hours=1)


@pytest.fixture
def cloud():
    return FakeCloud(policies={"P": '{"hour": 2, "month": 2}'})


def restored(cloud):
    """A volume restored with its snapshot's tags."""
    tags = {KEYS.period: "hour month", KEYS.consistency: "crash", KEYS.set: "old"}
    return cloud.volume(1, **tags)


def copies(cloud, volume, ages, **tags):
    """What a tool makes that copies the volume's tags."""
    made = [cloud.snapshot(volume, "hour month", age, description="Created by another tool") for age in ages]
    for stored in made:
        stored.tags.update(tags)
    return made


def test_copies_on_a_restored_volume_do_not_count_or_go(cloud):
    volume = restored(cloud)
    theirs = copies(cloud, volume, [age * 31 * 24 * HOUR for age in range(6)])
    for _ in range(4):
        report = cloud.run("hour")
        assert report.volumes[0].outcome is Outcome.CREATED
        cloud.run("month")
        cloud.clock.now += HOUR
    assert {stored.id for stored in theirs} <= cloud.snapshots.keys()
    assert all(stored.words == ("hour", "month") for stored in theirs)
    ours = [stored for stored in cloud.of(volume, "hour") if stored not in theirs]
    assert len(ours) == 2


def test_copies_do_not_count_after_the_volume_s_tags_are_gone(cloud):
    """Somebody who removes them from the volume first does no harm: only ours bear a set and have our description."""
    volume = restored(cloud)
    theirs = copies(cloud, volume, [age * HOUR for age in range(6)], **{KEYS.set: "old", KEYS.consistency: "crash"})
    cloud.volume(1)
    report = cloud.run("hour")
    assert report.warnings == ()
    assert report.volumes[0].outcome is Outcome.CREATED
    assert {stored.id for stored in theirs} <= cloud.snapshots.keys()


@pytest.mark.parametrize("tags", [{KEYS.period: "hour"}, {KEYS.period: "hour", KEYS.set: "old"}])
def test_another_stack_s_snapshots_do_not_go(cloud, tags):
    """It has another key and our descriptions, and copies all tags of the volume."""
    volume = cloud.volume(1, **tags)
    description = f"Hourly snapshot of volume {volume.id}, policy THEIRS"
    theirs = [cloud.snapshot(volume, "hour", age * HOUR, description=description) for age in range(1, 7)]
    for stored in theirs:
        stored.tags.update(tags)
    for _ in range(4):
        assert cloud.run("hour").volumes[0].outcome is Outcome.CREATED
        cloud.clock.now += HOUR
    assert {stored.id for stored in theirs} <= cloud.snapshots.keys()
    assert len(cloud.of(volume, "hour")) == len(theirs) + 2


def test_the_cron_script_s_count_unless_the_volume_bears_its_tag(cloud):
    volume = cloud.volume(1)
    theirs = [cloud.snapshot(volume, "hour", age * HOUR, policy=None) for age in (1, 2, 3)]
    assert [change.snapshot_id for change in cloud.run("hour").changes] == [stored.id for stored in theirs[1:]]
    restored(cloud)
    cloud.clock.now += HOUR
    assert cloud.run("hour").changes == ()


def test_a_volume_with_our_snapshots_tags_is_named(cloud):
    volume = restored(cloud)
    (warning,) = cloud.run("hour").warnings
    assert warning.startswith(
        f"{volume.id}: it bears AUTO-SNAPSHOT-CONSISTENCY, AUTO-SNAPSHOT-PERIOD, AUTO-SNAPSHOT-SET"
    )


def test_a_failed_copy_is_not_ours_to_name_or_delete(cloud):
    volume = restored(cloud)
    theirs = cloud.snapshot(volume, "hour", HOUR, failed=True, description="Created by another tool")
    report = cloud.run("hour")
    assert report.failed_snapshots == ()
    assert theirs.id in cloud.snapshots


def test_a_copy_is_not_adopted(cloud):
    """It is what EC2's 15 seconds refuse the create for."""
    volume = restored(cloud)
    cloud.create_interval = timedelta(seconds=15)
    theirs = copies(cloud, volume, [timedelta()])
    report = cloud.run("hour")
    assert report.volumes[0].outcome is Outcome.CREATED
    assert report.volumes[0].snapshot_id != theirs[0].id


@pytest.mark.parametrize("key", ["aws:dlm:lifecycle-policy-id", "aws:backup:source-resource"])
def test_what_aws_own_tools_made_is_never_ours(cloud, key):
    """Data Lifecycle Manager copies tags when its policy says so, even our period's, of whatever volume."""
    volume = cloud.volume(1)
    ours = [cloud.snapshot(volume, "hour", age * HOUR) for age in (1, 2, 3)]
    theirs = copies(cloud, volume, [timedelta(minutes=1), 4 * HOUR, 5 * HOUR], **{key: "theirs"})
    report = cloud.run("hour")
    assert report.volumes[0].outcome is Outcome.CREATED
    assert [change.snapshot_id for change in report.changes] == [stored.id for stored in ours[1:]]
    assert {stored.id for stored in theirs} <= cloud.snapshots.keys()
    assert report.orphaned_snapshots == 0
