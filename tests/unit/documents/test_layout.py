"""Which mounts a volume leads to, on trees of the shapes that instances have and this kernel may lack."""

from __future__ import annotations

import os

import pytest

from documents.layout import System, add_journals, make_plan, never_frozen, read_layout, read_mounts

ROOT, DATA, MORE = "vol-0aaaaaaaaaaaaaaaa", "vol-0bbbbbbbbbbbbbbbb", "vol-0cccccccccccccccc"


class Tree(System):
    """Writes /sys, /proc and /dev as the kernel and udev would, and is the system that they are of."""

    def __init__(self, base):
        self.base = base
        self.sys, self.proc, self.dev = (str(base / name) for name in ("sys", "proc", "dev"))
        self.loop_files: dict[str, str] = {}
        self.journals: dict[str, str] = {}
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

    def below(self, upper, *lower):
        """The other direction, which the kernel has beside holders."""
        for node in lower:
            (upper / "slaves").mkdir(exist_ok=True)
            (upper / "slaves" / node.name).symlink_to(f"../../{node.name}")

    def loop(self, name, number):
        node = self.disk(name)
        (node / "loop").mkdir()
        (node / "loop" / "backing_file").write_text("/a/file (deleted)\n")
        self.loop_files[name] = number

    def device_of(self, path):
        mounts = [mount for mount in read_mounts(self) if f"{path}/".startswith(mount.path.rstrip("/") + "/")]
        return max(mounts, key=lambda mount: len(mount.path)).number if mounts else None

    def resolved(self, path):
        return os.path.realpath(path) if path.startswith(self.dev) else path

    def loop_file(self, name):
        return self.loop_files[name]

    def journal(self, name):
        return self.journals.get(name)

    def mount(self, name, point, kind="xfs", root="/", options="rw,attr2"):
        number = self.numbers.get(name, name)
        beginning = f"{len(self.mounts) + 20} 1 {number} {root} {point} rw,relatime"
        self.mounts.append(f"{beginning} shared:1 - {kind} /dev/{name} {options}\n")
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


def plan_of(tree, *volume_ids, devices=None, needs=None, lock_suffices=False):
    layout = read_layout(tree, devices or {}, is_named=bool(volume_ids))
    kept = never_frozen(layout, tree, [])
    add_journals(layout, tree, kept)
    numbers = {tree.numbers[name]: path for name, path in (needs or {}).items()}
    plan = make_plan(layout, kept, volume_ids, numbers, lock_suffices)
    points = tuple(mount.point for number in plan.freeze for mount in [layout.mount_of(number)] if mount)
    return plan, points


@pytest.fixture
def look(tree):
    """What a pre-script would do: whether anything, the claims, the mounts, and all that it would warn of."""

    def run(*volume_ids, **more):
        plan, points = plan_of(tree, *volume_ids, **more)
        return not plan.faults, list(plan.claims), sorted(points), "\n".join([*plan.notes, *plan.faults])

    return run


def test_nvme_with_a_partition(tree, look):
    tree.disk("nvme1n1", DATA)
    tree.disk("nvme1n1p1", within="nvme1n1")
    tree.mount("nvme1n1p1", "/srv/my\\040data", "ext4")
    assert look(DATA)[:3] == (True, [DATA], ["/srv/my\\040data"])


def test_nvme_without_a_partition_mounted_twice(tree, look):
    tree.disk("nvme1n1", DATA)
    tree.mount("nvme1n1", "/data")
    tree.mount("nvme1n1", "/export", root="/public")
    assert look(DATA)[:3] == (True, [DATA], ["/data"])


def test_the_root_volume_is_left_out_and_named(tree, look):
    tree.disk("nvme1n1", DATA)
    tree.mount("nvme1n1", "/data")
    is_ready, claimed, mounts, warnings = look(ROOT, DATA)
    assert (is_ready, claimed, mounts) == (True, [DATA], ["/data"])
    assert f"volume {ROOT} is not claimed: / is never frozen" in warnings
    assert not look(ROOT)[0]


def test_the_root_is_never_frozen_wherever_the_table_has_it(tree, look):
    tree.disk("nvme1n1", DATA)
    tree.mount("nvme1n1", "/data")
    for _ in range(len(tree.mounts)):
        tree.mounts.append(tree.mounts.pop(0))
        (tree.base / "proc/self/mountinfo").write_text("".join(tree.mounts))
        assert look(ROOT, DATA)[:3] == (True, [DATA], ["/data"])


