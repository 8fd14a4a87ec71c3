"""Back-pressure from EC2's quota of pending snapshots (100 per account and Region by default).

The quota is not known in advance, and a refused create costs a token of its rate limit. So the number
of pending snapshots at the first refusal becomes the cap, and later creates count before they start.
A count may or may not include creates in flight, so they are subtracted until EC2 responds. A count
taken a moment too late, after some completed, makes the cap too low: so a higher cap is tried now and
then, and a refusal lowers it only a little.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lambda_function.deadline import Deadline
from lambda_function.errors import AccessRefusedError, AwsError

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.15
"""Between polls of a full account: with the call itself about three per second, where EC2 refills 20 tokens."""

REFUSED_SECONDS = 5.0
"""From a create's refusal to its next attempt, whatever the count; refusals within it count as one."""

TRY_AGAIN_SECONDS = 30.0
"""How long after a refusal the cap holds before a higher one is tried."""


class PendingQuota:
    """Admits creates; shared by all threads of a run."""

    def __init__(self, count_pending: Callable[[], int], deadline: Deadline) -> None:
        self._count_pending = count_pending
        self._deadline = deadline
        self._turn = threading.Lock()  # one thread polls for all that wait
        self._known = threading.Lock()  # guards the fields below; never held while waiting
        self._cap: int | None = None
        self._free = 0
        self._under_way = 0
        self._refused_at = 0.0
        self._tried = 0

    def refused(self, reserve: float) -> None:
        """After a refused create: make later creates wait for the quota, and this one REFUSED_SECONDS.

        The count may lag behind EC2's own, so any free quota it shows now is ignored.
        Raises OutOfTimeError if waiting would leave less than `reserve` seconds.
        """
        # Not under `_turn`: threads waiting there would be admitted by a cap just found too high.
        pending = self._count() if self._cap is None else None
        with self._known:
            now = self._deadline.elapsed()
            if pending is not None:
                self._cap = max(pending, self._cap or 1)
            elif self._cap is not None and now - self._refused_at >= REFUSED_SECONDS:
                self._cap = max(self._cap - max(self._tried, 1), 1)
                self._tried = 0
            self._free = 0
            self._refused_at = now
        self._deadline.wait(REFUSED_SECONDS, reserve)

    @contextmanager
    def taken(self, snapshots: int, reserve: float) -> Iterator[None]:
        """Hold quota for `snapshots` creates; waits for it, but not before a create was refused.

        Raises OutOfTimeError if waiting would leave less than `reserve` seconds. A set larger than
        the cap is admitted when nothing is pending.
        """
        self._take(snapshots, reserve)
        try:
            yield
        finally:
            with self._known:
                self._under_way -= snapshots

    def _take(self, snapshots: int, reserve: float) -> None:
        with self._turn:
            while not self._is_admitted(snapshots):
                self._deadline.wait(POLL_SECONDS, reserve)

    def _is_admitted(self, snapshots: int) -> bool:
        """Take the quota if it is free, as last counted or else by a new count; whether it was."""
        with self._known:
            if self._cap is None or self._free >= snapshots:
                return self._admit(snapshots)
            # Read before the count: a create answered meanwhile could otherwise be in neither.
            under_way = self._under_way
        pending = self._count()
        if pending is None:
            return False
        with self._known:
            self._free = self._cap_for(pending) - pending - under_way
            if self._free < snapshots and pending + under_way > 0:
                return False
            return self._admit(snapshots)

    def _admit(self, snapshots: int) -> bool:
        self._free -= snapshots
        self._under_way += snapshots
        return True

    def _count(self) -> int | None:
        """The pending snapshots; None if the count failed, since a waiting create can poll again."""
        try:
            return self._count_pending()
        except AccessRefusedError:
            raise
        except AwsError as error:
            logger.warning("pending snapshots could not be counted: %s", error)
            return None

    def _cap_for(self, pending: int) -> int:
        """The cap, given the number pending; raised if a full account has gone without refusals."""
        self._cap = max(self._cap or 1, pending)
        if pending == self._cap and self._deadline.elapsed() - self._refused_at >= TRY_AGAIN_SECONDS:
            # Doubled as long as every attempt is accepted: the first count may have been far too low.
            self._tried = max(1, 2 * self._tried)
            self._cap += self._tried
        return self._cap
