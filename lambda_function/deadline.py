"""The time a run has left and its clocks, so that no step is begun that cannot be finished."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from lambda_function.errors import OutOfTimeError


@dataclass(frozen=True)
class Deadline:
    """`time_left` gives the seconds that remain; `sleep` waits that many seconds.

    `elapsed` is a monotonic clock in seconds, `now` the wall clock (aware).
    """

    time_left: Callable[[], float]
    sleep: Callable[[float], None]
    elapsed: Callable[[], float]
    now: Callable[[], datetime]

    def require(self, seconds: float) -> None:
        """Raise OutOfTimeError when less than `seconds` remain."""
        left = self.time_left()
        if left < seconds:
            raise OutOfTimeError(f"not begun: {max(left, 0):.0f} s left, {seconds:.0f} s needed")

    def wait(self, seconds: float, reserve: float) -> None:
        """Sleep, unless that would leave less than `reserve` seconds: then raise OutOfTimeError."""
        self.require(seconds + reserve)
        self.sleep(seconds)
