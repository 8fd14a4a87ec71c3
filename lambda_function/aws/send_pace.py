"""Keeps `SendCommand` within its rate limit, which AWS does not publish, so that no thaw waits behind a freeze.

Nothing is held back until SSM refuses a command. From then on this is a token bucket whose rate each refusal lowers and
time raises. An instance is frozen only if the thaws of all that are frozen could be sent soon, and waiting thaws go
first.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

FIRST_PER_SECOND = 5.0
"""The rate assumed at the first refusal. Reports from the field fit limits of 3 to 20 a second."""

BURST = 5.0
"""Commands that may be sent at once after a pause."""

SLOWER = 0.7
SLOWEST_PER_SECOND = 0.5
"""A refusal multiplies the rate by SLOWER, down to this."""

RECOVERY_SECONDS = 60.0
"""Time in which the rate rises by FIRST_PER_SECOND."""

REFUSALS_COUNT_ONCE_SECONDS = 1.0
"""Commands sent together are refused together; those refusals count as one."""

LATE_SECONDS = 0.2

THAWED_WITHIN_SECONDS = 1.0
"""How long the last of all frozen instances may wait for its thaw to be sent, if all need it at once."""


class SendPace:
    """One account's and Region's; safe to use from several threads. `now` returns seconds."""

    def __init__(self, now: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self._now = now
        self._sleep = sleep
        self._rate: float | None = None
        self._tokens = 0.0
        self._seen_at = self._refused_at = float("-inf")
        self._to_thaw = 0
        self._waiting = 0
        self._lock = threading.Lock()

    @contextmanager
    def admitted(self, instances: int, wait: Callable[[float], None]) -> Iterator[None]:
        """Wait until so many instances may be frozen; room for their thaws is kept while the context lasts.

        `wait` sleeps that many seconds. What it raises ends the waiting.
        """
        while not self._admits(instances):
            wait(self._pause())
        try:
            yield
        finally:
            with self._lock:
                self._to_thaw -= instances

    def take(self, is_late: Callable[[], bool] = lambda: False) -> None:
        """Return when a thaw, or another command that freezes nothing, may be sent.

        Where `is_late`, it is sent without a token, after a moment: to be refused costs nothing then.
        """
        with self._lock:
            self._waiting += 1
        try:
            while not self._takes_one():
                if is_late():
                    self._sleep(LATE_SECONDS)
                    return
                self._sleep(self._pause())
        finally:
            with self._lock:
                self._waiting -= 1

    def refused(self) -> None:
        """SSM refused a command for its rate: empty the bucket and lower the rate."""
        with self._lock:
            self._refill()
            self._tokens = 0.0
            now = self._now()
            if now - self._refused_at >= REFUSALS_COUNT_ONCE_SECONDS:
                self._refused_at = self._seen_at = now
                slower = FIRST_PER_SECOND if self._rate is None else self._rate * SLOWER
                self._rate = max(slower, SLOWEST_PER_SECOND)

    def _admits(self, instances: int) -> bool:
        with self._lock:
            self._refill()
            if self._rate is not None:
                soon = self._tokens + self._rate * THAWED_WITHIN_SECONDS
                is_room = self._to_thaw == 0 or soon >= instances + self._to_thaw
                if self._waiting or not is_room or self._tokens < min(instances, BURST):
                    return False
                self._tokens -= min(instances, self._tokens)
            self._to_thaw += instances
            return True

    def _takes_one(self) -> bool:
        with self._lock:
            self._refill()
            if self._rate is not None:
                if self._tokens < 1.0:
                    return False
                self._tokens -= 1.0
            return True

    def _pause(self) -> float:
        """Seconds until the next token, at most one."""
        with self._lock:
            return min(max((1.0 - self._tokens) / (self._rate or FIRST_PER_SECOND), 0.05), 1.0)

    def _refill(self) -> None:
        if self._rate is None:
            return
        now = self._now()
        elapsed, self._seen_at = max(now - self._seen_at, 0.0), now
        self._tokens = min(BURST, self._tokens + elapsed * self._rate)
        self._rate += elapsed * FIRST_PER_SECOND / RECOVERY_SECONDS
