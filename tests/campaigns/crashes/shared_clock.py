"""Simulated time for two processes: a number in a file that both have in memory."""

from __future__ import annotations

import mmap
import struct
from datetime import UTC, datetime
from pathlib import Path

from tests.support.clock import START


class SharedClock:
    """In place of the module `time` and of the wall clock; who sleeps moves it for everybody."""

    def __init__(self, path: Path, *, is_new: bool = False) -> None:
        if is_new:
            path.write_bytes(struct.pack("d", START.timestamp()))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), struct.calcsize("d"))

    def monotonic(self) -> float:
        seconds: float = struct.unpack("d", self._memory[:])[0]
        return seconds

    def sleep(self, seconds: float) -> None:
        self._memory[:] = struct.pack("d", self.monotonic() + seconds)

    def __call__(self) -> datetime:
        return datetime.fromtimestamp(self.monotonic(), UTC)

    @property
    def now(self) -> datetime:
        return self()

    @now.setter
    def now(self, moment: datetime) -> None:
        self._memory[:] = struct.pack("d", moment.timestamp())
