"""Thaws without a keeper: what every process of a freeze was killed over, and what a post-script finds frozen."""

import contextlib
import os
import time
from typing import Callable, Dict, Iterable, List, NamedTuple, Sequence, Tuple

from documents.kernel import open_mount, thaw
from documents.layout import Mount

WAS_FROZEN, WAS_WRITABLE, UNSEEN = 0, 1, 2
KEEPS_TRYING = 600  # seconds, when nobody waits for it any more


class Thawed(NamedTuple):
    """What was found: the mount points that were frozen, and those that cannot be seen to be writable."""

    frozen: List[str]
    stuck: List[str]


def thaw_all(
    mounts: Iterable[Mount], numbers: Sequence[str], seconds: float, has_holders: Callable[[], bool]
) -> Thawed:
    """Thaws these devices side by side, each in a process of its own, so that one that stalls keeps no other.

    While one of their holders lives, a device that is not frozen may be about to be.
    """
    points: Dict[str, List[Mount]] = {number: [] for number in numbers}
    for mount in mounts:
        if mount.number in points:
            points[mount.number].append(mount)
    limit = time.monotonic() + seconds
    running = [(start_thaw(found, limit, has_holders), found[0].point) for found in points.values() if found]
    results = [(result_of(process, limit), point) for process, point in running]
    results += [(UNSEEN, "device " + number) for number, found in points.items() if not found]
    return Thawed(
        frozen=[point for result, point in results if result == WAS_FROZEN],
        stuck=[point for result, point in results if result == UNSEEN],
    )


def start_thaw(mounts: List[Mount], limit: float, has_holders: Callable[[], bool]) -> Tuple[int, int]:
    """The process that thaws a file system, or, where none can be had, 0 and the result."""
    try:
        process = os.fork()
    except OSError:
        return 0, thaw_one(mounts, limit, has_holders)
    if process:
        return process, 0
    result = UNSEEN
    try:
        for descriptor in range(3):  # the agent waits for whoever holds its pipes
            os.dup2(os.open(os.devnull, os.O_RDWR), descriptor)
        result = thaw_one(mounts, limit + KEEPS_TRYING, has_holders)
    finally:
        os._exit(result)


def result_of(running: Tuple[int, int], limit: float) -> int:
    """Its result; one that is not there in time is left to go on."""
    process, result = running
    while process:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.WEXITSTATUS(status) if os.WIFEXITED(status) else UNSEEN
        if time.monotonic() > limit:
            return UNSEEN
        time.sleep(0.01)
    return result


def thaw_one(mounts: List[Mount], limit: float, has_holders: Callable[[], bool]) -> int:
    """Thaws a file system by the first mount point under which it can be seen, and tries again if that fails."""
    while True:
        for mount in mounts:
            with contextlib.suppress(OSError):
                directory = open_mount(mount)
                if directory is not None:
                    could_freeze = has_holders()
                    if thaw(directory):
                        return WAS_FROZEN
                    if not could_freeze:
                        return WAS_WRITABLE
        if time.monotonic() > limit:
            return UNSEEN
        time.sleep(0.1)
