"""Snapshots and clocks as they should not be: nothing of others touched, nothing good deleted, no slot lost."""

from __future__ import annotations

from datetime import timedelta

import pytest

from lambda_function.model.ec2 import SnapshotState
from lambda_function.model.result import ChangeOutcome, Outcome
from tests.support.cloud import KEYS, FakeCloud

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)


@pytest.fixture
def cloud():
    return FakeCloud(policies={"P": '{"hour": 2, "day": 2}'}, create_interval=15 * SECOND)


# States


@pytest.mark.parametrize("state", [SnapshotState.RECOVERABLE, SnapshotState.OTHER])
def test_a_snapshot_in_the_recycle_bin_neither_counts_nor_goes(cloud, state):
    """It does not serve its slot either. The same holds for one in an unknown state."""
    volume = cloud.volume(1)
    odd = cloud.snapshot(volume, "hour", 4 * MINUTE, state=state)
    older = [cloud.snapshot(volume, "hour", n * HOUR) for n in (1, 2)]
    report = cloud.run("hour")
    assert report.volumes[0].outcome is Outcome.CREATED
    assert odd.id in cloud.snapshots
    assert [each.id in cloud.snapshots for each in older] == [True, False]


def test_a_snapshot_leaving_the_recycle_bin_serves_its_slot(cloud):
    """It is not deleted."""
    volume = cloud.volume(1)
    coming = [cloud.snapshot(volume, "hour", n * HOUR, state=SnapshotState.RECOVERING) for n in (0, 1, 2, 3)]
    report = cloud.run("hour")
    assert report.volumes[0].outcome is Outcome.ALREADY_DONE
    assert {each.id for each in coming} == set(cloud.snapshots)


@pytest.mark.parametrize("word", ["hourly", "thour", "HOUR", "hour,day", "every-hour"])
def test_a_word_that_only_contains_a_period_is_not_that_period(cloud, word):
    """EC2 lists its snapshot all the same."""
    volume = cloud.volume(1)
    others = [cloud.snapshot(volume, word, n * HOUR) for n in (0, 1, 2, 3)]
    report = cloud.run("hour")
    assert report.volumes[0].outcome is Outcome.CREATED
    assert all(each.tags[KEYS.period] == word and each.id in cloud.snapshots for each in others)


@pytest.mark.parametrize("change", ["join", "release"])
def test_a_snapshot_gone_before_its_tag_changes_is_no_failure(cloud, change):
    """It vanishes after the recheck."""
    volume = cloud.volume(1)
    gone = cloud.snapshot(volume, "hour", MINUTE) if change == "join" else cloud.snapshot(volume, "hour day", 9 * HOUR)
    for n in (1, 2):
        cloud.snapshot(volume, "hour", n * HOUR)

    def vanish(called, target):
        if (called, target) == ("CreateTags", gone.id):
            cloud.snapshots.pop(gone.id, None)

    cloud.before = vanish
    report = cloud.run("day" if change == "join" else "hour")
    assert report.failures == ()
    assert report.volumes[0].outcome is Outcome.CREATED
    assert [each.outcome for each in report.changes if each.snapshot_id == gone.id] == [ChangeOutcome.GONE]


def test_a_snapshot_not_listed_yet_is_found_by_a_refused_create(cloud):
    volume = cloud.volume(1)
    cloud.run("hour")
    cloud.hidden_for = 8 * SECOND
    cloud.clock.now += SECOND
    report = cloud.run("hour")
    assert report.volumes[0].outcome is Outcome.ALREADY_DONE
    assert len(cloud.of(volume)) == 1


def test_a_snapshot_hidden_too_long_is_doubled(cloud):
    """It stays hidden for longer than EC2 refuses another one. Retention removes the second."""
    volume = cloud.volume(1)
    cloud.run("hour")
    cloud.hidden_for = 50 * MINUTE
    cloud.clock.now += SECOND
    cloud.run("hour")
    assert len(cloud.of(volume)) == 2
    cloud.hidden_for = 0 * SECOND
    for _ in range(2):
        cloud.clock.now += HOUR
        report = cloud.run("hour")
        assert report.failures == ()
    assert [each.start_time for each in cloud.of(volume)] == [cloud.clock.now - HOUR, cloud.clock.now]


def test_a_deleted_snapshot_that_is_still_listed_is_no_failure(cloud):
    """The recheck lists it too; no other snapshot is deleted for it."""
    volume = cloud.volume(1)
    ghost = cloud.snapshot(volume, "hour", 5 * HOUR)
    kept = [cloud.snapshot(volume, "hour", n * HOUR) for n in (1,)]

    def already_gone(called, target):
        if (called, target) == ("DeleteSnapshot", ghost.id):
            cloud.snapshots.pop(ghost.id, None)

    cloud.before = already_gone
    report = cloud.run("hour")
    assert report.failures == ()
    assert [(each.snapshot_id, each.outcome) for each in report.changes] == [(ghost.id, ChangeOutcome.GONE)]
    assert all(each.id in cloud.snapshots for each in kept)


