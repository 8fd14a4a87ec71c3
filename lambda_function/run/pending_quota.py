"""Back-pressure from EC2's quota of pending snapshots (100 per account and Region by default).

The quota is not known in advance, and a refused create costs a token of its rate limit. So the first refusal teaches
a cap, and later creates count before they start. A call for n snapshots that is refused with p pending shows no more
than that the cap is below p + n; so what has been seen pending is remembered as well, and the cap lies between.
A count may or may not include creates in flight, so they are subtracted until EC2 responds. A count taken a moment too
late, after some completed, makes the cap too low: so a higher cap is tried now and then, and a refusal of what was
known to fit lowers it only a little.

Those that wait stand in line, and what fits passes what does not. So that single volumes do not starve a set, it is
passed for a limited time only; then room is kept for it, and what there is after a minute, it takes as a part.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from lambda_function.deadline import Deadline
from lambda_function.errors import AccessRefusedError, AwsError

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.15
"""Between polls of a full account: with the call itself about three per second, where EC2 refills 20 tokens."""

REFUSED_SECONDS = 5.0
"""From a create's refusal to its next attempt, whatever the count; refusals within it count as one."""

TRY_AGAIN_SECONDS = 30.0
"""How long after a refusal the cap holds before a higher one is tried."""

FEW_REFUSALS = 3
"""A set that EC2 refuses so often although nothing is pending is taken in parts, like one that waits."""

PASSED_SECONDS = 40.0
"""How long those that came later pass a set for which there is too little room."""

KEPT_SECONDS = 20.0
"""How long room is then kept for it, so that it may still be taken at one instant, before it is taken in parts."""


@dataclass(eq=False, slots=True)
class Claim:
    """What a create call or a freeze wants of the quota: its number of snapshots, and its place in line.

    It keeps the place when it has to wait again. `since` is when it first wanted room, `short_since` when there first
    was some that was kept for it and too little. `granted` is what it holds, `tried` what it held last, `refusals` how
    often EC2 refused that.
    """

    snapshots: int
    since: float = math.inf
    short_since: float = math.inf
    granted: int = 0
    tried: int = 0
    refusals: int = 0

    def rest(self, snapshots: int) -> Claim:
        """The claim of what is left after a part was taken; it takes what there is."""
        return Claim(snapshots, self.since, self.short_since)


