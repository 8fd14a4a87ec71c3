"""Back-pressure from EC2's quota of pending snapshots (100 per account and Region by default).

One thread at a time counts, for all that wait; whom it serves, `quota_line.py` decides.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lambda_function.deadline import Deadline
from lambda_function.errors import AccessRefusedError, AwsError
from lambda_function.run.quota_line import REFUSED_SECONDS, Claim, QuotaLine

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.15
"""Between polls of a full account: with the call itself about three per second, where EC2 refills 20 tokens."""


class PendingQuota:
    """Admits creates; shared by all threads of a run."""

    def __init__(self, count_pending: Callable[[], int], deadline: Deadline) -> None:
        self._count_pending = count_pending
        self._deadline = deadline
        self._changed = threading.Condition()  # guards the fields below; never held while waiting for time or EC2
        self._line = QuotaLine()
        self._is_polled = False

    def refused(self, claim: Claim, reserve: float) -> None:
        """After a refused create: make later creates wait for the quota, and this one REFUSED_SECONDS.

        Raises OutOfTimeError if waiting would leave less than `reserve` seconds.
        """
        with self._changed:
            is_cap_known = self._line.is_cap_known
        pending = None if is_cap_known else self._count()
        with self._changed:
            self._line.refused(claim, pending, self._deadline.elapsed())
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
                self._line.release(claim)

    def _wait_for(self, claim: Claim, reserve: float) -> None:
        with self._changed:
            self._line.join(claim, self._deadline.elapsed())
            self._changed.notify_all()
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
                self._line.leave(claim)

    def _has_to_poll(self, claim: Claim) -> bool:
        """Wait until the claim is served (False), or until nobody polls for those in line (True)."""
        with self._changed:
            self._changed.wait_for(lambda: claim.granted > 0 or not self._is_polled)
            if claim.granted > 0:
                return False
            self._is_polled = True
            return True

    def _is_served(self, claim: Claim) -> bool:
        """Count for all in line; whether this claim was served."""
        with self._changed:
            under_way = self._line.begin_count()
        pending = self._count()
        with self._changed:
            if pending is not None:
                self._line.counted(pending, under_way, self._deadline.elapsed())
                self._changed.notify_all()
            return claim.granted > 0

    def _count(self) -> int | None:
        """The pending snapshots; None if the count failed, since a waiting create can poll again."""
        try:
            return self._count_pending()
        except AccessRefusedError:
            raise
        except AwsError as error:
            logger.warning("pending snapshots could not be counted: %s", error)
            return None
