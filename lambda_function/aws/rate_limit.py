"""Calls no faster than EC2 allows, so that few are refused: a refused call is a call lost.

EC2 gives each account, Region and API a bucket of tokens. The rates here are the published ones; what the account
really has left, with other tools beside this one, is learnt from refusals: each lowers the rate, and time raises
it again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

BURST = 98.0
CREATES_PER_SECOND = 5.0
TAGS_PER_SECOND = 10.0
"""Request throttling for the EC2 API: 100 tokens; snapshots' creates and deletes get 5 a second back, tags 10.

Two of the 100 are never used: a call may arrive earlier after being sent than the first one did, which is when EC2's
bucket began to refill, and one refusal costs more than two tokens.
"""

SLOWER = 0.8
SLOWEST = 0.1
"""Of the published rate: what a refusal leaves of the rate, and the least that is ever tried."""

RECOVERY_SECONDS = 100.0
"""In which a rate would rise from nothing to the published rate."""

REFUSALS_COUNT_ONCE_SECONDS = 1.0
"""Calls under way together are refused together; that says no more than one refusal."""


class TokenBucket:
    """One bucket as it is believed to be; safe to use from several threads."""

    def __init__(self, per_second: float, now: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self._published = per_second
        self._rate = per_second
        self._tokens = BURST
        self._now = now
        self._sleep = sleep
        self._seen_at = now()
        self._refused_at = float("-inf")
        self._reserved = 0
        self._lock = threading.Lock()

    def take(self, *, urgent: bool = False) -> None:
        """Return when a call may be made; one that is urgent may use what is reserved."""
        while True:
            with self._lock:
                self._refill()
                needed = 1.0 if urgent else 1.0 + self._reserved
                if self._tokens >= needed:
                    self._tokens -= 1.0
                    return
                wait = (needed - self._tokens) / self._rate
            # Not longer than a second at once: the rate may have risen, or what is reserved been released.
            # Nor so short that rounding makes it nothing.
            self._sleep(min(max(wait, 0.001), 1.0))

    def refused(self) -> None:
        """EC2 had no token: the bucket is empty, and refills more slowly than was believed."""
        with self._lock:
            self._refill()
            self._tokens = 0.0
            if self._seen_at - self._refused_at >= REFUSALS_COUNT_ONCE_SECONDS:
                self._rate = max(self._rate * SLOWER, self._published * SLOWEST)
                self._refused_at = self._seen_at

    def reserve(self, tokens: int) -> None:
        """Keep so many tokens for urgent calls."""
        with self._lock:
            self._reserved = tokens

    def _refill(self) -> None:
        now = self._now()
        elapsed, self._seen_at = max(now - self._seen_at, 0.0), now
        self._tokens = min(BURST, self._tokens + elapsed * self._rate)
        self._rate = min(self._published, self._rate + elapsed * self._published / RECOVERY_SECONDS)


@dataclass(frozen=True)
class RateLimits:
    """A bucket for each API that changes something, as EC2 has one for each."""

    create: TokenBucket
    create_set: TokenBucket
    delete: TokenBucket
    tag: TokenBucket

    @classmethod
    def at(cls, now: Callable[[], float], sleep: Callable[[float], None]) -> RateLimits:
        """Full buckets at the published rates, by this clock in seconds."""
        return cls(
            TokenBucket(CREATES_PER_SECOND, now, sleep),
            TokenBucket(CREATES_PER_SECOND, now, sleep),
            TokenBucket(CREATES_PER_SECOND, now, sleep),
            TokenBucket(TAGS_PER_SECOND, now, sleep),
        )

    def reserve_creates(self, tokens: int) -> None:
        """Keep so many tokens of either kind of create for instances that are frozen, or soon will be."""
        self.create.reserve(tokens)
        self.create_set.reserve(tokens)