def test_without_the_mount_of_the_root_nothing_is_trusted(tree, look):
    tree.disk("nvme1n1", DATA)
    tree.mounts.clear()
    tree.mount("nvme1n1", "/data")
    with pytest.raises(LookupError, match="the mount of /"):
        look(DATA)


def test_lvm_over_two_volumes(tree, look):
    first, second = tree.disk("nvme1n1", DATA), tree.disk("nvme2n1", MORE)
    tree.on_top("dm-0", first, second)
    tree.mount("dm-0", "/data")
    assert look(DATA, MORE)[:3] == (True, [DATA, MORE], ["/data"])


def test_lvm_with_a_part_that_cannot_be_frozen_is_not_claimed(tree, look):
    """The part that can be frozen is."""
    first, second = tree.disk("nvme1n1", DATA), tree.disk("nvme2n1", MORE)
    tree.on_top("dm-0", first, second)
    tree.on_top("dm-1", second)
    tree.mount("dm-0", "/data")
    tree.mount("dm-1", "/var/log")
    is_ready, claimed, mounts, warnings = look(DATA, MORE)
    assert (is_ready, claimed, mounts) == (True, [DATA], ["/data"])
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
    assert look(DATA, MORE)[:3] == (True, [DATA, MORE], ["/data"])


def test_a_partitioned_array(tree, look):
    array = tree.on_top("md0", tree.disk("nvme1n1", DATA), tree.disk("nvme2n1", MORE))
    tree.disk("md0p1", within=array.name)
    tree.mount("md0p1", "/data")
    assert look(DATA, MORE)[:3] == (True, [DATA, MORE], ["/data"])


def test_swap_or_raw_use_beside_a_file_system_is_not_claimed(tree, look):
    tree.disk("nvme1n1", DATA)
    for part in ("nvme1n1p1", "nvme1n1p2"):
        tree.disk(part, within="nvme1n1")
    tree.mount("nvme1n1p1", "/data")
    tree.disk("nvme2n1", MORE)
    tree.mount("nvme2n1", "/more")
    is_ready, claimed, mounts, warnings = look(DATA, MORE)
    assert (is_ready, claimed, mounts) == (True, [MORE], ["/data", "/more"])
    assert "nvme1n1p2 is not mounted" in warnings


def test_btrfs_is_not_claimed(tree, look):
    tree.disk("nvme1n1", DATA)
    tree.mount("0:44", "/data", "btrfs")
    assert not look(DATA)[0]


def test_an_instance_store_is_nobodys_volume(tree, look):
    store = tree.disk("nvme1n1")
    (store / "device").mkdir()
    (store / "device" / "serial").write_text("AWS2B6CB0D9C0A3F4D11\n")
    tree.mount("nvme1n1", "/scratch")
    tree.disk("nvme2n1", DATA)
    tree.mount("nvme2n1", "/data")
    assert look()[:3] == (True, [DATA], ["/data"])


def test_udevs_link_names_a_volume_where_the_serial_does_not(tree, look):
    tree.disk("nvme1n1")
    tree.mount("nvme1n1", "/data")
    by_id = tree.base / "dev/disk/by-id"
    name = "nvme-Amazon_Elastic_Block_Store_" + DATA.replace("-", "")
    for link in (name, f"{name}-ns-1", f"{name}_1"):
        (by_id / link).symlink_to("../../nvme1n1")
    assert look(DATA)[:3] == (True, [DATA], ["/data"])


@pytest.mark.parametrize(
    "point",
    [
        pytest.param("/var/log/audit", id="below the logs"),
        pytest.param("/var/log", id="the logs"),
        pytest.param("/var", id="above the logs"),
        pytest.param("/var/lib/amazon/ssm", id="below the agent's records"),
        pytest.param("/run/media/disk", id="below the runtime directory"),
        pytest.param("/tmp/work", id="below the temporary directory"),
        pytest.param("/usr", id="programs"),
        pytest.param("/etc", id="settings"),
    ],
)
def test_what_agent_log_and_thaw_need_is_never_frozen(tree, look, point):
    tree.disk("nvme1n1", DATA)
    tree.mount("nvme1n1", point, "ext4")
    assert look(ROOT, DATA)[:3] == (False, [], [])
    tree.disk("nvme2n1", MORE)
    tree.mount("nvme2n1", "/data")
    assert look(DATA, MORE)[:3] == (True, [MORE], ["/data"])


