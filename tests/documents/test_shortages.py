"""What people's machines are like: no room, no processes, storage that does not answer, files as disks."""

import contextlib
import os
import subprocess
import time
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from tests.documents.conftest import STATE, Disk, processes, sh

PAGE = os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def pair(disks):
    return disks.make("xfs"), disks.make("ext4")


def fields_for(*disks, **more):
    volume_ids = ",".join(disk.volume_id for disk in disks)
    return {"executionId": str(uuid.uuid4()), "volumeIds": volume_ids, "timeoutSeconds": "2", **more}


def all_writable(disks, within=10.0):
    end = time.monotonic() + within
    return all(disk.is_writable(max(0.1, end - time.monotonic())) for disk in disks)


def all_frozen(disks):
    return not any(disk.is_writable(0.1) for disk in disks)


@pytest.fixture
def small_run():
    """Makes /run/auto-snapshots a file system of its own, with so many free pages."""
    STATE.mkdir()

    def limit(pages):
        sh("mount", "-t", "tmpfs", "-o", f"size={(pages + 1) * PAGE}", "tmpfs", str(STATE))

    yield limit
    while sh("umount", "--lazy", str(STATE), check=False).returncode == 0:
        pass


@pytest.mark.parametrize("course", ["post", "no post"])
def test_without_room_all_is_frozen_or_nothing(course, agent, filesystem, pair, small_run):
    """At every number of free pages up to where there is enough: a page may be lacking at any step."""
    codes = []
    for pages in range(40):
        small_run(pages)
        fields = fields_for(*pair, timeoutSeconds="1")
        before = agent.run(filesystem, command="pre-script", **fields)
        codes.append(before.exit_code)
        assert before.exit_code in {0, 201}
        if before.exit_code == 0:
            assert all_frozen(pair), pages
        if course == "post":
            after = agent.run(filesystem, command="post-script", **fields)
            assert after.said("held") == ("yes" if before.exit_code == 0 else "no"), (pages, after.stderr)
            assert after.exit_code == (0 if before.exit_code == 0 else 205)
        assert all_writable(pair), pages
        if course == "no post" and before.exit_code == 0:
            assert agent.run(filesystem, command="post-script", **fields).said("held") == "no"
        sh("umount", "--lazy", str(STATE))
        if codes[-5:] == [0] * 5:
            break
    assert set(codes) == {0, 201}, "some were too small, some were not"


@contextlib.contextmanager
def no_forks(pids):
    """A control group for these processes in which there is room for no other."""
    below = Path("/sys/fs/cgroup/pids")
    group = (below if below.is_dir() else Path("/sys/fs/cgroup")) / f"no-forks-{uuid.uuid4()}"
    group.mkdir()
    try:
        for pid in pids:
            (group / "cgroup.procs").write_text(str(pid))
        (group / "pids.max").write_text("1")
        yield
    finally:
        (group / "pids.max").write_text("max")
        while (group / "cgroup.procs").read_text():
            time.sleep(0.05)
        group.rmdir()


def test_a_thaw_needs_no_fork(agent, filesystem, pair):
    assert agent.run(filesystem, command="pre-script", **fields_for(*pair, timeoutSeconds="4")).exit_code == 0
    with no_forks(processes()):
        assert all_frozen(pair)
        assert all_writable(pair)


@pytest.fixture
def first(disks):
    """It is frozen before the one that stalls."""
    return disks.make("xfs")


@pytest.fixture
def stalling(disks, first):
    """An ext4 volume whose storage stops answering while the file system below it is frozen."""
    below = disks.make("xfs")
    image = below.mount / "volume.img"
    with image.open("wb") as file:
        file.truncate(64 << 20)
    sh("mkfs.ext4", "-q", "-F", str(image))
    loop = disks.attach(image)
    mount = disks.base / "stalling"
    disks.mount(loop, mount)
    return Disk(disks.link(loop), image, loop, mount), below


def test_storage_that_stalls_in_the_freeze_keeps_no_other_frozen(agent, filesystem, first, stalling):
    """Whatever it does, the first volume is writable at the limit, and the second when its storage answers."""
    slow, below = stalling
    sh("sync")  # so that nothing is left for the pre-script to write, and the freeze itself stalls
    sh("fsfreeze", "-f", str(below.mount))
    try:
        running = agent.start(filesystem, {"command": "pre-script", **fields_for(first, slow)})
        assert first.is_writable(10)
        before = running.wait()
        assert before.exit_code == 201
        assert "not everything could be thawed" in before.stderr
        assert first.is_writable(1)
    finally:
        sh("fsfreeze", "-u", str(below.mount))
    assert all_writable([first, slow])


