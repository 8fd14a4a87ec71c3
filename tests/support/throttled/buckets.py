"""EC2's request rates: a token bucket per account, Region and API.

The figures are those of "Request throttling for the Amazon EC2 API" in EC2's developer guide. That a
refused call costs no token is not published; it is the kinder reading.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import NamedTuple


class Limit(NamedTuple):
    """A bucket's size, and the tokens that come back each second."""

    burst: float
    refill: float


MUTATING = Limit(50, 5)
FILTERED = Limit(100, 20)
UNFILTERED = Limit(50, 10)
PUBLISHED = {
    "CreateSnapshot": Limit(100, 5),
    "CreateSnapshots": Limit(100, 5),
    "DeleteSnapshot": Limit(100, 5),
    "ModifySnapshotAttribute": Limit(100, 5),
    "CreateTags": Limit(100, 10),
    "DeleteTags": Limit(100, 10),
}


def bucket_of(action: str, parameters: Collection[str]) -> tuple[str, Limit]:
    """The bucket that a call draws from, by the names of its parameters: its name and its limit.

    A Describe call without a filter or `MaxResults` has a smaller one of its own.
    """
    if not action.startswith("Describe"):
        return action, PUBLISHED.get(action, MUTATING)
    if any(name == "MaxResults" or name.startswith("Filter.") for name in parameters):
        return action, FILTERED
    return f"{action} (all)", UNFILTERED


class TokenBucket:
    """Full at first. `clock` gives seconds and never goes back."""

    def __init__(self, limit: Limit, clock: Callable[[], float]) -> None:
        self._limit = limit
        self._clock = clock
        self._tokens = limit.burst
        self._at = clock()

    def take(self) -> bool:
        """Whether a token was there; it is gone then."""
        now = self._clock()
        self._tokens = min(self._limit.burst, self._tokens + (now - self._at) * self._limit.refill)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


@dataclass
class Buckets:
    """All buckets. Other tools of the account use the `others` part of each, steadily and first."""

    clock: Callable[[], float]
    others: float = 0.0
    _buckets: dict[tuple[str, str, str], TokenBucket] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, account: str, region: str, action: str, parameters: Collection[str] = ()) -> bool:
        """Whether EC2 admits this call now."""
        name, limit = bucket_of(action, parameters)
        with self._lock:
            bucket = self._buckets.get((account, region, name))
            if bucket is None:
                left = 1 - self.others
                bucket = TokenBucket(Limit(limit.burst * left, limit.refill * left), self.clock)
                self._buckets[account, region, name] = bucket
            return bucket.take()
