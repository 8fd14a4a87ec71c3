"""The word `offline`: only where nothing can be writing at the moment of the create."""

from __future__ import annotations

from datetime import timedelta

import pytest

from lambda_function.errors import VolumeNotFoundError
from lambda_function.model.result import Outcome
from tests.support.cloud import KEYS, FakeCloud, refused

PLAIN, HOOKED, ATTACHED = (
    '{"hour": 2}',
    '{"hour": 2, "hook_document": "DOC"}',
    '{"hour": 2, "only_attached_vols": true}',
)
CREATES = ("CreateSnapshot", "CreateSnapshots")


@pytest.fixture
def cloud():
    return FakeCloud(policies={"P": PLAIN, "H": HOOKED, "A": ATTACHED})


def words(cloud, *volumes):
    return [cloud.of(volume)[-1].tags[KEYS.consistency] for volume in volumes]


def while_it_waits(cloud, happens, seconds=30):
    """The first create is sent at once; before the next one this happens, and so much time goes by."""
    sent: list[str] = []

    def before(operation, target):
        if operation in CREATES and not sent:
            sent.append(target)
            cloud.clock.sleep(seconds)
            happens()

    cloud.before = before


@pytest.mark.parametrize("policy", ["P", "H"])
@pytest.mark.parametrize("count", [1, 2], ids=["alone", "as a set"])
def test_a_hibernated_instance_s_volumes_are_crash_consistent(cloud, policy, count):
    """Its memory holds what was not written, and no hook can run there."""
    volumes = [cloud.volume(number, policy, instance="i-1") for number in range(count)]
    cloud.put_into("i-1", "hibernated")
    report = cloud.run("hour")
    assert words(cloud, *volumes) == ["crash"] * count
    assert (cloud.ssm.sent, report.hooks, report.failures) == ([], (), ())
    assert cloud.calls("CreateSnapshots") == (count > 1)


@pytest.mark.parametrize("policy", ["P", "H", "A"])
def test_a_fargate_task_s_volume_is_attached_and_crash(cloud, policy):
    volume = cloud.volume(1, policy)
    cloud.attach(volume)
    report = cloud.run("hour")
    assert [result.outcome for result in report.volumes] == [Outcome.CREATED]
    assert words(cloud, volume) == ["crash"]
    assert cloud.ssm.sent == []


def test_a_freeze_elsewhere_proves_nothing_of_a_hibernated_one(cloud):
    """A volume on two instances, of which one is hibernated."""
    volume = cloud.volume(1, "H")
    cloud.attach(volume, "i-1", "i-2")
    cloud.put_into("i-2", "hibernated")
    cloud.run("hour")
    assert words(cloud, volume) == ["crash"]
    assert cloud.ssm.sent == []


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("policy", ["P", "H"])
def test_an_instance_started_while_its_create_waited_is_seen(cloud, policy):
    """Its set is created as `crash`, and the reason is said. What stayed stopped is still `offline`."""
    first = cloud.volume(1)
    started = [cloud.volume(number, policy, instance="i-1") for number in (2, 3)]
    stopped = cloud.volume(4, instance="i-2")
    for instance in ("i-1", "i-2"):
        cloud.put_into(instance, "stopped")
    while_it_waits(cloud, lambda: cloud.put_into("i-1", "running"))
    report = cloud.run("hour")
    assert words(cloud, first, *started, stopped) == ["offline", "crash", "crash", "offline"]
    assert [result.consistency for result in report.volumes] == ["offline", "crash", "crash", "offline"]
    assert "; planned as offline, but i-1 is running by now" in report.volumes[1].reason
    assert "planned" not in report.volumes[3].reason
    assert (report.warnings, report.failures) == ((), ())


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("instances", [("i-1",), ()], ids=["to an instance", "to a Fargate task"])
def test_a_volume_attached_while_its_create_waited_is_seen(cloud, instances):
    first, attached = cloud.volume(1), cloud.volume(2)
    while_it_waits(cloud, lambda: cloud.attach(attached, *instances))
    report = cloud.run("hour")
    assert words(cloud, first, attached) == ["offline", "crash"]
    what = "i-1 is running by now" if instances else "attached by now"
    assert report.volumes[1].reason.endswith(f"; planned as offline, but {what}")


@pytest.mark.usefixtures("one_thread")
def test_what_waited_for_room_is_looked_at_after_the_wait(cloud):
    cloud.pending_cap, cloud.pending_for = 1, timedelta(seconds=40)
    cloud.snapshot("vol-other", "hour")
    volume = cloud.volume(1, instance="i-1")
    cloud.put_into("i-1", "stopped")

    def start(operation, target):
        if target == "pending" and cloud.clock.slept > 30:
            cloud.put_into("i-1", "running")

    cloud.before = start
    cloud.run("hour")
    assert cloud.clock.slept > 30
    assert words(cloud, volume) == ["crash"]


