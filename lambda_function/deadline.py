"""The time a run has left and its clocks, so that no step starts that cannot finish or is no longer wanted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from lambda_function.errors import OutOfTimeError
from lambda_function.interruption import Interruption

SLICE_SECONDS = 0.5
"""An interruption ends a wait within this time."""


@dataclass(frozen=True)
class Deadline:
    """`time_left` gives the seconds that remain; `sleep` waits that many seconds.

    `elapsed` is a monotonic clock in seconds, `now` the wall clock (aware). `interruption` ends `require` and `wait`
    only, so what thaws an instance uses neither.
    """

    time_left: Callable[[], float]
    sleep: Callable[[float], None]
    elapsed: Callable[[], float]
    now: Callable[[], datetime]
    interruption: Interruption = field(default_factory=Interruption)

    def require(self, seconds: float) -> None:
        """Raise OutOfTimeError if less than `seconds` remain, and InterruptedRunError if the run was interrupted."""
        self.interruption.check()
        left = self.time_left()
        if left < seconds:
            raise OutOfTimeError(f"not begun: {max(left, 0):.0f} s left, {seconds:.0f} s needed")

    def wait(self, seconds: float, reserve: float) -> None:
        """Sleep; raise OutOfTimeError if that would leave less than `reserve` seconds, and like `require`."""
        self.require(seconds + reserve)
        while seconds > SLICE_SECONDS:
            self.sleep(SLICE_SECONDS)
            seconds -= SLICE_SECONDS
            self.interruption.check()
        self.sleep(seconds)
        self.interruption.check()
