"""What docs/restore.md says to do on an instance, on copies of real file systems beside their originals."""

import subprocess

import pytest

from tests.documents.conftest import BY_ID, Disk, sh
from tests.support.page_commands import Page

PAGE = Page("restore.md")


@pytest.fixture
def frozen_copy(disks, agent, filesystem, execution_id):
    """Attaches a copy that was made during a freeze, as a volume made from its snapshot would be."""

    def copy(disk):
        fields = {"executionId": execution_id, "volumeIds": disk.volume_id, "timeoutSeconds": "30"}
        assert agent.run(filesystem, command="pre-script", **fields).exit_code == 0
        made = attached_copy(disks, disk)
        assert agent.run(filesystem, command="post-script", **fields).said("held") == "yes"
        return made

    return copy


def attached_copy(disks, disk):
    image = disk.image.with_name(f"copy-{disk.image.name}")
    sh("cp", "--sparse=always", str(disk.image), str(image))
    loop = disks.attach(image)
    mount = disks.base / "restored"
    disks._undo.callback(sh, "umount", "--lazy", str(mount), check=False)
    return Disk(disks.link(loop), image, loop, mount)


def follow(block, copy):
    device = BY_ID / f"nvme-Amazon_Elastic_Block_Store_{copy.volume_id.replace('-', '')}"
    script = PAGE.script(block, DEVICE=str(device), MOUNT=str(copy.mount))
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], check=False, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("kind", ["xfs", "ext4"])
def test_a_file_is_read_from_a_frozen_copy_without_a_write(kind, disks, frozen_copy):
    """The copy is mounted beside its original."""
    disk = disks.make(kind)
    (disk.mount / "letter").write_text("as it was")
    copy = frozen_copy(disk)
    (disk.mount / "letter").write_text("overwritten since")
    before = copy.fingerprint()
    done = follow("read only", copy)
    assert done.returncode == 0, done.stderr
    assert (copy.mount / "letter").read_text() == "as it was"
    with pytest.raises(OSError, match="Read-only"):
        (copy.mount / "new").write_text("no")
    sh("umount", str(copy.mount))
    assert copy.fingerprint() == before


@pytest.mark.parametrize("kind", ["xfs", "ext4"])
def test_a_copy_made_without_a_freeze_recovers_its_journal(kind, disks, write_to):
    """It is mounted beside its original."""
    disk = disks.make(kind)
    write_to(disk)
    (disk.mount / "letter").write_text("on disk")
    sh("sync")
    copy = attached_copy(disks, disk)
    done = follow("mount", copy)
    assert done.returncode == 0, done.stderr
    assert (copy.mount / "letter").read_text() == "on disk"
    (copy.mount / "new").write_text("yes")


def test_xfs_refuses_the_uuid_of_its_original(disks, frozen_copy):
    """The option that the page gives is there for this."""
    copy = frozen_copy(disks.make("xfs"))
    copy.mount.mkdir()
    assert sh("mount", copy.loop, str(copy.mount), check=False).returncode != 0


def test_a_copy_with_its_own_uuid_mounts_without_the_option(disks, frozen_copy):
    """A copy that is to stay gets one."""
    assert "xfs_admin -U generate DEVICE" in PAGE.text
    disk = disks.make("xfs")
    copy = frozen_copy(disk)
    assert follow("mount", copy).returncode == 0
    sh("umount", str(copy.mount))
    sh("xfs_admin", "-U", "generate", copy.loop)
    sh("mount", copy.loop, str(copy.mount))
