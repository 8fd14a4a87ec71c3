"""The kernel's calls: freeze, thaw and look at a file system by an open descriptor, and lock memory."""

import ctypes
import errno
import fcntl
import os
from typing import Optional

from documents.layout import Mount, number_text

FIFREEZE = 0xC0045877
FITHAW = 0xC0045878
MCL_CURRENT_AND_FUTURE = 3


def open_mount(mount: Mount) -> Optional[int]:
    """A descriptor of the mount's directory, or None where another mount lies over it."""
    try:
        directory = os.open(mount.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if number_text(os.fstat(directory).st_dev) == mount.number:
        return directory
    os.close(directory)
    return None


def freeze(directory: int) -> None:
    """Writes the file system out and holds every further write; EBUSY if somebody else has frozen it."""
    fcntl.ioctl(directory, FIFREEZE, 0)


def thaw(directory: int) -> bool:
    """Whether the file system was frozen; it is not, afterwards. OSError if that cannot be said."""
    try:
        fcntl.ioctl(directory, FITHAW, 0)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return False
    return True


def sync_filesystem(directory: int) -> None:
    """Writes one file system out; others, whose storage may stall, are left alone."""
    call("syncfs", directory)


def lock_memory() -> None:
    """Keeps all of this process in memory, since what it would be read back from may be frozen."""
    call("mlockall", MCL_CURRENT_AND_FUTURE)


def call(name: str, argument: int) -> None:
    """A call of the C library that Python does not have."""
    if getattr(ctypes.CDLL(None, use_errno=True), name)(argument):
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")