class PendingQuota:
    """Admits creates; shared by all threads of a run."""

    def __init__(self, count_pending: Callable[[], int], deadline: Deadline) -> None:
        self._count_pending = count_pending
        self._deadline = deadline
        self._changed = threading.Condition()  # guards the fields below; never held while waiting for time or EC2
        self._line: list[Claim] = []
        self._is_polled = False  # one thread polls for all in line
        self._cap: int | None = None  # None before the first refusal
        self._proven = 0  # so many were pending at once
        self._occupied: int | None = None  # pending and under way; None if it has to be counted
        self._under_way = 0
        self._refused_at = 0.0
        self._tried = 0

    def refused(self, claim: Claim, reserve: float) -> None:
        """After a refused create: make later creates wait for the quota, and this one REFUSED_SECONDS.

        The count may lag behind EC2's own, so any free quota it shows now is ignored.
        Raises OutOfTimeError if waiting would leave less than `reserve` seconds.
        """
        with self._changed:
            is_known = self._cap is not None and self._cap == self._proven
        pending = None if is_known else self._count()
        with self._changed:
            now = self._deadline.elapsed()
            if pending is not None:
                self._learn(pending)
                # With nothing pending the count is late: no quota is as small as a call that EC2 accepts.
                cap = max(pending + claim.tried - 1, claim.tried, self._proven)
                self._cap = cap if self._cap is None else min(cap, self._cap)
                self._tried = 0
            elif self._cap is not None and claim.tried <= self._cap and now - self._refused_at >= REFUSED_SECONDS:
                self._cap = max(self._cap - max(self._tried, 1), 1)
                self._proven = min(self._proven, self._cap)
                self._tried = 0
            self._occupied = None
            self._refused_at = now
            claim.refusals += 1
        self._deadline.wait(REFUSED_SECONDS, reserve)

    @contextmanager
    def taken(self, claim: Claim, reserve: float) -> Iterator[int]:
        """Hold quota for the claim; waits for it, but not before a create was refused.

        Yields for how many of its snapshots: fewer than all only after a minute. Raises OutOfTimeError if waiting
        would leave less than `reserve` seconds.
        """
        try:
            self._wait_for(claim, reserve)
            yield claim.granted
        finally:
            with self._changed:
                self._under_way -= claim.granted
                claim.tried, claim.granted = claim.granted, 0

    def _wait_for(self, claim: Claim, reserve: float) -> None:
        with self._changed:
            claim.since = min(claim.since, self._deadline.elapsed())
            self._line.append(claim)
            self._serve()
        try:
            while self._has_to_poll(claim):
                try:
                    while not self._is_served(claim):
                        self._deadline.wait(POLL_SECONDS, reserve)
                finally:
                    with self._changed:
                        self._is_polled = False
                        self._changed.notify_all()
        finally:
            with self._changed:
                self._line.remove(claim)

    def _has_to_poll(self, claim: Claim) -> bool:
        """Wait until the claim is served (False), or until nobody polls for those in line (True)."""
        with self._changed:
            self._changed.wait_for(lambda: claim.granted > 0 or not self._is_polled)
            if claim.granted > 0:
                return False
            self._is_polled = True
            return True

    def _is_served(self, claim: Claim) -> bool:
        """Count, and serve those in line; whether this one was served."""
        with self._changed:
            # Read before the count: a create answered meanwhile could otherwise be in neither. Nobody is admitted
            # meanwhile for the same reason.
            under_way, self._occupied = self._under_way, None
        pending = self._count()
        with self._changed:
            if pending is not None:
                self._learn(pending)
                self._try_higher(pending)
                self._occupied = pending + under_way
                self._serve()
            return claim.granted > 0

    def _serve(self) -> None:
        """Admit those in line that fit, in the order in which they came."""
        now = self._deadline.elapsed()
        waiting = [claim for claim in self._line if claim.granted == 0]
        for claim in sorted(waiting, key=lambda claim: claim.since):
            fitting = self._fitting(claim)
            is_kept_for = now - claim.since >= PASSED_SECONDS
            if is_kept_for and fitting > 0:
                claim.short_since = min(claim.short_since, now)
            if fitting == claim.snapshots or (fitting > 0 and now - claim.short_since >= KEPT_SECONDS):
                claim.granted = fitting
                self._under_way += fitting
                self._occupied = None if self._occupied is None else self._occupied + fitting
                self._changed.notify_all()
            elif is_kept_for:
                return

    def _fitting(self, claim: Claim) -> int:
        """How many of the claim's snapshots there is room for.

        Where the cap is known only within bounds, a single create may try the whole of it, a set half, unless nothing
        else is pending.
        """
        if self._cap is None:
            return claim.snapshots
        if self._occupied is None:
            return 0
        if self._occupied == 0 and claim.snapshots <= self._cap and claim.refusals < FEW_REFUSALS:
            return claim.snapshots
        room = max((self._proven + self._cap) // 2 - self._occupied, min(self._cap - self._occupied, 1))
        return max(min(claim.snapshots, room), 0)

    def _count(self) -> int | None:
        """The pending snapshots; None if the count failed, since a waiting create can poll again."""
        try:
            return self._count_pending()
        except AccessRefusedError:
            raise
        except AwsError as error:
            logger.warning("pending snapshots could not be counted: %s", error)
            return None

    def _learn(self, pending: int) -> None:
        """So many can be pending."""
        self._proven = max(self._proven, pending)
        if self._cap is not None:
            self._cap = max(self._cap, self._proven)

    def _try_higher(self, pending: int) -> None:
        """Raise the cap if a full account has gone without refusals."""
        if pending == self._cap and self._deadline.elapsed() - self._refused_at >= TRY_AGAIN_SECONDS:
            # Doubled as long as every attempt is accepted: the first count may have been far too low.
            self._tried = max(1, 2 * self._tried)
            self._cap += self._tried
