"""The time a run has left and its clocks, so that no step starts that cannot finish or is no longer wanted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from lambda_function.errors import OutOfTimeError
from lambda_function.interruption import Interruption

SLICE_SECONDS = 0.5
"""An interruption ends a wait within this time."""


Result = TypeVar("Result")


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

    def bounded(self, read: Callable[[], Result], reserve: float) -> Result:
        """What `read` returns or raises; OutOfTimeError if it has not ended when `reserve` seconds remain.

        It is then left to itself in a thread that keeps no process alive, so it must not write anything.
        """
        results: list[Result] = []
        errors: list[BaseException] = []

        def work() -> None:
            try:
                results.append(read())
            except BaseException as error:  # noqa: BLE001  # raised again in the thread that waits
                errors.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(max(self.time_left() - reserve, 0))
        if thread.is_alive():
            raise OutOfTimeError(f"given up: not ended with {reserve:.0f} s left")
        for error in errors:
            raise error
        return results[0]
