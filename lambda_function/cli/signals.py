"""What Ctrl-C, SIGTERM and SIGHUP do to a run or hook check.

The first one interrupts: nothing more is begun, what is frozen is thawed, and the report follows. The second one ends
the process where nothing is frozen, and else names what is. The third one ends it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

from lambda_function.escapes import escaped
from lambda_function.interruption import Interruption

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP

ONE_SIGNAL_SECONDS = 0.5
"""Signals within this time count as one. A terminal that is closed sends SIGHUP by way of the shell and by itself, and
a supervisor may send SIGTERM and SIGHUP together: that is no wish to leave an instance frozen."""

CLEAR_LINE, SHOW_CURSOR = "\r\x1b[2K", "\x1b[?25h"
"""For a terminal: the progress bar stands in the line, and hides the cursor."""

LEFT_FROZEN = (
    "The shipped documents thaw by themselves, at most twice hook_timeout_seconds after they began. Others may not: "
    "check these instances"
)


def exit_code(number: int) -> int:
    """As a shell counts it."""
    return 128 + number


class SignalHandlers:
    """In force while the context lasts. `number` is the first signal that came, None if there was none.

    Until the run begins to carry out its plan there is nothing to put in order, and a signal raises KeyboardInterrupt.
    A signal that is ignored (nohup) stays ignored.
    """

    def __init__(self, interruption: Interruption, now: Callable[[], float] = time.monotonic) -> None:
        self.number: int | None = None
        self._interruption = interruption
        self._now = now
        self._signals = 0
        self._counted_at = float("-inf")
        self._is_terminal = sys.stderr.isatty()
        self._replaced: dict[int, Any] = {}

    def __enter__(self) -> Self:
        # Python hands signals to the main thread, and lets no other set a handler.
        if threading.current_thread() is threading.main_thread():
            for number in (getattr(signal, name) for name in NAMES if hasattr(signal, name)):
                replaced = signal.getsignal(number)
                if replaced not in (signal.SIG_IGN, None):
                    self._replaced[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, replaced in self._replaced.items():
            signal.signal(number, replaced)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self.number = self.number or number
        if not self._interruption.has_begun:
            raise KeyboardInterrupt
        if self._now() - self._counted_at < ONE_SIGNAL_SECONDS:
            return
        self._counted_at = self._now()
        self._signals += 1
        # Set before it is asked what is held: no freeze begins in between.
        self._interruption.set()
        held = ", ".join(self._interruption.held)
        match self._signals:
            case 1:
                self._interrupt(held)
            case 2 if held:
                self._say(f"still being thawed: {held}. Once more ends at once and leaves them frozen")
            case _:
                self._end(number, held)

    def _interrupt(self, held: str) -> None:
        if held:
            self._say(f"interrupted: nothing more is begun. Thawed first, then reported: {held}")
        else:
            self._say("interrupted: nothing more is begun, the report follows. Once more ends at once, without it")

    def _end(self, number: int, held: str) -> None:
        if held:
            self._say(f"ended, and left frozen: {held}. {LEFT_FROZEN}")
        else:
            self._say("ended: what was begun may be done; status says how every volume stands")
        if self._is_terminal:
            _write(SHOW_CURSOR)
        os._exit(exit_code(number))

    def _say(self, text: str) -> None:
        _write(f"{CLEAR_LINE if self._is_terminal else ''}{escaped(text)}\n")


def _write(text: str) -> None:
    """Write to the error stream past Python's own, whose lock the interrupted code may hold.

    The terminal may be gone.
    """
    with contextlib.suppress(OSError):
        os.write(2, text.encode())
