"""Back-pressure from EC2's cap on pending snapshots (100 per account and Region by default).

The cap is not known beforehand, and a refused create costs a token of its rate. So after the first
refusal the number of pending snapshots is taken as the cap, and from then on room is learnt by
counting.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from lambda_function.time_budget import TimeBudget

POLL_SECONDS = 5.0


class PendingRoom:
    """Admits creates, shared by all threads of a run."""

    def __init__(self, count_pending: Callable[[], int], budget: TimeBudget) -> None:
        self._count_pending = count_pending
        self._budget = budget
        self._lock = threading.Lock()
        self._cap: int | None = None
        self._room = 0

    def refused(self, reserve: float) -> None:
        """A create was refused: from now on creates wait for room, this one for a while in any case.

        The count may lag behind what EC2 knows, so room that it shows now is not believed.
        Raises OutOfTimeError when waiting would leave less than `reserve` seconds.
        """
        with self._lock:
            pending = self._count_pending()
            self._cap = max(pending, 1) if self._cap is None else max(min(self._cap, pending), 1)
            self._room = 0
        self._budget.wait(POLL_SECONDS, reserve)

    def enter(self, snapshots: int, reserve: float) -> None:
        """Return when `snapshots` more may be pending; at once until a create was refused.

        Raises OutOfTimeError when waiting would leave less than `reserve` seconds. A set larger than
        the cap is let through when nothing is pending.
        """
        with self._lock:
            if self._cap is None:
                return
            while self._room < snapshots:
                pending = self._count_pending()
                self._cap = max(self._cap, pending)
                self._room = self._cap - pending
                if self._room >= snapshots or pending == 0:
                    break
                self._budget.wait(POLL_SECONDS, reserve)
            self._room -= snapshots
