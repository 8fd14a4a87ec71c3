"""A cap on pending snapshots that another tool uses as well: what fits passes, and what never fits goes in parts.

Runs have as much simulated time as they take: how it passes depends on which thread waits.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import timedelta

import pytest

from lambda_function.errors import VolumeNotFoundError, VolumePendingError
from lambda_function.model.ec2 import SnapshotState
from lambda_function.model.result import Outcome
from lambda_function.run.quota_line import KEPT_SECONDS, PASSED_SECONDS
from tests.support.cloud import KEYS, FakeCloud
from tests.support.ssm import Reply

DAY = 24 * 3600
NOTE = "in parts: for a minute, EC2 had no room for so many pending snapshots at once (i-1)"


@pytest.fixture
def cloud():
    made = FakeCloud(
        policies={"P": '{"hour": 2}', "H": '{"hour": 2, "hook_document": "DOC"}'},
        pending_cap=100,
        pending_for=timedelta(seconds=60),
    )
    for number in range(65):
        made.snapshot(f"vol-of-another-tool-{number}", "", state=SnapshotState.PENDING).tags.clear()
    return made


def parts(cloud):
    """The snapshots of i-1 by `-SET`."""
    found = defaultdict(list)
    for stored in cloud.snapshots.values():
        if stored.tags.get(KEYS.instance) == "i-1":
            found[stored.tags[KEYS.set]].append(stored)
    return list(found.values())


def test_a_set_that_never_fits_goes_in_parts_beside_300_singles(cloud):
    """Each volume has its snapshot, each part is of one instant, and its volumes are warned about."""
    large = [cloud.volume(number, instance="i-1") for number in range(40)]
    singles = [cloud.volume(number) for number in range(100, 400)]
    report = cloud.run("hour", seconds=DAY)
    assert report.count(Outcome.CREATED) == 340
    assert {len(cloud.of(volume)) for volume in (*large, *singles)} == {1}
    assert report.warnings == tuple(f"{volume.id}: {NOTE}" for volume in large)
    assert report.failures == ()
    assert len(parts(cloud)) > 1
    assert {len({stored.start_time for stored in part}) for part in parts(cloud)} == {1}
    assert not any("one instant" in result.reason for result in report.volumes)


def test_a_set_alone_goes_in_parts_after_a_minute(cloud):
    """A set that is refused with 65 pending does not teach that the cap is 65: what is free is found in a few steps."""
    for number in range(40):
        cloud.volume(number, instance="i-1")
    began = cloud.clock.now
    report = cloud.run("hour")
    assert report.count(Outcome.CREATED) == 40
    first = min(stored.start_time for part in parts(cloud) for stored in part)
    assert first - began >= timedelta(seconds=PASSED_SECONDS + KEPT_SECONDS)
    assert sum(map(len, parts(cloud))) == 40
    assert max(map(len, parts(cloud))) >= 15
    assert cloud.calls("CreateSnapshots") + cloud.calls("CreateSnapshot") - len(parts(cloud)) <= 4, "refused ones"


def test_parts_that_one_call_cannot_express_are_singles(cloud):
    """Of an instance of so many other volumes, a part would have to leave out more than EC2 takes."""
    for number in range(20):
        cloud.volume(number, instance="i-1")
    for number in range(100, 135):
        cloud.volume(number, None, instance="i-1")
    cloud.pending_cap = 75
    report = cloud.run("hour", seconds=DAY)
    assert report.count(Outcome.CREATED) == 20
    assert [len(part) for part in parts(cloud)].count(1) > 5
    assert all(NOTE in result.warnings for result in report.volumes)


def test_a_frozen_group_that_never_fits_is_frozen_part_by_part(cloud):
    """Each part has a freeze and a `-SET` of its own, is proved by it, and no freeze lasts longer for it."""
    volumes = [cloud.volume(number, "H", instance="i-1") for number in range(40)]
    report = cloud.run("hour")
    assert report.count(Outcome.CREATED) == 40
    assert {len(cloud.of(volume)) for volume in volumes} == {1}
    assert report.warnings == tuple(f"{volume.id}: {NOTE}" for volume in volumes)
    assert report.failures == ()
    assert {stored.tags[KEYS.consistency] for part in parts(cloud) for stored in part} == {"application"}
    frozen = [sent.parameters["volumeIds"][0].split(",") for sent in cloud.ssm.sent]
    created = Counter(frozenset(stored.volume_id for stored in part) for part in parts(cloud))
    assert len(created) > 1
    assert set(created) <= {frozenset(volume_ids) for volume_ids in frozen}
    assert cloud.ssm.frozen == set()
    assert max(hook.freeze_ms or 0 for hook in report.hooks) < 5000


def test_a_part_that_fails_fails_no_other_part(cloud):
    """The volume of the first part is gone; the others have theirs, and are not reported as gone."""
    cloud.pending_cap = 66
    cloud.pending_for = timedelta(seconds=10)
    gone, *others = [cloud.volume(number, instance="i-1") for number in range(4)]

    def delete(operation, target):
        if (operation, target) == ("CreateSnapshot", gone.id):
            cloud.volumes.pop(gone.id, None)

    cloud.before = delete
    report = cloud.run("hour", seconds=DAY)
    assert {result.volume_id: result.outcome for result in report.volumes} == {
        gone.id: Outcome.VOLUME_GONE,
        **{volume.id: Outcome.CREATED for volume in others},
    }


@pytest.mark.parametrize(("on_failure", "made"), [("skip", 3), ("continue", 12)])
def test_no_part_is_frozen_after_a_post_that_failed(cloud, on_failure, made):
    """The instance may still be frozen: the other parts are refused, or made without a freeze, and all are failures."""
    cloud.pending_cap = 70
    cloud.policies["H"] = f'{{"hour": 2, "hook_document": "DOC", "hook_on_failure": "{on_failure}"}}'
    volumes = [cloud.volume(number, "H", instance="i-1") for number in range(12)]

    def broken_once_a_part_is_made(instance_id, parameters):
        usual = cloud.ssm.run(instance_id, parameters)
        is_broken = parameters["command"] == ["post-script"] and cloud.of(volumes[0])
        return Reply(exit_code=1) if is_broken else usual

    cloud.ssm.script = broken_once_a_part_is_made
    report = cloud.run("hour", seconds=DAY)
    assert sum(len(cloud.of(volume)) for volume in volumes) == made
    assert report.count(Outcome.FAILED) == len(report.volumes) == 12
    assert [bool(hook.steps) for hook in report.hooks] == [True, False]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (VolumeNotFoundError("CreateSnapshot", "InvalidVolume.NotFound", "gone"), Outcome.VOLUME_GONE),
        (VolumePendingError("CreateSnapshot", "ConcurrentSnapshotLimitExceeded", "too many"), Outcome.FAILED),
    ],
    ids=["is gone", "has too many of its own"],
)
def test_a_part_of_one_that_is_refused_costs_no_other(cloud, error, outcome):
    """The first part is a single create, whose refusal says nothing about the volumes that were not tried yet."""
    refused, *others = [cloud.volume(number, instance="i-1") for number in range(3)]
    cloud.pending_cap = 66

    def refuse(operation, target):
        if (operation, target) == ("CreateSnapshot", refused.id):
            raise error

    cloud.before = refuse
    report = cloud.run("hour", seconds=DAY)
    assert {result.volume_id: result.outcome for result in report.volumes} == {
        refused.id: outcome,
        **dict.fromkeys((volume.id for volume in others), Outcome.CREATED),
    }


def test_singles_of_a_freeze_that_do_not_fit_get_another(cloud):
    """The first refusal comes when the instance is frozen: nothing waits then, but afterwards there is time."""
    volumes = [cloud.volume(number, "H", instance="i-1") for number in range(6)]
    for volume in volumes:
        cloud.snapshot(volume, "hour", timedelta(hours=1), failed=True, policy="H")
    cloud.pending_cap = 68
    report = cloud.run("hour")
    assert report.count(Outcome.CREATED) == 6
    assert {len(cloud.of(volume)) for volume in volumes} == {2}
    assert cloud.ssm.frozen == set()


def test_the_parts_for_which_no_time_is_left_are_deferred(cloud):
    """By name: none is lost in silence."""
    cloud.pending_for = timedelta(hours=1)
    volumes = [cloud.volume(number, "H", instance="i-1") for number in range(40)]
    report = cloud.run("hour", seconds=600)
    assert report.count(Outcome.CREATED) == 35
    assert report.count(Outcome.DEFERRED) == 5
    assert len(report.deferred) == 5
    assert len(report.volumes) == len(volumes)
    assert cloud.clock.slept <= 600 - 45
