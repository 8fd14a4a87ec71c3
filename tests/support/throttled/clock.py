"""Service time: a clock up to eight times as fast as the machine's, or slower, the same in every process.

A process under test has its `time` module put on this clock before anything of AWS is imported, so that
botocore's limiters and back-offs and the function's own waiting live in service time. What a C function
waits for does not: sockets' time-outs and `Lock.acquire(timeout=...)` stay in the machine's seconds, so
that a read time-out of ten seconds is eighty seconds of service time at factor 8. Benchmarks lose no answers, so
none is waited for that long.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

MOST = 8.0

_time, _sleep, _monotonic = time.time, time.sleep, time.monotonic
_process_time = time.process_time


@dataclass(frozen=True)
class ServiceClock:
    """`factor` seconds pass in one of the machine's since its moment `epoch`, when it was five past the hour here.

    So the slot of a run does not end on the way, whenever it is measured.
    """

    factor: float
    epoch: float

    def __post_init__(self) -> None:
        if not 0 < self.factor <= MOST:
            raise ValueError(f"time factor {self.factor}: must be above 0 and at most {MOST:.0f}")

    @classmethod
    def starting_now(cls, factor: float) -> ServiceClock:
        return cls(factor, _time())

    def time(self) -> float:
        begins = self.epoch - self.epoch % 3600 + 300
        return begins + (_time() - self.epoch) * self.factor

    def monotonic(self) -> float:
        return _monotonic() * self.factor

    def sleep(self, seconds: float) -> None:
        _sleep(seconds / self.factor)

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.time(), UTC)

    def install(self) -> None:
        """Put this process on service time, for good. Call it before botocore is imported."""
        here = cast("Any", time)
        here.time, here.sleep = self.time, self.sleep
        here.monotonic = here.perf_counter = self.monotonic
        here.time_ns = lambda: int(self.time() * 1e9)
        here.monotonic_ns = here.perf_counter_ns = lambda: int(self.monotonic() * 1e9)
        cast("Any", threading)._time = cast("Any", queue).time = self.monotonic
        threading.Condition.wait = _scaled(threading.Condition.wait, self.factor)  # type: ignore[method-assign]


def _scaled(wait: Callable[..., bool], factor: float) -> Callable[..., bool]:
    """Whatever waits in Python's own library, events and semaphores too, waits on a condition."""

    def scaled(condition: threading.Condition, timeout: float | None = None) -> bool:
        return wait(condition, timeout if timeout is None else timeout / factor)

    return scaled


def machine_seconds() -> tuple[float, float]:
    """The machine's own: wall and this process's CPU."""
    return _monotonic(), _process_time()
