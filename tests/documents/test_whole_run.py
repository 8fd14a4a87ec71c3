"""A run of the product with the shipped document on real file systems: EC2 is a fake, the freeze is not."""

import contextlib
import time
from datetime import timedelta

from lambda_function.model.result import Outcome
from tests.support.cloud import KEYS, FakeCloud
from tests.support.ssm import FULL, Reply


def instance_with(disks, agent, filesystem, *, timeout=20):
    """A cloud whose instance i-1 has these disks, and an agent that runs the document's own text."""
    policy = f'{{"hour": 2, "hook_document": "DOC", "hook_timeout_seconds": {timeout}}}'
    cloud = FakeCloud(policies={"P": policy})
    for number, disk in enumerate(disks):
        made = cloud.volume(number, instance="i-1")
        del cloud.volumes[made.id]
        cloud.volumes[disk.volume_id] = type(made)(disk.volume_id, "in-use", made.tags, ("i-1",))
    ids = frozenset(disk.volume_id for disk in disks)
    cloud.instances["i-1"] = type(cloud.instances["i-1"])("i-1", "running", None, ids)
    cloud.ssm.documents["DOC"] = FULL | {"volumeDevices"}

    def run(_instance_id, parameters):
        values = {name: value for name, (value,) in parameters.items() if name in filesystem["parameters"]}
        values.pop("notAfter", None)  # simulated time is not the instance's
        done = agent.run(filesystem, **values)
        return Reply(done.seconds, done.exit_code, done.stdout + done.stderr)

    cloud.ssm.script = run
    return cloud


def test_a_run_freezes_real_file_systems_for_its_snapshots(disks, agent, filesystem, write_to):
    """Exactly the snapshots of what was frozen become application-consistent."""
    pair = [disks.make("xfs"), disks.make("ext4")]
    cloud = instance_with(pair, agent, filesystem)
    progress = [write_to(disk) for disk in pair]
    still = []

    def create(operation, _target):
        if operation == "CreateSnapshots":
            marks = [mark() for mark in progress]
            time.sleep(0.5)
            still.append(marks == [mark() for mark in progress])

    cloud.before = create
    report = cloud.run("hour")

    assert still == [True]
    assert report.failures == ()
    assert [result.consistency for result in report.volumes] == ["application", "application"]
    assert {s.tags[KEYS.consistency] for s in cloud.snapshots.values()} == {"application"}
    assert report.hooks[0].freeze_ms >= 500
    assert all(disk.is_writable(2) for disk in pair)


def test_a_failed_freeze_leaves_no_snapshot_and_no_freeze(disks, agent, filesystem):
    disk = disks.make("xfs")
    cloud = instance_with([disk], agent, filesystem)
    cloud.volumes["vol-0000000000000dead"] = type(cloud.volumes[disk.volume_id])(
        "vol-0000000000000dead", "in-use", cloud.volumes[disk.volume_id].tags, ("i-1",)
    )
    report = cloud.run("hour")
    assert cloud.snapshots == {}
    assert [result.outcome for result in report.volumes] == [Outcome.FAILED] * 2
    assert "201" in report.hooks[0].problem
    assert disk.is_writable(2)


def test_a_frozen_instance_thaws_itself_when_the_function_dies(disks, agent, filesystem):
    disk = disks.make("ext4")
    cloud = instance_with([disk], agent, filesystem, timeout=10)

    class DiedError(BaseException):
        pass

    def die(operation, _target):
        if operation in ("CreateSnapshot", "SendCommand post-script"):
            raise DiedError

    cloud.before = cloud.ssm.before = die
    began = time.monotonic()
    with contextlib.suppress(DiedError):
        cloud.run("hour")
    assert not disk.is_writable(0.3)
    assert disk.is_writable(2 * 10 + 2)
    assert time.monotonic() - began < timedelta(seconds=25).total_seconds()