@pytest.mark.parametrize("denied", ["DescribeVolumes", "DescribeInstances"])
@pytest.mark.usefixtures("one_thread")
def test_what_cannot_be_looked_at_again_is_crash(cloud, denied):
    """It is no failure of the volume."""
    cloud.volume(1)
    volume = cloud.volume(2, instance="i-1")
    cloud.put_into("i-1", "stopped")
    seen: list[str] = []

    def before(operation, target):
        if operation in CREATES and not seen:
            seen.append(target)
            cloud.clock.sleep(30)
        if operation == denied and seen:
            raise refused(operation)

    cloud.before = before
    report = cloud.run("hour")
    assert words(cloud, volume) == ["crash"]
    assert report.volumes[1].outcome is Outcome.CREATED
    assert "could not be looked at again" in report.volumes[1].reason
    assert report.failures == ()


@pytest.mark.usefixtures("one_thread")
def test_a_volume_gone_while_its_create_waited_is_no_failure(cloud):
    cloud.volume(1)
    gone = cloud.volume(2)
    while_it_waits(cloud, lambda: cloud.volumes.pop(gone.id))
    report = cloud.run("hour")
    assert [result.outcome for result in report.volumes] == [Outcome.CREATED, Outcome.VOLUME_GONE]


@pytest.mark.usefixtures("one_thread")
def test_a_split_set_on_a_started_instance_says_why_once(cloud):
    cloud.volume(1)
    volumes = [cloud.volume(number, instance="i-1") for number in (2, 3)]
    cloud.put_into("i-1", "stopped")

    def start():
        cloud.put_into("i-1", "running")
        there = cloud.instances["i-1"]
        cloud.instances["i-1"] = type(there)("i-1", "running", None, there.volume_ids - {volumes[1].id})

    while_it_waits(cloud, start)
    report = cloud.run("hour")
    assert words(cloud, *volumes) == ["crash", "crash"]
    assert [result.reason.count("planned as offline") for result in report.volumes] == [0, 1, 1]


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("detached", [True, False])
def test_five_hundred_volumes_cost_a_handful_of_calls_more(cloud, detached):
    """EC2 starts five a second after a burst of a hundred."""
    for number in range(500):
        cloud.volume(number, instance=None if detached else f"i-{number}")
        if not detached:
            cloud.put_into(f"i-{number}", "stopped")
    made = []

    def pace(operation, target):
        if operation in CREATES:
            made.append(target)
            cloud.clock.sleep(0.2 if len(made) > 100 else 0)

    cloud.before = pace
    report = cloud.run("hour")
    assert report.count(Outcome.CREATED) == 500
    assert {stored.tags[KEYS.consistency] for stored in cloud.snapshots.values()} == {"offline"}
    assert 3 <= cloud.calls("DescribeVolumes") - 1 <= 5
    assert cloud.calls("DescribeInstances") == (0 if detached else cloud.calls("DescribeVolumes"))


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(("seconds", "looks"), [(15, 0), (17, 1)])
def test_what_is_known_is_looked_at_again_only_when_it_is_old(cloud, seconds, looks):
    volumes = [cloud.volume(number) for number in range(3)]
    while_it_waits(cloud, lambda: None, seconds)
    cloud.run("hour")
    assert cloud.calls("DescribeVolumes") == 1 + looks
    assert words(cloud, *volumes) == ["offline"] * 3


def test_a_dry_run_looks_only_once(cloud):
    cloud.volume(1)

    def slow(operation, target):
        if operation == "DescribeSnapshots":
            cloud.clock.sleep(60)

    cloud.before = slow
    report = cloud.run("hour", dry_run=True)
    assert cloud.calls("DescribeVolumes") == 1
    assert report.volumes[0].consistency == "offline"


def test_a_create_that_fails_is_not_the_look_s_fault(cloud):
    """EC2's answer stands, whatever was seen before."""
    volume = cloud.volume(1)

    def fail(operation, target):
        if operation == "DescribeSnapshots":
            cloud.clock.sleep(60)
        if operation == "CreateSnapshot":
            raise VolumeNotFoundError(operation, "InvalidVolume.NotFound", volume.id)

    cloud.before = fail
    assert cloud.run("hour").volumes[0].outcome is Outcome.VOLUME_GONE
