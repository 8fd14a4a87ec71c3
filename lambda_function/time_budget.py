"""The time a run has left, so that no step is begun that cannot be finished."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lambda_function.errors import OutOfTimeError


@dataclass(frozen=True, slots=True)
class TimeBudget:
    """`time_left` gives the seconds that remain; `sleep` waits that many seconds."""

    time_left: Callable[[], float]
    sleep: Callable[[float], None]

    def require(self, seconds: float) -> None:
        """Raise OutOfTimeError when less than `seconds` remain."""
        left = self.time_left()
        if left < seconds:
            raise OutOfTimeError(f"not begun: {max(left, 0):.0f} s left, {seconds:.0f} s needed")

    def wait(self, seconds: float, reserve: float) -> None:
        """Sleep, unless that would leave less than `reserve` seconds: then raise OutOfTimeError."""
        self.require(seconds + reserve)
        self.sleep(seconds)
