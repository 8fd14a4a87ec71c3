"""Which file systems a freeze of EBS volumes covers, and which volumes it proves.

Facts come from the kernel's tables only, since lsblk has no MOUNTPOINTS before util-linux 2.37. A fact that cannot be
read is an error, never a gap: a claim must not rest on what was not seen. Devices are named by number, "259:3".
"""

import fcntl
import os
import re
import struct
from typing import Dict, FrozenSet, Iterable, List, NamedTuple, Optional, Sequence, Set, Tuple

FREEZABLE = ("xfs", "ext4")
NEVER_WRITTEN = ("squashfs", "iso9660", "erofs", "cramfs")
# What agent, log and thaw need. A mount that holds one of these is never frozen,
HELD_BY = ("/", "/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/sbin", "/snap", "/usr", "/var/snap", "/var/tmp")
# and of these not even a mount below it.
AROUND = ("/run", "/tmp", "/var/lib/amazon", "/var/log")
LOOP_GET_STATUS64 = 0x4C05


class Mount(NamedTuple):
    """A line of mountinfo; point and options are as the kernel writes them, with blanks as \\040."""

    number: str
    kind: str
    point: str
    options: str

    @property
    def path(self) -> str:
        """The mount point as the path that it is."""
        raw = re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found.group(1), 8)]), os.fsencode(self.point))
        return os.fsdecode(raw)

    def option(self, name: str) -> Optional[str]:
        """The value of an option of the file system, as in logdev=/dev/sdg."""
        for word in self.options.split(","):
            if word.startswith(name + "="):
                return word[len(name) + 1 :]
        return None


