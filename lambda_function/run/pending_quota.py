"""Back-pressure from EC2's cap on pending snapshots (100 per account and Region by default).

The cap is not known beforehand, and a refused create costs a token of its rate. So after the first
refusal the number of pending snapshots is taken as the cap, and from then on room is learnt by
counting. Creates under way may be counted or not yet, so they are taken off the room until they are
answered. A count that was taken a moment too late, when some had just completed, is too small a cap:
hence it is tried now and then whether there is more room, and a refusal lowers it by little.
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
"""Between looks at a full account: with the call itself some three a second, where EC2 gives back 20 tokens."""

REFUSED_SECONDS = 5.0
"""Between a create's refusal and its next attempt, whatever the count says; refusals within it count as one."""

TRY_AGAIN_SECONDS = 30.0
"""After a refusal, how long the cap is believed before more than it is tried again."""


class PendingQuota:
    """Admits creates, shared by all threads of a run."""

    def __init__(self, count_pending: Callable[[], int], deadline: Deadline) -> None:
        self._count_pending = count_pending
        self._deadline = deadline
        self._turn = threading.Lock()  # one looks for all who wait
        self._known = threading.Lock()  # what is below; never held while somebody waits
        self._cap: int | None = None
        self._room = 0
        self._under_way = 0
        self._refused_at = 0.0
        self._tried = 0

    def refused(self, reserve: float) -> None:
        """A create was refused: from now on creates wait for room, this one for a while in any case.

        The count may lag behind what EC2 knows, so room that it shows now is not believed.
        Raises OutOfTimeError when waiting would leave less than `reserve` seconds.
        """
        # Not in turn: those who wait there would be let in by a cap that was just found too large.
        pending = self._count() if self._cap is None else None
        with self._known:
            now = self._deadline.elapsed()
            if pending is not None:
                self._cap = max(pending, self._cap or 1)
            elif self._cap is not None and now - self._refused_at >= REFUSED_SECONDS:
                self._cap = max(self._cap - max(self._tried, 1), 1)
                self._tried = 0
            self._room = 0
            self._refused_at = now
        self._deadline.wait(REFUSED_SECONDS, reserve)

    @contextmanager
    def taken(self, snapshots: int, reserve: float) -> Iterator[None]:
        """Room for `snapshots` more while they are created; waits for it, not at all until a create was refused.

        Raises OutOfTimeError when waiting would leave less than `reserve` seconds. A set larger than
        the cap is let through when nothing is pending.
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
        """Whether there is room, by what is known or else by a new count; then it is taken."""
        with self._known:
            if self._cap is None or self._room >= snapshots:
                return self._admit(snapshots)
            # Before the count: what is answered meanwhile is in neither, or in both.
            under_way = self._under_way
        pending = self._count()
        if pending is None:
            return False
        with self._known:
            self._room = self._cap_for(pending) - pending - under_way
            if self._room < snapshots and pending + under_way > 0:
                return False
            return self._admit(snapshots)

    def _admit(self, snapshots: int) -> bool:
        self._room -= snapshots
        self._under_way += snapshots
        return True

    def _count(self) -> int | None:
        """None where a count failed: the next one is near, and a volume that waits loses nothing by it."""
        try:
            return self._count_pending()
        except AccessRefusedError:
            raise
        except AwsError as error:
            logger.warning("pending snapshots could not be counted: %s", error)
            return None

    def _cap_for(self, pending: int) -> int:
        """The cap as it is believed now that so many are pending: a full account without refusals may hold more."""
        self._cap = max(self._cap or 1, pending)
        if pending == self._cap and self._deadline.elapsed() - self._refused_at >= TRY_AGAIN_SECONDS:
            # As long as all that is tried is accepted, twice as many: the first count may have been far too small.
            self._tried = max(1, 2 * self._tried)
            self._cap += self._tried
        return self._cap