def test_storage_that_stalls_in_the_sync_freezes_nothing(agent, filesystem, first, stalling):
    slow, below = stalling
    (slow.mount / "written").write_bytes(os.urandom(1 << 20))
    sh("fsfreeze", "-f", str(below.mount))
    try:
        running = agent.start(filesystem, {"command": "pre-script", **fields_for(first, slow)})
        with pytest.raises(subprocess.TimeoutExpired):
            running.process.wait(timeout=1)
        assert first.is_writable(1)
    finally:
        sh("fsfreeze", "-u", str(below.mount))
    running.wait()
    assert all_writable([first, slow])


def test_storage_that_stalls_in_the_thaw_keeps_no_other_frozen(agent, filesystem, first, stalling):
    slow, below = stalling
    fields = fields_for(first, slow, timeoutSeconds="8")
    assert agent.run(filesystem, command="pre-script", **fields).exit_code == 0
    sh("fsfreeze", "-f", str(below.mount))  # a thaw of ext4 writes
    try:
        after = agent.run(filesystem, command="post-script", **fields)
        assert first.is_writable(1)
        assert (after.exit_code, after.said("held")) == (202, "no")
        assert "could be thawed" in after.stderr
    finally:
        sh("fsfreeze", "-u", str(below.mount))
    assert all_writable([first, slow])
    assert agent.run(filesystem, command="post-script", **fields).exit_code in {0, 203}


@pytest.mark.parametrize("kind", ["xfs", "ext4"])
def test_an_image_file_on_a_frozen_volume_is_frozen_too(kind, agent, filesystem, disks, pair):
    """A copy of the volume that was made meanwhile has the image's files whole."""
    outer = pair[0]
    image = outer.mount / "inner.img"
    with image.open("wb") as file:
        file.truncate((300 if kind == "xfs" else 64) << 20)
    sh(f"mkfs.{kind}", "-q", str(image))
    inner = disks.base / "inner"
    disks.mount(disks.attach(image), inner)
    (inner / "letter").write_bytes(b"just written" * 1000)
    fields = fields_for(outer)
    before = agent.run(filesystem, command="pre-script", **fields)
    assert (before.exit_code, before.said("frozen")) == (0, outer.volume_id), before.stderr
    inside = replace(outer, mount=inner)
    assert all_frozen([outer, inside])
    copy = outer.image.with_name("copy.img")
    sh("cp", "--sparse=always", str(outer.image), str(copy))
    assert agent.run(filesystem, command="post-script", **fields).said("held") == "yes"
    assert all_writable([outer, inside])
    restored, restored_inner = disks.base / "restored", disks.base / "restored-inner"
    disks.mount(disks.attach(copy), restored, "-o", "nouuid")
    disks.mount(disks.attach(restored / "inner.img"), restored_inner, *(["-o", "nouuid"] if kind == "xfs" else []))
    assert (restored_inner / "letter").read_bytes() == b"just written" * 1000


@pytest.mark.parametrize("kind", ["xfs", "ext4"])
def test_a_log_on_another_device_must_be_in_the_set(kind, agent, filesystem, disks):
    images = [disks.base / f"{name}.img" for name in ("data", "log")]
    for image in images:
        with image.open("wb") as file:
            file.truncate(320 << 20)
    data, log = (disks.attach(image) for image in images)
    if kind == "xfs":
        sh("mkfs.xfs", "-q", "-f", "-l", f"logdev={log},size=64m", data)
    else:
        sh("mkfs.ext4", "-q", "-O", "journal_dev", log)
        sh("mkfs.ext4", "-q", "-J", f"device={log}", data)
    volume, log_volume = disks.link(data), disks.link(log)
    mount = disks.base / "data"
    disks.mount(data, mount, *(["-o", f"logdev={log}"] if kind == "xfs" else []))
    alone = agent.run(filesystem, command="dry-run", volumeIds=volume)
    assert alone.exit_code == 206
    assert "which is not in this set" in alone.stderr
    both = agent.run(filesystem, command="dry-run", volumeIds=f"{volume},{log_volume}")
    assert (both.exit_code, both.said("ready")) == (0, " ".join(sorted([volume, log_volume]))), both.stderr


def test_an_unmount_is_refused_while_frozen_and_a_lazy_one_thaws(agent, filesystem, disks):
    """The keeper holds the mount open, and thaws it by its descriptor."""
    disk = disks.make("ext4")
    fields = fields_for(disk, timeoutSeconds="20")
    assert agent.run(filesystem, command="pre-script", **fields).exit_code == 0
    assert "busy" in sh("umount", str(disk.mount), check=False).stderr
    sh("umount", "--lazy", str(disk.mount))
    assert agent.run(filesystem, command="post-script", **fields).said("held") == "yes"
    disks.mount(disk.loop, disk.mount)
    assert disk.is_writable(1)
