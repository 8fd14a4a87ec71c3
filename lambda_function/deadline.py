"""The time a run has left and its clocks, so that no step starts that cannot finish."""

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
        """Raise OutOfTimeError if less than `seconds` remain."""
        left = self.time_left()
        if left < seconds:
            raise OutOfTimeError(f"not begun: {max(left, 0):.0f} s left, {seconds:.0f} s needed")

    def wait(self, seconds: float, reserve: float) -> None:
        """Sleep; raise OutOfTimeError if that would leave less than `reserve` seconds."""
        self.require(seconds + reserve)
        self.sleep(seconds)
