"""The process of one file system: it freezes when told, and thaws when told, when the keeper is gone, at the limit.

A process and not a thread: a thread whose storage has stalled cannot be killed, and with it the whole keeper would
stay, its sockets open, so that nobody saw it dead.
"""

import contextlib
import errno
import os
import select
import signal
import socket
import time
from typing import Callable, NamedTuple

from documents.kernel import freeze, lock_memory, sync_filesystem, thaw


class Work(NamedTuple):
    """What a holder does with its file system."""

    hold: Callable[[int], None]
    release: Callable[[int], bool]


FREEZING = Work(freeze, thaw)
SYNCING = Work(sync_filesystem, lambda _directory: True)  # a lock holds it; it only has to be on the disk


class Holder:
    """The keeper's view of such a process, which is made before anything stands still.

    Its state is `new`, `ready`, `held`, and at the end `released`, `lost` (it was not held any more), `refused` (never
    held) or `dead`.
    """

    def __init__(self, name: str, directory: int, work: Work, deadline: float, life: socket.socket) -> None:
        self.name = name
        self.directory = directory
        self.work = work
        self.state = "new"
        self.reason = ""
        self.may_hold = False
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.process = os.fork()
        if not self.process:
            try:
                keep_open(directory, theirs.fileno(), life.fileno())
                attend(directory, theirs, work, deadline)
            finally:
                os._exit(0)
        theirs.close()

    @property
    def is_over(self) -> bool:
        """Whether nothing is held."""
        return self.state in ("released", "lost", "refused")

    def tell(self, word: str) -> None:
        """Says `hold` or `release`; one that is dead says so by itself."""
        self.may_hold = self.may_hold or word == "hold"
        with contextlib.suppress(OSError):
            self.control.send(word.encode())

    def hear(self) -> None:
        """Takes its next word."""
        try:
            word = self.control.recv(1024).decode("utf-8", "replace")
        except OSError:
            word = ""
        self.state, _, self.reason = (word or "dead").partition(" ")

    def release_for_it(self) -> None:
        """For one that was killed; what it was never told to hold is not ours to thaw."""
        try:
            if self.may_hold:
                self.state = "released" if self.work.release(self.directory) else "lost"
            else:
                self.state = "refused"
        except OSError as error:
            self.reason = str(error)


def keep_open(*descriptors: int) -> None:
    """Closes all others: a copy of another holder's end would keep that one from seeing the keeper dead."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in (0, 1, 2, *descriptors):
            with contextlib.suppress(OSError):  # the listing's own is closed
                os.close(int(name))


def attend(directory: int, control: socket.socket, work: Work, deadline: float) -> None:
    """The process's life. After `held` it makes no call but to wait, to thaw and to answer."""
    end = ""
    is_ours = False
    try:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the keeper's to answer
        signal.set_wakeup_fd(-1)
        lock_memory()
        say(control, "ready")
        if next_word(control, deadline) == b"hold":
            is_ours = True
            work.hold(directory)
            say(control, "held")
            next_word(control, deadline)
    except Exception as error:
        # Frozen by somebody else: theirs to thaw. After any other error of a freeze, a thaw makes sure.
        is_ours = is_ours and getattr(error, "errno", None) != errno.EBUSY
        end = f"refused {error}"
    while is_ours:
        try:
            was_held = work.release(directory)
            is_ours = False
            end = end or ("released" if was_held else "lost")
        except OSError:
            time.sleep(0.1)  # a freeze ends, whatever fails
    say(control, end or "refused")


def say(control: socket.socket, word: str) -> None:
    """Says a word, if the keeper is there to hear it."""
    with contextlib.suppress(OSError):
        control.send(word.encode())


def next_word(control: socket.socket, deadline: float) -> bytes:
    """The keeper's next word; empty when it is gone or the limit has come."""
    poll = select.poll()
    poll.register(control, select.POLLIN)
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            return b""
        if poll.poll(left * 1000):
            return control.recv(64)
