"""The tag `-SET`: what has the same id belongs together, what has not does not."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import timedelta

import pytest

from lambda_function.errors import AccessRefusedError, RequestRejectedError, TooManyPendingError
from lambda_function.model.result import Outcome
from tests.support.cloud import KEYS, FakeCloud, refused
from tests.support.ssm import Reply

PRE = "pre-script"
PLAIN, HOOKED, LENIENT = (
    '{"hour": 2}',
    '{"hour": 2, "hook_document": "DOC"}',
    '{"hour": 2, "hook_document": "DOC", "hook_on_failure": "continue"}',
)


@pytest.fixture
def cloud():
    return FakeCloud(policies={"P": PLAIN, "H": HOOKED, "C": LENIENT})


def sets(cloud):
    """How many snapshots there are of each set, ascending; every snapshot has its id."""
    ids = [stored.tags[KEYS.set] for stored in cloud.snapshots.values()]
    assert all(ids)
    return sorted(Counter(ids).values())


def raising(operation, error, times=1):
    left = [error] * times

    def hook(called, target):
        if called == operation and left:
            raise left.pop()

    return hook


NO_SET = RequestRejectedError("CreateSnapshots", "InvalidParameterValue", "no")


def test_each_plain_set_and_each_plain_single_has_its_own_id(cloud):
    for number, instance in ((1, "i-1"), (2, "i-1"), (3, "i-2"), (4, "i-2"), (5, "i-3"), (6, None), (7, None)):
        cloud.volume(number, instance=instance)
    cloud.run("hour")
    assert sets(cloud) == [1, 1, 1, 2, 2]


def test_a_plain_set_that_is_split_has_an_id_for_each(cloud):
    """They are of several instants. The split is a warning."""
    for number in (1, 2, 3):
        cloud.volume(number, instance="i-1")
    cloud.before = raising("CreateSnapshots", NO_SET)
    report = cloud.run("hour")
    assert sets(cloud) == [1, 1, 1]
    assert all("not as a set" in warning for warning in report.warnings)
    assert len(report.warnings) == 3


@pytest.mark.parametrize("policy", ["P", "H"])
def test_a_role_without_sets_serves_and_prunes_every_hour(cloud, policy):
    """No run fails, and each volume's warning names the call."""
    volumes = [cloud.volume(number, policy, instance="i-1") for number in (1, 2)]
    denied = AccessRefusedError("CreateSnapshots", "UnauthorizedOperation", "no")
    for hour in range(4):
        cloud.before = raising("CreateSnapshots", denied)
        report = cloud.run("hour")
        assert report.failures == ()
        assert report.warnings == tuple(f"{volume.id}: not as a set: {denied}" for volume in volumes)
        assert [len(cloud.of(volume)) for volume in volumes] == [min(hour + 1, 2)] * 2
        cloud.clock.now += timedelta(hours=1)
    assert sets(cloud) == ([2, 2] if policy == "H" else [1, 1, 1, 1])


@pytest.mark.parametrize("policy", ["P", "H"])
def test_more_than_forty_volumes_are_of_one_set_if_frozen(cloud, policy):
    """A plain instance's are of many instants, which is a warning."""
    for number in range(41):
        cloud.volume(number, policy, instance="i-1")
    report = cloud.run("hour")
    assert cloud.calls("CreateSnapshot") == 41
    assert sets(cloud) == ([41] if policy == "H" else [1] * 41)
    expected = [] if policy == "H" else ["not as a set: 41 volumes, and EC2 takes 40 in one call"] * 41
    assert [warning.split(": ", 1)[1] for warning in report.warnings] == expected


def test_singles_of_a_refused_set_are_made_at_once_while_frozen(cloud):
    """One after another, the last ones would begin too late."""
    for number in range(6):
        cloud.volume(number, "H", instance="i-1")
    together = threading.Barrier(6, timeout=60)

    def before(operation, _):
        if operation == "CreateSnapshots":
            raise NO_SET
        if operation == "CreateSnapshot":
            together.wait()

    cloud.before = before
    report = cloud.run("hour")
    assert [result.outcome for result in report.volumes] == [Outcome.CREATED] * 6


