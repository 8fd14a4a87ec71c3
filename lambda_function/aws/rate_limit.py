"""Keeps calls within EC2's rate limits, because each refused call is wasted.

EC2 has a token bucket for each account, Region and API. The rates here are the published ones. Other tools may use the
same buckets, so each refusal lowers the rate, and time raises it again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
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
    """Our estimate of one bucket; safe to use from several threads. `check` raises if the run was interrupted."""

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
        self.check: Callable[[str], None] = _uninterrupted

    def take(self, *, urgent: bool = False) -> None:
        """Return when a call may be made; an urgent one may use reserved tokens, and is not interrupted."""
        while True:
            if not urgent:
                # Each attempt of a call comes here, and an earlier one may have taken effect.
                self.check("not sent, or not sent again")
            with self._lock:
                self._refill()
                needed = 1.0 if urgent else 1.0 + self._reserved
                if self._tokens >= needed:
                    self._tokens -= 1.0
                    return
                wait = (needed - self._tokens) / self._rate
            # At most a second at once: the rate may rise, or the reserve be released. Never so short that it rounds to
            # zero.
            self._sleep(min(max(wait, 0.001), 1.0))

    def refused(self) -> None:
        """EC2 had no token: empty the bucket and lower its rate."""
        with self._lock:
            self._refill()
            self._tokens = 0.0
            if self._seen_at - self._refused_at >= REFUSALS_COUNT_ONCE_SECONDS:
                self._rate = max(self._rate * SLOWER, self._published * SLOWEST)
                self._refused_at = self._seen_at

    def reserve(self, tokens: int) -> None:
        """Keep this many tokens for urgent calls."""
        with self._lock:
            self._reserved = tokens

    def _refill(self) -> None:
        now = self._now()
        elapsed, self._seen_at = max(now - self._seen_at, 0.0), now
        self._tokens = min(BURST, self._tokens + elapsed * self._rate)
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

    def interrupt_by(self, check: Callable[[str], None]) -> None:
        """Let `check` end creates and deletions that wait for a token, by what it raises.

        Not changes of tags: one of them says that a snapshot is application-consistent, after the thaw.
        """
        for bucket in (self.create, self.create_set, self.delete):
            bucket.check = check

    def reserve_creates(self, tokens: int) -> None:
        """Keep this many tokens of each kind of create for instances that are frozen, or soon will be."""
        self.create.reserve(tokens)
        self.create_set.reserve(tokens)
