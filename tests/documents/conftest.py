"""Real file systems on loop devices, standing in for EBS volumes; whatever a test did, nothing is left behind."""

import contextlib
import hashlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.documents.agent import Agent, document_content

STATE = Path("/run/auto-snapshots")
BY_ID = Path("/dev/disk/by-id")
PROBES: list[subprocess.Popen[bytes]] = []


def sh(*arguments, check=True, **options):
    """Runs a command; when it fails, the test's error says what it printed."""
    done = subprocess.run(arguments, check=False, capture_output=True, text=True, timeout=120, **options)
    if check and done.returncode:
        raise AssertionError(f"{arguments} exited with {done.returncode}: {done.stdout}{done.stderr}")
    return done


@dataclass
class Disk:
    """A loop device that udev's link calls an EBS volume, with a mounted file system."""

    volume_id: str
    image: Path
    loop: str
    mount: Path

    def fingerprint(self):
        """Of every byte of the volume, as a snapshot would see it; holes are skipped, for speed."""
        digest, at = hashlib.blake2b(), 0
        with self.image.open("rb") as file, contextlib.suppress(OSError):  # no data beyond here
            while True:
                start = os.lseek(file.fileno(), at, os.SEEK_DATA)
                at = os.lseek(file.fileno(), start, os.SEEK_HOLE)
                digest.update(f"{start} {at}".encode())
                digest.update(os.pread(file.fileno(), at - start, start))
        return digest.hexdigest()

    def is_writable(self, within):
        """Whether a file can be made within so many seconds."""
        began = time.monotonic()
        probe = subprocess.Popen(["sh", "-c", 'echo x >"$0/probe"', str(self.mount)])
        try:
            probe.wait(timeout=within)
        except subprocess.TimeoutExpired:
            PROBES.append(probe)  # it ends with the thaw
            return False
        return probe.returncode == 0 and time.monotonic() - began <= within


class Disks:
    """Makes disks, and takes them away again."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self._undo = contextlib.ExitStack()
        self._mounts: list[Path] = []

    def attach(self, image: Path | str) -> str:
        loop = sh("losetup", "--find", "--show", str(image)).stdout.strip()
        self._undo.callback(sh, "losetup", "--detach", loop, check=False)
        return loop

    def mount(self, loop: str, point: Path, *options: str) -> None:
        point.mkdir(parents=True, exist_ok=True)
        sh("mount", *options, loop, str(point))
        self._mounts.append(point)
        self._undo.callback(sh, "umount", "--lazy", str(point), check=False)

    def link(self, loop: str) -> str:
        serial = "vol" + secrets.token_hex(9)[:17]
        BY_ID.mkdir(parents=True, exist_ok=True)
        link = BY_ID / f"nvme-Amazon_Elastic_Block_Store_{serial}"
        link.symlink_to(f"../../{Path(loop).name}")
        self._undo.callback(link.unlink, missing_ok=True)
        return serial.replace("vol", "vol-")

    def image(self, kind: str, size_mb: int) -> Path:
        image = self.base / f"{secrets.token_hex(4)}.img"
        with image.open("wb") as file:
            file.truncate(size_mb << 20)
        sh(f"mkfs.{kind}", "-q", "-F" if kind == "ext4" else "-f", str(image))
        return image

    def make(self, kind: str, name: str | None = None, size_mb: int | None = None) -> Disk:
        image = self.image(kind, size_mb or {"xfs": 320}.get(kind, 64))
        loop = self.attach(image)
        mount = self.base / (name or f"mount-{image.stem}")
        self.mount(loop, mount)
        return Disk(self.link(loop), image, loop, mount)

    def thaw(self):
        for point in self._mounts:
            sh("fsfreeze", "-u", str(point), check=False)

    def close(self):
        self.thaw()
        while PROBES:
            PROBES.pop().wait(timeout=30)
        self._undo.close()


@pytest.fixture
def base():
    """A directory that may be frozen, which nothing below /tmp is, and that servers' own users can reach."""
    directory = Path(tempfile.mkdtemp(dir="/mnt"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def disks(base):
    if os.geteuid():
        pytest.fail("these tests mount and freeze file systems: run them as root, with make test-system")
    made = Disks(base)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def no_state():
    """Each test begins on an instance where nothing was ever frozen."""
    shutil.rmtree(STATE, ignore_errors=True)
    yield
    for pid in processes():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    shutil.rmtree(STATE, ignore_errors=True)


def processes():
    """The keeper, and the holders that it made: one for each file system."""
    return [int(pid) for pid in sh("pgrep", "-f", f"{STATE}/", check=False).stdout.split()]


def keepers():
    """The keeper alone, which leads a session of its own."""
    return [pid for pid in processes() if os.getsid(pid) == pid]


@pytest.fixture
def agent(tmp_path):
    return Agent(tmp_path / "orchestration")


@pytest.fixture
def filesystem():
    return document_content("FilesystemDocument")


@pytest.fixture
def execution_id():
    return str(uuid.uuid4())


WRITER = """
import os, sys, time
with open(sys.argv[1], "ab", buffering=0) as file:
    while True:
        file.write(os.urandom(64))
        os.fsync(file.fileno())
        file.truncate(0) if file.tell() > 1 << 20 else None
"""


@pytest.fixture
def write_to(disks):
    """Starts a writer on a disk that never stops by itself; returns a function that tells how much it wrote."""
    writers: list[subprocess.Popen[bytes]] = []

    def start(disk):
        path = disk.mount / f"written-{len(writers)}"
        writers.append(subprocess.Popen([sys.executable, "-c", WRITER, str(path)]))
        end = time.monotonic() + 10
        while not (path.exists() and path.stat().st_size) and time.monotonic() < end:
            time.sleep(0.02)
        return lambda: path.stat().st_mtime_ns

    yield start
    disks.thaw()
    for writer in writers:
        writer.kill()
        writer.wait(timeout=30)