@pytest.mark.parametrize("policy", ["P", "H"])
def test_a_set_made_singly_over_two_runs_is_two_sets(cloud, policy):
    """What the second run makes is of another instant, or of another freeze."""
    volumes = [cloud.volume(number, policy, instance="i-1") for number in (1, 2, 3)]

    def no_set_and_not_the_third(operation, target):
        if operation == "CreateSnapshots":
            raise NO_SET
        if operation == "CreateSnapshot" and target == volumes[2].id:
            raise refused(operation)

    cloud.before = no_set_and_not_the_third
    cloud.run("hour")
    cloud.before = lambda *_: None
    cloud.clock.now += timedelta(minutes=1)
    cloud.run("hour")
    assert [len(cloud.of(volume)) for volume in volumes] == [1, 1, 1]
    assert sets(cloud) == ([1, 2] if policy == "H" else [1, 1, 1])


@pytest.mark.parametrize("fault", ["rejected", "one missing"])
def test_all_creates_within_one_freeze_share_its_id(cloud, fault):
    for number in (1, 2, 3):
        cloud.volume(number, "H", instance="i-1")

    def go_wrong(operation, target):
        if operation == "CreateSnapshots" and fault == "rejected":
            raise NO_SET
        if operation == "CreateSnapshots":
            there = cloud.instances["i-1"]
            cloud.instances["i-1"] = type(there)("i-1", "running", None, there.volume_ids - {"vol-00000002"})

    cloud.before = go_wrong
    cloud.run("hour")
    assert cloud.calls("CreateSnapshot") == (3 if fault == "rejected" else 1)
    assert sets(cloud) == [3]


def test_a_volume_on_two_instances_is_of_its_freeze_s_set(cloud):
    shared = cloud.volume(1, "H", instance="i-1")
    cloud.volumes[shared.id] = type(shared)(shared.id, "in-use", shared.tags, ("i-1", "i-2"))
    cloud.volume(2, "H", instance="i-2")
    cloud.run("hour")
    assert sets(cloud) == [2]


def test_two_freezes_are_two_sets(cloud):
    for number, instance in ((1, "i-1"), (2, "i-1"), (3, "i-2"), (4, "i-2")):
        cloud.volume(number, "H", instance=instance)
    cloud.run("hour")
    assert sets(cloud) == [2, 2]


def test_every_attempt_at_a_freeze_has_an_id_of_its_own(cloud):
    cloud.volume(1, "H", instance="i-1")
    sent = []
    real = cloud.create_snapshot

    def refused_at_first(volume_id, description, tags, **more):
        sent.append(tags[KEYS.set])
        if len(sent) == 1:
            raise TooManyPendingError("CreateSnapshot", "PendingSnapshotLimitExceeded", "full")
        return real(volume_id, description, tags, **more)

    cloud.create_snapshot = refused_at_first
    cloud.run("hour")
    assert len(set(sent)) == 2
    assert len(cloud.snapshots) == 1


def test_what_is_made_after_a_failed_hook_has_ids_of_its_own(cloud):
    """A set is still one call, of one instant."""
    for number, instance in ((1, "i-1"), (2, "i-1"), (3, "i-2")):
        cloud.volume(number, "C", instance=instance)
    cloud.ssm.script = lambda instance_id, parameters: Reply(exit_code=201 if parameters["command"] == [PRE] else 0)
    cloud.run("hour")
    assert sets(cloud) == [1, 2]


def test_a_split_after_a_failed_hook_is_warned_about(cloud):
    """Nothing holds around the singles then. A dry run, which believes in the freeze, does not warn."""
    for number in range(41):
        cloud.volume(number, "C", instance="i-1")
    assert cloud.run("hour", dry_run=True).warnings == ()
    cloud.ssm.script = lambda instance_id, parameters: Reply(exit_code=201 if parameters["command"] == [PRE] else 0)
    report = cloud.run("hour")
    assert sets(cloud) == [1] * 41
    assert sum("not as a set: 41 volumes" in warning for warning in report.warnings) == 41


def test_a_restored_volume_does_not_pass_on_the_set_it_came_from(cloud):
    restored = cloud.volume(1, instance="i-1", **{KEYS.set: "old"})
    cloud.volume(2, instance="i-1")
    report = cloud.run("hour")
    assert sets(cloud) == [1, 1]
    assert cloud.of(restored)[0].tags[KEYS.set] != "old"
    stale, *split = report.warnings
    assert stale.startswith("vol-00000001: it bears AUTO-SNAPSHOT-SET, as one restored with its snapshot's tags does")
    assert all("EC2 cannot copy the tags of vol-00000001" in warning for warning in split)