class System:
    """Where the kernel's tables are, and what only a call tells. Tests put recorded trees in its place."""

    sys = "/sys"
    proc = "/proc"
    dev = "/dev"

    def device_of(self, path: str) -> Optional[str]:
        """The number of the device on which a path lies; None if there is no such path."""
        try:
            return number_text(os.stat(path).st_dev)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def resolved(self, path: str) -> str:
        """The path without symbolic links."""
        return os.path.realpath(path)

    def loop_file(self, name: str) -> str:
        """The device on which the file behind a loop device lies, or that it is, whatever its path is (loop(4))."""
        device = os.open(self.dev + "/" + name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            status = fcntl.ioctl(device, LOOP_GET_STATUS64, bytes(232))
        finally:
            os.close(device)
        file_system, _, block_device = struct.unpack_from("=QQQ", status)
        return number_text(block_device or file_system)

    def journal(self, name: str) -> Optional[str]:
        """The device with an ext4 file system's journal, if that is another (the superblock's s_journal_dev)."""
        device = os.open(self.dev + "/" + name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            block = os.pread(device, 1024, 1024)
        finally:
            os.close(device)
        (features,) = struct.unpack_from("<I", block, 0x5C)
        inode, outside = struct.unpack_from("<II", block, 0xE0)
        if not features & 0x4 or inode:
            return None
        return f"{(outside & 0xFFF00) >> 8}:{(outside & 0xFF) | ((outside >> 12) & 0xFFF00)}"


def number_text(device: int) -> str:
    """As mountinfo writes a device's number."""
    return f"{os.major(device)}:{os.minor(device)}"


def read_text(path: str) -> Optional[str]:
    """A small file's text; None where there is none. Any other trouble is raised."""
    try:
        with open(path, "rb") as file:
            return os.fsdecode(file.read()).rstrip("\n")
    except (FileNotFoundError, NotADirectoryError):
        return None


def names_in(path: str) -> List[str]:
    """The names in a directory, sorted; none where there is no directory."""
    try:
        return sorted(os.listdir(path))
    except (FileNotFoundError, NotADirectoryError):
        return []


def read_mounts(system: System) -> Tuple[Mount, ...]:
    """The mounts that this process sees, in the kernel's order."""
    with open(system.proc + "/self/mountinfo", "rb") as file:
        lines = os.fsdecode(file.read()).split("\n")
    mounts = []
    for line in lines:
        if line:
            before, after = line.split(" - ", 1)
            kind, _, options = after.split(" ", 2)
            number, _, point = before.split(" ")[2:5]
            mounts.append(Mount(number, kind, point, options))
    return tuple(mounts)


class Layout(NamedTuple):
    """Mounts, and what is built on what: partitions, LVM, RAID, encryption, caches, logs, image files."""

    mounts: Tuple[Mount, ...]
    names: Dict[str, str]  # of block devices, by number
    below: Dict[str, Set[str]]  # what each number is built on
    volumes: Dict[str, str]  # the disks whose volume is known

    def foundation(self, numbers: Iterable[str]) -> FrozenSet[str]:
        """These and all that they are built on."""
        return closure(numbers, self.below)

    def disks_of(self, number: str) -> List[str]:
        """What a device comes down to in the end."""
        found = self.foundation([number])
        return sorted(one for one in found if one in self.volumes or not self.below.get(one))

    def built_on(self, numbers: Iterable[str]) -> FrozenSet[str]:
        """These and all that is built on them."""
        above: Dict[str, Set[str]] = {}
        for upper, lowers in self.below.items():
            for lower in lowers:
                above.setdefault(lower, set()).add(upper)
        return closure(numbers, above)

    def mount_of(self, number: str) -> Optional[Mount]:
        """The first mount of a device."""
        return next((mount for mount in self.mounts if mount.number == number), None)

    def name(self, number: str) -> str:
        """For a message: the kernel's name and the volume, as far as they are known."""
        name = self.names.get(number, "device " + number)
        return f"{name} ({self.volumes[number]})" if number in self.volumes else name


def closure(start: Iterable[str], edges: Dict[str, Set[str]]) -> FrozenSet[str]:
    """All that can be reached, the start included."""
    found: Set[str] = set()
    rest = list(start)
    while rest:
        one = rest.pop()
        if one not in found:
            found.add(one)
            rest.extend(edges.get(one, ()))
    return frozenset(found)


def read_layout(system: System, volume_devices: Dict[str, str], is_named: bool) -> Layout:
    """Of the whole instance. Where volumes need not be named, Xen's disks count under names of our own."""
    nodes = block_devices(system)
    numbers = {name: number for name, (number, _) in nodes.items()}
    below: Dict[str, Set[str]] = {number: set() for number in numbers.values()}
    for name, (number, path) in nodes.items():
        for lower in names_in(path + "/slaves"):
            below[number].add(numbers[lower])
        for upper in names_in(path + "/holders"):
            below[numbers[upper]].add(number)
        if read_text(path + "/partition") is not None:
            below[number].add(numbers[os.path.basename(os.path.dirname(path))])
        if read_text(path + "/loop/backing_file") is not None:
            below[number].add(system.loop_file(name))
    disks = volumes_of_disks(system, nodes, volume_devices, is_named)
    volumes = {numbers[name]: volume for name, volume in disks.items()}
    below.update({number: set() for number in volumes})  # whatever a disk is made of, a volume is the end
    names = {number: name for name, number in numbers.items()}
    mounts = read_mounts(system)
    for mount in mounts:
        for option in ("logdev", "rtdev"):  # XFS
            device = mount.option(option)
            if device:
                below.setdefault(mount.number, set()).add(numbers[os.path.basename(system.resolved(device))])
    return Layout(mounts, names, below, volumes)


def add_journals(layout: Layout, system: System, kept: Dict[str, str]) -> None:
    """Adds what only an ext4 superblock tells; it is read where a freeze may come into question."""
    for number in layout.built_on(layout.volumes):
        mount = layout.mount_of(number)
        if mount and mount.kind == "ext4" and number not in kept:
            journal = system.journal(layout.names[number])
            if journal:
                layout.below[number].add(journal)


def block_devices(system: System) -> Dict[str, Tuple[str, str]]:
    """Number and directory of each disk and partition, by the kernel's name."""
    nodes = {}
    for disk in names_in(system.sys + "/block"):
        path = f"{system.sys}/block/{disk}"
        paths = [path] + [path + "/" + part for part in names_in(path) if part.startswith(disk)]
        for one in paths:
            number = read_text(one + "/dev")
            if number is not None:
                nodes[os.path.basename(one)] = (number, one)
    return nodes


def volumes_of_disks(
    system: System, nodes: Dict[str, Tuple[str, str]], volume_devices: Dict[str, str], is_named: bool
) -> Dict[str, str]:
    """The volume of each disk that is known, by the kernel's name."""
    found = {}
    for name, (_, path) in nodes.items():
        serial = read_text(path + "/device/serial") or ""
        if serial.startswith("vol"):
            found[name] = "vol-" + serial.split(" ")[0][3:].lstrip("-")
    by_id = system.dev + "/disk/by-id/"
    for link in names_in(by_id):
        match = re.match("^nvme-Amazon_Elastic_Block_Store_vol([0-9a-f]+)$", link)  # not of a partition or a namespace
        name = os.path.basename(system.resolved(by_id + link)) if match else ""
        if match and name in nodes:
            found[name] = "vol-" + match.group(1)
    # Xen's disks do not know their volume. The attachment's device name tells it, where the kernel has kept the
    # letters; some kernels shifted them (sda became xvde), and there a name would point to another volume.
    if "xvda" in nodes or "xvda1" in nodes:
        for volume, device in volume_devices.items():
            name = re.sub("^sd", "xvd", device[len("/dev/") :])
            name = name if name in nodes else name.rstrip("0123456789")
            if name in nodes:
                found[name] = volume
    if not is_named:
        for name, (_, path) in nodes.items():
            if name.startswith("xvd") and name not in found and read_text(path + "/partition") is None:
                found[name] = ""
    return found


def never_frozen(layout: Layout, system: System, ours: Sequence[str]) -> Dict[str, str]:
    """The devices that are never frozen, each with the path for which it is needed; `ours` are this program's own."""
    if not any(mount.point == "/" for mount in layout.mounts):
        raise LookupError("the mount of / is not to be found, so nothing is safe to freeze")
    points = [(mount.number, mount.path) for mount in layout.mounts]
    kept: Dict[str, str] = {}
    for path in HELD_BY + AROUND + tuple(ours):
        lies_on = system.device_of(path)
        if lies_on:
            kept.setdefault(lies_on, path)
        for known in {path, system.resolved(path)}:
            for number, point in points:
                if is_within(known, point) or (path in AROUND and is_within(point, known)):
                    kept.setdefault(number, path)
    # What these lie on in turn: by the layout; and by an overlay's directories, if it is not one that a container
    # runtime mounts below /run for its container alone.
    edges = {number: set(lower) for number, lower in layout.below.items()}
    for mount in layout.mounts:
        if mount.kind == "overlay" and mount.number in kept and not mount.path.startswith("/run/"):
            found = (system.device_of(path) for path in overlay_directories(mount))
            edges.setdefault(mount.number, set()).update(number for number in found if number)
    for number, path in list(kept.items()):
        for lower_one in closure([number], edges):
            kept.setdefault(lower_one, path)
    return kept


def is_within(path: str, directory: str) -> bool:
    """Whether a path is a directory or lies in it."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def overlay_directories(mount: Mount) -> List[str]:
    """The directories that an overlay shows, as far as this process can name them."""
    values = [mount.option(name) for name in ("lowerdir", "upperdir", "workdir")]
    return [path for value in values if value for path in value.split(":") if path.startswith("/")]


class Plan(NamedTuple):
    """What a pre-script does. Nothing is done where there are faults."""

    freeze: Tuple[str, ...]  # device numbers, the inner of two before the outer
    sync: Tuple[str, ...]  # what a database's lock must keep still, since it cannot be frozen
    claims: Tuple[str, ...]  # the volumes that are proved
    notes: Tuple[str, ...]
    faults: Tuple[str, ...]


def make_plan(
    layout: Layout, kept: Dict[str, str], volume_ids: Sequence[str], needs: Dict[str, str], lock_suffices: bool
) -> Plan:
    """For these volumes, or all of the instance, and the devices that a database needs, each with a path on it.

    Where lock_suffices, a database that lies on one volume is proved by its lock, since a snapshot of one volume is of
    one moment.
    """
    known = set(layout.volumes.values())
    faults = [
        f"volume {volume} is not to be found on this instance (NVMe serial, /dev/disk/by-id, volumeDevices)"
        for volume in sorted(set(volume_ids) - known)
    ]
    wanted = set(volume_ids) or known
    disks = {disk for disk, volume in layout.volumes.items() if volume in wanted}
    take, notes = covered(layout, kept, disks)
    proved = {layout.volumes[disk] for disk in disks if disk not in notes and take & layout.built_on([disk])}
    unfrozen = [
        f"{path}: {obstacle(layout, kept, number)}" for number, path in needs.items() if obstacle(layout, kept, number)
    ]
    take |= {number for number in needs if not obstacle(layout, kept, number)}
    holders = {disk for number in needs for disk in layout.disks_of(number)}
    for number, path in needs.items() if volume_ids else ():
        if not all(disk in layout.volumes for disk in layout.disks_of(number)):
            faults.append(f"the database needs {path}, which is on no EBS volume known here")
    if volume_ids:
        for disk in sorted(holders & set(layout.volumes) - disks):
            text = "volume %s holds a part of the database and is not in this set of snapshots"
            faults.append(text % layout.volumes[disk])
    sync: Tuple[str, ...] = ()
    if unfrozen and lock_suffices and len(holders) == 1 and holders <= set(layout.volumes):
        sync = tuple(sorted(number for number in needs if obstacle(layout, kept, number)))
        proved |= {layout.volumes[disk] for disk in holders}
    else:
        faults += unfrozen
    if not faults and not take and not unfrozen:
        faults = ["nothing to freeze: no XFS or ext4 file system but those that are never frozen"]
    elif not faults and not proved and volume_ids:
        faults = ["nothing to prove: no volume of this set could be claimed (see above)"]
    return Plan(
        freeze=tuple(sorted(take, key=lambda number: (-len(layout.foundation([number])), number))),
        sync=sync,
        claims=tuple(sorted(proved - {""})),
        notes=tuple(
            f"volume {layout.volumes[disk]} is not claimed: {notes[disk]}"
            for disk in sorted(notes)
            if layout.volumes[disk] and layout.volumes[disk] not in proved
        ),
        faults=tuple(faults),
    )


def covered(layout: Layout, kept: Dict[str, str], disks: Set[str]) -> Tuple[Set[str], Dict[str, str]]:
    """The devices to freeze for these disks, and for each disk that a freeze cannot prove, why."""
    take: Set[str] = set()
    notes: Dict[str, str] = {}
    inner = {lower for lowers in layout.below.values() for lower in lowers}
    for disk in sorted(disks):
        above = layout.built_on([disk])
        reasons = {number: obstacle(layout, kept, number) for number in above if layout.mount_of(number)}
        writable = {number for number, reason in reasons.items() if reason}
        for number in sorted(above):
            mount = layout.mount_of(number)
            if layout.foundation([number]) & writable - {number}:
                continue  # an image file on what is not frozen
            if not mount:
                # A leaf that is not mounted cannot be told from raw use.
                if number not in inner:
                    name = layout.names.get(number, number)
                    notes.setdefault(disk, name + " is not mounted, and might be in use without a file system")
            elif reasons[number]:
                notes.setdefault(disk, reasons[number])
            elif mount.kind in FREEZABLE:
                take.add(number)
                for other in layout.disks_of(number):
                    if other not in disks:
                        text = f"{mount.point} needs {layout.name(other)}, which is not in this set"
                        notes.setdefault(disk, text)
    return take, notes


def obstacle(layout: Layout, kept: Dict[str, str], number: str) -> str:
    """Why a device's file system cannot be frozen; empty if it can."""
    mount = layout.mount_of(number)
    if not mount:
        return "no mount"
    if number in kept:
        return f"{mount.point} is never frozen ({kept[number]} must stay writable)"
    if mount.kind not in FREEZABLE + NEVER_WRITTEN:
        return f"{mount.point} is {mount.kind}, neither XFS nor ext4"
    return ""