@pytest.mark.parametrize("point", ["/usr/local", "/etc/nginx", "/var/lib/mysql", "/var/logistics", "/tmpfiles"])
def test_a_mount_beside_or_below_other_paths_is_frozen(tree, look, point):
    tree.disk("nvme1n1", DATA)
    tree.mount("nvme1n1", point)
    assert look(DATA)[:3] == (True, [DATA], [point])


def test_a_data_volume_bound_into_the_logs_is_never_frozen(tree, look):
    tree.disk("nvme1n1", DATA)
    tree.mount("nvme1n1", "/data")
    tree.mount("nvme1n1", "/var/log/app", root="/log")
    assert not look(DATA)[0]


def test_what_lies_under_an_overlay_of_the_root_is_never_frozen(tree, look):
    tree.disk("nvme1n1", DATA)
    tree.mount("nvme1n1", "/data")
    tree.mount("0:50", "/etc", "overlay", options="rw,lowerdir=/etc,upperdir=/data/up,workdir=/data/work")
    assert not look(DATA)[0]


def test_a_containers_overlay_keeps_no_volume_from_freezing(tree, look):
    tree.disk("nvme1n1", DATA)
    tree.mount("nvme1n1", "/var/lib/containerd")
    options = "rw,lowerdir=/var/lib/containerd/1,upperdir=/var/lib/containerd/2,workdir=/var/lib/containerd/3"
    tree.mount("0:50", "/run/containerd/task/rootfs", "overlay", options=options)
    tree.mount("0:51", "/var/lib/containerd/merged", "overlay", options=options)
    assert look(DATA)[:3] == (True, [DATA], ["/var/lib/containerd"])


def test_what_lies_under_a_loop_of_the_logs_is_never_frozen(tree, look):
    tree.disk("nvme1n1", DATA)
    tree.mount("nvme1n1", "/data")
    tree.loop("loop0", tree.numbers["nvme1n1"])
    tree.mount("loop0", "/var/log/audit", "ext4")
    assert not look(DATA)[0]


def test_an_image_file_on_a_frozen_file_system_is_frozen_first(tree):
    tree.disk("nvme1n1", DATA)
    tree.mount("nvme1n1", "/data")
    tree.loop("loop0", tree.numbers["nvme1n1"])
    tree.mount("loop0", "/data/inner", "ext4")
    tree.loop("loop1", tree.numbers["loop0"])
    tree.mount("loop1", "/data/inner/most", "xfs")
    plan, points = plan_of(tree, DATA)
    assert (plan.claims, points) == ((DATA,), ("/data/inner/most", "/data/inner", "/data"))


@pytest.mark.parametrize(
    ("kind", "is_claimed"),
    [
        pytest.param("vfat", False, id="one that is written and cannot be frozen"),
        pytest.param("squashfs", True, id="one that is never written"),
        pytest.param(None, False, id="one that is not mounted"),
    ],
)
def test_an_image_file_that_cannot_be_frozen(tree, look, kind, is_claimed):
    tree.disk("nvme1n1", DATA)
    tree.mount("nvme1n1", "/data")
    tree.disk("nvme2n1", MORE)
    tree.mount("nvme2n1", "/more")
    tree.loop("loop0", tree.numbers["nvme1n1"])
    if kind:
        tree.mount("loop0", "/mnt/image", kind)
    assert look(DATA, MORE)[:3] == (True, [DATA, MORE] if is_claimed else [MORE], ["/data", "/more"])


def test_a_file_system_partly_outside_the_set_is_not_claimed(tree, look):
    tree.on_top("dm-0", tree.disk("nvme1n1", DATA), tree.disk("nvme2n1", MORE))
    tree.mount("dm-0", "/data")
    is_ready, claimed, _, warnings = look(DATA)
    assert (is_ready, claimed) == (False, [])
    assert f"volume {DATA} is not claimed: /data needs nvme2n1 ({MORE}), which is not in this set" in warnings