def test_one_of_the_newest_that_is_gone_but_listed_still_counts(cloud):
    """The next run makes up for it."""
    volume = cloud.volume(1)
    ghost, second, third = (cloud.snapshot(volume, "hour", n * HOUR) for n in (1, 2, 3))
    whole = cloud.list_snapshots

    def as_listed_before(*asked):
        listed = whole(*asked)
        cloud.snapshots.pop(ghost.id, None)
        return listed

    cloud.list_snapshots = as_listed_before
    report = cloud.run("hour")
    assert report.failures == ()
    assert {each.id for each in (second, third)} & set(cloud.snapshots) == set()
    assert len(cloud.of(volume)) == 1
    cloud.clock.now += HOUR
    cloud.run("hour")
    assert len(cloud.of(volume)) == 2


# Clocks


class Skewed(FakeCloud):
    """EC2's clock beside the function's: `ahead` is how much later EC2 has it."""

    ahead = timedelta()

    def __post_init__(self):
        super().__post_init__()
        self.created = []

    def _create(self, volume_id, description, tags, **more):
        made = super()._create(volume_id, description, tags, **more)
        self.snapshots[made.id].start_time += self.ahead
        self.created.append(made.id)
        return self._seen(self.snapshots[made.id])

    def _visible(self, stored):
        return True  # also what begins in the future


def skewed(ahead, **fields):
    cloud = Skewed(policies={"P": '{"hour": 2, "day": 2}'}, create_interval=15 * SECOND, **fields)
    cloud.ahead = ahead
    return cloud


SKEWS = [
    pytest.param(-10 * MINUTE, id="EC2 ten minutes behind, over the hour's edge"),
    pytest.param(-4 * MINUTE, id="EC2 four minutes behind"),
    pytest.param(-1 * SECOND, id="EC2 a second behind"),
    pytest.param(1 * SECOND, id="EC2 a second ahead"),
    pytest.param(4 * MINUTE, id="EC2 four minutes ahead"),
    pytest.param(56 * MINUTE, id="EC2 most of an hour ahead, over the hour's edge"),
]


@pytest.mark.parametrize("ahead", SKEWS)
def test_every_hour_leaves_the_newest_two_with_clocks_apart(ahead):
    """No more than two remain."""
    cloud = skewed(ahead)
    volume = cloud.volume(1)
    created = 0
    for _ in range(6):
        report = cloud.run("hour")
        # By EC2's clock, which is what snapshots bear, that one is the next hour's.
        assert all("was started when the hour was over" in each for each in report.failures)
        assert not report.failures or ahead == 56 * MINUTE
        created += len(cloud.created)
        cloud.created.clear()
        cloud.clock.now += HOUR
    newest = cloud.of(volume)[-1].start_time - ahead
    assert len(cloud.of(volume)) == 2
    assert cloud.clock.now - newest <= 2 * HOUR, "no more than one slot is passed over"
    assert created >= 3


def test_a_clock_behind_at_a_slot_edge_costs_one_more_snapshot():
    """A repetition makes it; nothing is lost."""
    cloud = skewed(-10 * MINUTE)
    volume = cloud.volume(1)
    cloud.run("hour")
    cloud.clock.now += MINUTE
    report = cloud.run("hour")
    assert report.volumes[0].outcome is Outcome.CREATED, "what was made lies in the slot before, by EC2's clock"
    assert len(cloud.of(volume)) == 2


@pytest.mark.parametrize("ahead", [-4 * MINUTE, 4 * MINUTE])
def test_clocks_apart_within_the_slot_change_nothing(ahead):
    """Snapshots are shared and runs repeated as if the clocks agreed."""
    cloud = skewed(ahead)
    volume = cloud.volume(1)
    cloud.run("hour")
    cloud.clock.now += 10 * MINUTE
    assert cloud.run("hour").volumes[0].outcome is Outcome.ALREADY_DONE
    assert cloud.run("day").volumes[0].outcome is Outcome.SHARED
    assert [each.tags[KEYS.period] for each in cloud.of(volume)] == ["hour day"]


@pytest.mark.parametrize("count", [1, 2])
def test_a_start_time_in_the_future_serves_no_slot(count):
    """It never causes a new snapshot to be deleted."""
    cloud = skewed(timedelta())
    cloud.policies["P"] = f'{{"hour": {count}}}'
    volume = cloud.volume(1)
    future = cloud.snapshot(volume, "hour", timedelta(days=-400), state=SnapshotState.COMPLETED)
    for _ in range(3):
        report = cloud.run("hour")
        assert report.volumes[0].outcome is Outcome.CREATED
        assert report.volumes[0].snapshot_id in cloud.snapshots
        cloud.clock.now += HOUR
    assert future.id in cloud.snapshots
