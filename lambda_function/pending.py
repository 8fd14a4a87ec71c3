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

from lambda_function.errors import AccessRefusedError, AwsError
from lambda_function.time_budget import TimeBudget

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5
REFUSED_SECONDS = 5.0
"""Between looks at a full account, and after a refusal, whatever the count says."""

TRY_AGAIN_SECONDS = 30.0
"""After a refusal, how long the cap is believed before more than it is tried again."""


class PendingRoom:
    """Admits creates, shared by all threads of a run."""

    def __init__(self, count_pending: Callable[[], int], budget: TimeBudget) -> None:
        self._count_pending = count_pending
        self._budget = budget
        self._lock = threading.Lock()
        self._counted = threading.Lock()  # of its own: who has been answered does not wait for who waits for room
        self._cap: int | None = None
        self._room = 0
        self._under_way = 0
        self._refused_at = 0.0
        self._step = 1

    def refused(self, reserve: float) -> None:
        """A create was refused: from now on creates wait for room, this one for a while in any case.

        The count may lag behind what EC2 knows, so room that it shows now is not believed.
        Raises OutOfTimeError when waiting would leave less than `reserve` seconds.
        """
        with self._lock:
            pending = self._count()
            if pending is not None:
                self._cap = max(pending, 1) if self._cap is None else max(pending, self._cap - self._step, 1)
            self._room = 0
            self._step = 1
            self._refused_at = self._budget.elapsed()
        self._budget.wait(REFUSED_SECONDS, reserve)

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
            with self._counted:
                self._under_way -= snapshots

    def _take(self, snapshots: int, reserve: float) -> None:
        with self._lock:
            while self._cap is not None and self._room < snapshots:
                with self._counted:
                    # Before the count: what is answered meanwhile is in neither, or in both.
                    under_way = self._under_way
                pending = self._count()
                if pending is not None:
                    self._room = self._cap_for(pending) - pending - under_way
                    if self._room >= snapshots or pending + under_way == 0:
                        break
                self._budget.wait(POLL_SECONDS, reserve)
            self._room -= snapshots
            with self._counted:
                self._under_way += snapshots

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
        if pending == self._cap and self._budget.elapsed() - self._refused_at >= TRY_AGAIN_SECONDS:
            self._cap += self._step
            self._step *= 2
        return self._cap