def test_a_cache_on_the_instance_store_is_not_in_any_set(tree, look):
    backing, cache = tree.disk("nvme1n1", DATA), tree.disk("nvme2n1")
    tree.on_top("bcache0", backing)
    tree.below(tree.base / "sys/block/bcache0", backing, cache)
    tree.mount("bcache0", "/data", "ext4")
    for volume_ids in ((DATA,), ()):
        _, claimed, mounts, warnings = look(*volume_ids)
        assert (claimed, mounts) == ([], ["/data"])
        assert "/data needs nvme2n1, which is not in this set" in warnings


@pytest.mark.parametrize("kind", ["xfs", "ext4"])
def test_a_log_on_another_disk_must_be_in_the_set(tree, look, kind):
    tree.disk("nvme1n1", DATA)
    tree.disk("nvme2n1", MORE)
    if kind == "ext4":
        tree.journals["nvme1n1"] = tree.numbers["nvme2n1"]
    tree.mount("nvme1n1", "/data", kind, options="rw,logdev=/dev/nvme2n1" if kind == "xfs" else "rw")
    assert look(DATA, MORE)[:3] == (True, [DATA, MORE], ["/data"])
    is_ready, claimed, _, warnings = look(DATA)
    assert (is_ready, claimed) == (False, [])
    assert "/data needs nvme2n1" in warnings


def test_a_database_on_the_root_volume_is_proved_by_its_lock(tree):
    plan, _ = plan_of(tree, ROOT, needs={"nvme0n1p1": "/var/lib/mysql"}, lock_suffices=True)
    assert (plan.faults, plan.claims, plan.freeze, plan.notes) == ((), (ROOT,), (), ())
    assert plan.sync == (tree.numbers["nvme0n1p1"],)


def test_a_database_that_nothing_holds_is_refused(tree):
    plan, _ = plan_of(tree, ROOT, needs={"nvme0n1p1": "/var/lib/postgresql"})
    assert plan.faults == ("/var/lib/postgresql: / is never frozen (/ must stay writable)",)


def test_a_database_with_a_part_outside_the_set_is_refused(tree):
    tree.disk("nvme1n1", DATA)
    tree.mount("nvme1n1", "/data")
    tree.disk("nvme2n1", MORE)
    tree.mount("nvme2n1", "/wal")
    tree.disk("nvme3n1")
    tree.mount("nvme3n1", "/scratch")
    needs = {"nvme1n1": "/data", "nvme2n1": "/wal", "nvme3n1": "/scratch"}
    plan, _ = plan_of(tree, DATA, needs=needs, lock_suffices=True)
    assert plan.faults == (
        "the database needs /scratch, which is on no EBS volume known here",
        f"volume {MORE} holds a part of the database and is not in this set of snapshots",
    )


@pytest.fixture
def xen(tmp_path):
    """An older instance, whose disks do not know their volume."""
    made = Tree(tmp_path / "xen")
    made.disk("xvda")
    made.disk("xvda1", within="xvda")
    made.mount("xvda1", "/", "ext4")
    made.disk("xvdf")
    made.mount("xvdf", "/data", "ext4")
    return made


def test_xen_finds_a_volume_by_the_attachments_device_name(xen):
    blind, _ = plan_of(xen, DATA)
    assert "volumeDevices" in blind.faults[0]
    for name in ("/dev/sdf", "/dev/xvdf"):
        told, _ = plan_of(xen, ROOT, DATA, devices={ROOT: "/dev/sda1", DATA: name})
        assert (told.faults, told.claims) == ((), (DATA,))
    everything, points = plan_of(xen)
    assert (everything.faults, everything.claims, points) == ((), (), ("/data",))


def test_xen_with_shifted_letters_is_not_guessed(xen):
    block = xen.base / "sys/block"
    (block / "xvda").rename(block / "xvde")
    told, _ = plan_of(xen, DATA, devices={DATA: "/dev/sdf"})
    assert told.faults


def test_a_fact_that_cannot_be_read_is_an_error(tree, look):
    """A gap could be a claim."""
    tree.disk("nvme1n1", DATA)
    tree.mount("nvme1n1", "/data")
    (tree.base / "sys/block/nvme1n1/device/serial").unlink()
    (tree.base / "sys/block/nvme1n1/device/serial").mkdir()
    with pytest.raises(IsADirectoryError):
        look(DATA)
