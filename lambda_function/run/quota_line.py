"""Who may create under EC2's quota of pending snapshots: what is known of the cap, and the line of those that wait.

Without threads and clock, which are `pending_quota.py`'s; `now` is the elapsed clock in seconds.

The quota is not known in advance, and a refused create costs a token of its rate limit. So the first refusal teaches
a cap, and later creates count before they start. A call for n snapshots that is refused with p pending shows no more
than that the cap is below p + n; so what was seen pending is remembered as well, and the cap lies between the two.
A count may or may not include creates in flight, so they are subtracted until EC2 responds. A count taken a moment too
late, after some completed, makes the cap too low: so a higher cap is tried now and then, and a refusal of what was
known to fit lowers it only a little.

What fits passes what does not. So that single volumes do not starve a set, it is passed for a limited time only; then
room is kept for it, and what there is after a minute, it takes as a part.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

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


class QuotaLine:
    """What is known of one account's and Region's quota, and those that wait for it."""

    def __init__(self) -> None:
        self._line: list[Claim] = []
        self._cap: int | None = None  # None before the first refusal
        self._proven = 0  # so many were pending at once
        self._occupied: int | None = None  # pending and under way; None if it has to be counted
        self._under_way = 0
        self._refused_at = 0.0
        self._tried = 0

    @property
    def is_cap_known(self) -> bool:
        """Whether a count at a refusal would teach nothing."""
        return self._cap is not None and self._cap == self._proven

    def join(self, claim: Claim, now: float) -> None:
        """Stand in line, and be served if there is known to be room."""
        claim.since = min(claim.since, now)
        self._line.append(claim)
        self._serve(now)

    def leave(self, claim: Claim) -> None:
        """Served, or no longer waiting."""
        self._line.remove(claim)

    def release(self, claim: Claim) -> None:
        """EC2 has answered: what was created is pending, and counted as such."""
        self._under_way -= claim.granted
        claim.tried, claim.granted = claim.granted, 0

    def begin_count(self) -> int:
        """Admit nobody until `counted`, which takes what this returns: a create may be in the count or not."""
        self._occupied = None
        return self._under_way

    def counted(self, pending: int, under_way: int, now: float) -> None:
        """Serve those in line by this count; `under_way` is from before it."""
        self._learn(pending)
        if pending == self._cap and now - self._refused_at >= TRY_AGAIN_SECONDS:
            # Doubled as long as every attempt is accepted: the first count may have been far too low.
            self._tried = max(1, 2 * self._tried)
            self._cap += self._tried
        self._occupied = pending + under_way
        self._serve(now)

    def refused(self, claim: Claim, pending: int | None, now: float) -> None:
        """EC2 refused what the claim held; `pending` were counted after it, None if the count failed or is not needed.

        The count may lag behind EC2's own, so any free quota it shows is ignored.
        """
        if pending is not None:
            self._learn(pending)
            # With nothing pending the count is late, at first: no quota is as small as a single call.
            least = claim.tried if claim.refusals < FEW_REFUSALS else 1
            cap = max(pending + claim.tried - 1, least, self._proven)
            self._cap = cap if self._cap is None else min(cap, self._cap)
            self._tried = 0
        elif self._cap is not None and claim.tried <= self._cap and now - self._refused_at >= REFUSED_SECONDS:
            self._cap = max(self._cap - max(self._tried, 1), 1)
            self._proven = min(self._proven, self._cap)
            self._tried = 0
        self._occupied = None
        self._refused_at = now
        claim.refusals += 1

    def _learn(self, pending: int) -> None:
        """So many can be pending."""
        self._proven = max(self._proven, pending)
        if self._cap is not None:
            self._cap = max(self._cap, self._proven)

    def _serve(self, now: float) -> None:
        """Admit those in line that fit, in the order in which they came."""
        waiting = [claim for claim in self._line if claim.granted == 0]
        for claim in sorted(waiting, key=lambda claim: claim.since):
            room = self._room_for(claim)
            is_kept_for = now - claim.since >= PASSED_SECONDS
            if is_kept_for and room > 0:
                claim.short_since = min(claim.short_since, now)
            if room == claim.snapshots or (room > 0 and now - claim.short_since >= KEPT_SECONDS):
                claim.granted = room
                self._under_way += room
                self._occupied = None if self._occupied is None else self._occupied + room
            elif is_kept_for and room > 0:
                return

    def _room_for(self, claim: Claim) -> int:
        """How many of the claim's snapshots there is room for.

        Where the cap is known only within bounds, a single create may try the whole of it, a set half, unless nothing
        else is pending. Whether it is higher than was thought is for a single to try.
        """
        if self._cap is None:
            return claim.snapshots
        if self._occupied is None:
            return 0
        if self._occupied == 0 and claim.snapshots <= self._cap and claim.refusals < FEW_REFUSALS:
            return claim.snapshots
        refused_above = self._cap - self._tried
        cap = self._cap if claim.snapshots == 1 else (self._proven + refused_above + 1) // 2
        return max(min(claim.snapshots, cap - self._occupied), 0)
