"""Reads and writes policy files, and nothing but files.

What is shown of a file goes into logs, so a link could bring any other file there (a pull request that makes
`policies.yaml` a link to credentials); a FIFO would wait for a writer, a device may act when it is opened. No link is
followed, to wherever it leads: a file has one name here.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from lambda_function.errors import ConfigurationError

MAX_FILE_BYTES = 4 << 20
"""A thousand policies of the largest size."""

_KINDS = (
    (stat.S_ISLNK, "a link, and links are not followed"),
    (stat.S_ISDIR, "a directory, not a file"),
    (stat.S_ISFIFO, "a FIFO, not a file"),
    (stat.S_ISSOCK, "a socket, not a file"),
    (stat.S_ISBLK, "a device, not a file"),
    (stat.S_ISCHR, "a device, not a file"),
)
_SAFELY: int = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
"""Windows has none of them."""


class NotAFileError(Exception):
    """The path is no file that is read or written here; the text says what it is."""


def read_file(path: Path) -> bytes:
    """The file's bytes. Raises NotAFileError, and OSError if it cannot be read."""
    _check_file(path.lstat())
    with os.fdopen(_opened(path, os.O_RDONLY), "rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise NotAFileError(f"is larger than {MAX_FILE_BYTES} bytes")
    return content


def write_file(path: Path, text: str) -> None:
    """Create the file or replace its content. Raises NotAFileError, and OSError if it cannot be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(path):
        _check_file(path.lstat())
    with os.fdopen(_opened(path, os.O_WRONLY | os.O_CREAT), "wb") as file:
        file.truncate()
        file.write(text.encode())


def is_directory(path: Path) -> bool:
    """Whether this is a directory. Raises ConfigurationError if it is a link to one."""
    if path.is_dir() and path.is_symlink():
        raise ConfigurationError(f"{path}: is a link, and links are not followed: name {path.resolve()} itself")
    return path.is_dir()


def _opened(path: Path, flags: int) -> int:
    """A descriptor of what `path` is now, which may not be what was looked at; checked before anything is read."""
    descriptor = os.open(path, flags | _SAFELY, 0o666)
    try:
        _check_file(os.fstat(descriptor))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check_file(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = next((kind for is_kind, kind in _KINDS if is_kind(status.st_mode)), "no file")
        raise NotAFileError(f"is {kind}")
