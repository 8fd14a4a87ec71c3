"""Which mounts a volume leads to, on trees of the shapes that instances have and this kernel may lack."""

from dataclasses import replace

import pytest

from tests.documents.agent import document_content

ROOT, DATA, MORE = "vol-0aaaaaaaaaaaaaaaa", "vol-0bbbbbbbbbbbbbbbb", "vol-0cccccccccccccccc"


class Tree:
    """Writes /sys, /proc and /dev as the kernel and udev would."""

    def __init__(self, base):
        self.base = base
        for name in ("sys/block", "proc/self", "dev/disk/by-id"):
            (base / name).mkdir(parents=True)
        self.mounts: list[str] = []
        self.numbers: dict[str, str] = {}

    def disk(self, name, volume_id=None, within=None):
        node = self.base / "sys/block" / name if within is None else self.base / "sys/block" / within / name
        (node / "holders").mkdir(parents=True)
        self.numbers[name] = f"{259 if name.startswith('nvme') else 202}:{len(self.numbers)}"
        (node / "dev").write_text(self.numbers[name] + "\n")
        if within:
            (node / "partition").write_text("1\n")
        if volume_id:
            (node / "device").mkdir()
            (node / "device" / "serial").write_text(volume_id.replace("-", "") + "\n")
        return node

    def on_top(self, name, *below):
        node = self.disk(name)
        for holders in below:
            (holders / "holders" / name).symlink_to(f"../../{name}")
        return node

    def mount(self, name, point, kind="xfs", root="/"):
        number = self.numbers.get(name, name)
        beginning = f"{len(self.mounts) + 20} 1 {number} {root} {point} rw,relatime"
        self.mounts.append(f"{beginning} shared:1 - {kind} /dev/{name} rw,attr2\n")
        (self.base / "proc/self/mountinfo").write_text("".join(self.mounts))


@pytest.fixture
def tree(tmp_path):
    """A Nitro instance: the root volume with its partitions, and what the kernel mounts."""
    made = Tree(tmp_path / "recorded")
    made.disk("nvme0n1", ROOT)
    made.disk("nvme0n1p1", within="nvme0n1")
    made.disk("nvme0n1p128", within="nvme0n1")
    made.mount("nvme0n1p1", "/")
    made.mount("0:21", "/proc", "proc")
    made.mount("0:24", "/run", "tmpfs")
    made.mount("nvme0n1p128", "/boot/efi", "vfat")
    return made


@pytest.fixture
def look(agent, tree):
    """A dry run on the tree: its code, the volumes it would claim, the mounts it would freeze, and what it warns of."""
    content = document_content("FilesystemDocument")
    places = {f"AUTO_SNAPSHOTS_{name.upper()}": str(tree.base / name) for name in ("sys", "proc", "dev")}

    def run(*volume_ids, **parameters):
        done = replace(agent, env=places).run(content, volumeIds=",".join(volume_ids), **parameters)
        mounts = [line.split(" ", 3)[3] for line in done.stdout.splitlines() if "would freeze" in line]
        return done.exit_code, (done.said("ready") or "").split(), mounts, done.stderr

    return run


def test_nvme_with_a_partition(tree, look):
    tree.disk("nvme1n1", DATA)
    tree.disk("nvme1n1p1", within="nvme1n1")
    tree.mount("nvme1n1p1", "/srv/my\\040data", "ext4")
    assert look(DATA)[:3] == (0, [DATA], ["/srv/my\\040data"])


def test_nvme_without_a_partition_mounted_twice(tree, look):
    tree.disk("nvme1n1", DATA)
    tree.mount("nvme1n1", "/data")
    tree.mount("nvme1n1", "/export", root="/public")
    assert look(DATA)[:3] == (0, [DATA], ["/data"])


def test_the_root_volume_is_left_out_and_named(tree, look):
    tree.disk("nvme1n1", DATA)
    tree.mount("nvme1n1", "/data")
    code, claimed, mounts, warnings = look(ROOT, DATA)
    assert (code, claimed, mounts) == (0, [DATA], ["/data"])
    assert f"volume {ROOT} is not claimed: / is never frozen" in warnings
    assert look(ROOT)[0] == 206


def test_the_root_is_never_frozen_wherever_the_table_has_it(tree, look):
    tree.disk("nvme1n1", DATA)
    tree.mount("nvme1n1", "/data")
    for _ in range(len(tree.mounts)):
        tree.mounts.append(tree.mounts.pop(0))
        (tree.base / "proc/self/mountinfo").write_text("".join(tree.mounts))
        assert look(ROOT, DATA)[:3] == (0, [DATA], ["/data"])


def test_without_the_mount_of_the_root_nothing_is_trusted(tree, look):
    tree.disk("nvme1n1", DATA)
    tree.mounts.clear()
    tree.mount("nvme1n1", "/data")
    assert look(DATA)[0] == 206


def test_lvm_over_two_volumes(tree, look):
    first, second = tree.disk("nvme1n1", DATA), tree.disk("nvme2n1", MORE)
    tree.on_top("dm-0", first, second)
    tree.mount("dm-0", "/data")
    assert look(DATA, MORE)[:3] == (0, [DATA, MORE], ["/data"])


