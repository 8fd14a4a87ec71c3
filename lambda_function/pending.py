"""Back-pressure from EC2's cap on pending snapshots (100 per account and Region by default).

The cap is not known beforehand, and a refused create costs a token of its rate. So after the first
refusal the number of pending snapshots is taken as the cap, and from then on room is learnt by
counting. A count that was taken a moment too late, when some had just completed, is too small a cap:
hence it is tried now and then whether there is more room, and a refusal lowers it by little.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from lambda_function.time_budget import TimeBudget

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
        self._cap: int | None = None
        self._room = 0
        self._refused_at = 0.0
        self._step = 1

    def refused(self, reserve: float) -> None:
        """A create was refused: from now on creates wait for room, this one for a while in any case.

        The count may lag behind what EC2 knows, so room that it shows now is not believed.
        Raises OutOfTimeError when waiting would leave less than `reserve` seconds.
        """
        with self._lock:
            pending = self._count_pending()
            self._cap = max(pending, 1) if self._cap is None else max(pending, self._cap - self._step, 1)
            self._room = 0
            self._step = 1
            self._refused_at = self._budget.elapsed()
        self._budget.wait(REFUSED_SECONDS, reserve)

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
                self._room = self._cap_for(pending) - pending
                if self._room >= snapshots or pending == 0:
                    break
                self._budget.wait(POLL_SECONDS, reserve)
            self._room -= snapshots

    def _cap_for(self, pending: int) -> int:
        """The cap as it is believed now that so many are pending: a full account without refusals may hold more."""
        self._cap = max(self._cap or 1, pending)
        if pending == self._cap and self._budget.elapsed() - self._refused_at >= TRY_AGAIN_SECONDS:
            self._cap += self._step
            self._step *= 2
        return self._cap
