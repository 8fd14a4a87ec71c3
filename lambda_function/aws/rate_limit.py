"""Keeps calls within EC2's rate limits, because each refused call is wasted.

EC2 has a token bucket for each account, Region and API. The rates here are the published ones. Other tools may use the
same buckets, so each refusal lowers the rate, and time raises it again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

BURST = 98.0
CREATES_PER_SECOND = 5.0
TAGS_PER_SECOND = 10.0
"""Request throttling for the EC2 API: 100 tokens; snapshot creates and deletes refill 5 a second, tags 10.

Two of the 100 stay unused: EC2's bucket starts to refill when the first call arrives, and a later call may spend less
time in transit. One refusal costs more than two tokens.
"""

SLOWER = 0.8
SLOWEST = 0.1
"""A refusal multiplies the rate by SLOWER, down to SLOWEST times the published rate."""

RECOVERY_SECONDS = 100.0
"""Time in which a rate would rise from zero to the published rate."""

REFUSALS_COUNT_ONCE_SECONDS = 1.0
"""Concurrent calls are refused together; those refusals count as one."""


def _uninterrupted(what: str) -> None: ...


class TokenBucket:
    """Our estimate of one bucket; safe to use from several threads. `check` raises if the run was interrupted.

    Tokens can be held for calls that must not wait, because an instance will be frozen when they are made.
    """

    def __init__(self, per_second: float, now: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self._published = per_second
        self._rate = per_second
        self._tokens = BURST
        self._now = now
        self._sleep = sleep
        self._seen_at = now()
        self._refused_at = float("-inf")
        self._held = 0
        self._may_be_held = 0
        self._wanted = 0
        self._lock = threading.Lock()
        self.check: Callable[[str], None] = _uninterrupted

    def take(self, *, urgent: bool = False) -> None:
        """Return when a call may be made; an urgent one uses a held token, and is not interrupted."""
        while True:
            if not urgent:
                # Each attempt of a call comes here, and an earlier one may have taken effect.
                self.check("not sent, or not sent again")
            if self._takes(1, urgent=urgent):
                return
            self._sleep(self._pause(1 if urgent else 1 + self._wanted))

    @contextmanager
    def held(self, tokens: int, wait: Callable[[float], None]) -> Iterator[None]:
        """Hold so many tokens for urgent calls; until there are enough, calls that are not urgent wait as well.

        `wait` sleeps that many seconds. What it raises ends the waiting.
        """
        tokens = min(tokens, int(BURST))
        with self._lock:
            self._wanted += tokens
        try:
            while not self._takes(tokens, urgent=True, hold=True):
                wait(self._pause(tokens))
        finally:
            with self._lock:
                self._wanted -= tokens
        try:
            yield
        finally:
            with self._lock:
                self._may_be_held -= tokens
                unused = max(self._held - self._may_be_held, 0)
                self._held -= unused
                self._tokens += unused

    def _takes(self, tokens: int, *, urgent: bool, hold: bool = False) -> bool:
        """Take tokens if they are there; whether they were."""
        with self._lock:
            self._refill()
            if urgent and not hold and self._held > 0:
                self._held -= 1
                return True
            if self._tokens < (tokens if urgent else tokens + self._wanted):
                return False
            self._tokens -= tokens
            if hold:
                self._held += tokens
                self._may_be_held += tokens
            return True

    def _pause(self, needed: float) -> float:
        """Seconds until so many tokens may be there.

        At most one: the rate may rise, or held tokens come back. Never so short that it rounds to zero.
        """
        with self._lock:
            return min(max((needed - self._tokens) / self._rate, 0.001), 1.0)

    def refused(self) -> None:
        """EC2 had no token: empty the bucket, held tokens included, and lower its rate."""
        with self._lock:
            self._refill()
            self._tokens = 0.0
            self._held = 0
            if self._seen_at - self._refused_at >= REFUSALS_COUNT_ONCE_SECONDS:
                self._rate = max(self._rate * SLOWER, self._published * SLOWEST)
                self._refused_at = self._seen_at

    def _refill(self) -> None:
        now = self._now()
        elapsed, self._seen_at = max(now - self._seen_at, 0.0), now
        self._tokens = min(BURST - self._held, self._tokens + elapsed * self._rate)
        self._rate = min(self._published, self._rate + elapsed * self._published / RECOVERY_SECONDS)


@dataclass(frozen=True)
class RateLimits:
    """One bucket for each API that changes something, as in EC2."""

    create: TokenBucket
    create_set: TokenBucket
    delete: TokenBucket
    tag: TokenBucket

    @classmethod
    def at(cls, now: Callable[[], float], sleep: Callable[[float], None]) -> RateLimits:
        """Full buckets at the published rates; `now` returns seconds."""
        return cls(
            TokenBucket(CREATES_PER_SECOND, now, sleep),
            TokenBucket(CREATES_PER_SECOND, now, sleep),
            TokenBucket(CREATES_PER_SECOND, now, sleep),
            TokenBucket(TAGS_PER_SECOND, now, sleep),
        )

    @contextmanager
    def creates_held(self, singles: int, sets: int, wait: Callable[[float], None]) -> Iterator[None]:
        """Hold tokens for urgent creates of each kind; `wait` as in `TokenBucket.held`."""
        # Always in this order, so that no two freezes wait for each other.
        with self.create.held(singles, wait), self.create_set.held(sets, wait):
            yield

    def interrupt_by(self, check: Callable[[str], None]) -> None:
        """Let `check` end creates and deletions that wait for a token, by what it raises.

        Not changes of tags: one of them says that a snapshot is application-consistent, after the thaw.
        """
        for bucket in (self.create, self.create_set, self.delete):
            bucket.check = check