def test_lvm_with_a_part_that_cannot_be_frozen_is_not_claimed(tree, look):
    """The part that can be frozen is."""
    first, second = tree.disk("nvme1n1", DATA), tree.disk("nvme2n1", MORE)
    tree.on_top("dm-0", first, second)
    tree.on_top("dm-1", second)
    tree.mount("dm-0", "/data")
    tree.mount("dm-1", "/var/log")
    code, claimed, mounts, warnings = look(DATA, MORE)
    assert (code, claimed, mounts) == (0, [DATA], ["/data"])
    assert f"volume {MORE} is not claimed: /var/log is never frozen" in warnings


def test_raid_of_partitions_with_lvm_and_encryption_on_top(tree, look):
    parts = []
    for number, volume_id in ((1, DATA), (2, MORE)):
        tree.disk(f"nvme{number}n1", volume_id)
        parts.append(tree.disk(f"nvme{number}n1p1", within=f"nvme{number}n1"))
    array = tree.on_top("md127", *parts)
    volume = tree.on_top("dm-0", array)
    tree.on_top("dm-1", volume)
    tree.mount("dm-1", "/data", "ext4")
    assert look(DATA, MORE)[:3] == (0, [DATA, MORE], ["/data"])


def test_a_partitioned_array(tree, look):
    array = tree.on_top("md0", tree.disk("nvme1n1", DATA), tree.disk("nvme2n1", MORE))
    tree.disk("md0p1", within=array.name)
    tree.mount("md0p1", "/data")
    assert look(DATA, MORE)[:3] == (0, [DATA, MORE], ["/data"])


def test_swap_or_raw_use_beside_a_file_system_is_not_claimed(tree, look):
    tree.disk("nvme1n1", DATA)
    for part in ("nvme1n1p1", "nvme1n1p2"):
        tree.disk(part, within="nvme1n1")
    tree.mount("nvme1n1p1", "/data")
    tree.disk("nvme2n1", MORE)
    tree.mount("nvme2n1", "/more")
    code, claimed, mounts, warnings = look(DATA, MORE)
    assert (code, claimed, mounts) == (0, [MORE], ["/data", "/more"])
    assert "nvme1n1p2 is not mounted" in warnings


def test_btrfs_is_not_claimed(tree, look):
    tree.disk("nvme1n1", DATA)
    tree.mount("0:44", "/data", "btrfs")
    assert look(DATA)[0] == 206


def test_an_instance_store_is_nobodys_volume(tree, look):
    store = tree.disk("nvme1n1")
    (store / "device").mkdir()
    (store / "device" / "serial").write_text("AWS2B6CB0D9C0A3F4D11\n")
    tree.mount("nvme1n1", "/scratch")
    tree.disk("nvme2n1", DATA)
    tree.mount("nvme2n1", "/data")
    assert look()[:3] == (0, [DATA], ["/data"])


def test_udevs_link_names_a_volume_where_the_serial_does_not(tree, look):
    tree.disk("nvme1n1")
    tree.mount("nvme1n1", "/data")
    by_id = tree.base / "dev/disk/by-id"
    name = "nvme-Amazon_Elastic_Block_Store_" + DATA.replace("-", "")
    for link in (name, f"{name}-ns-1", f"{name}_1"):
        (by_id / link).symlink_to("../../nvme1n1")
    assert look(DATA)[:3] == (0, [DATA], ["/data"])


@pytest.fixture
def xen(tmp_path, tree):
    """An older instance, whose disks do not know their volume."""
    made = Tree(tmp_path / "xen")
    tree.base = made.base
    made.disk("xvda")
    made.disk("xvda1", within="xvda")
    made.mount("xvda1", "/", "ext4")
    made.disk("xvdf")
    made.mount("xvdf", "/data", "ext4")
    return made


def test_xen_finds_a_volume_by_the_attachments_device_name(xen, agent):
    content = document_content("FilesystemDocument")
    env = {f"AUTO_SNAPSHOTS_{name.upper()}": str(xen.base / name) for name in ("sys", "proc", "dev")}
    there = replace(agent, env=env)
    blind = there.run(content, volumeIds=DATA)
    assert blind.exit_code == 206
    assert "volumeDevices" in blind.stderr
    for name in ("/dev/sdf", "/dev/xvdf"):
        told = there.run(content, volumeIds=f"{ROOT},{DATA}", volumeDevices=f"{ROOT}=/dev/sda1,{DATA}={name}")
        assert (told.exit_code, told.said("ready")) == (0, DATA), told.stderr
    everything = there.run(content)
    assert (everything.exit_code, everything.said("would")) == (0, "freeze /data")
    assert everything.said("ready") == ""


def test_xen_with_shifted_letters_is_not_guessed(xen, agent):
    block = xen.base / "sys/block"
    (block / "xvda").rename(block / "xvde")
    env = {f"AUTO_SNAPSHOTS_{name.upper()}": str(xen.base / name) for name in ("sys", "proc", "dev")}
    told = replace(agent, env=env).run(
        document_content("FilesystemDocument"), volumeIds=DATA, volumeDevices=f"{DATA}=/dev/sdf"
    )
    assert told.exit_code == 206
