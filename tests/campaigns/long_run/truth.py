"""What is true of the account's snapshots, worked out without the code under test."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from datetime import datetime, timedelta
from typing import Any

from lambda_function.model.ec2 import SnapshotState
from tests.campaigns.long_run.cloud import LongCloud
from tests.support.cloud import Stored

SLOT: dict[str, Callable[[datetime], Any]] = {
    "hour": lambda at: (at.year, at.month, at.day, at.hour),
    "day": lambda at: (at.year, at.month, at.day),
    "week": lambda at: at.isocalendar()[:2],
    "month": lambda at: (at.year, at.month),
    "year": lambda at: at.year,
}
PENDING, COMPLETED, ERROR = SnapshotState.PENDING, SnapshotState.COMPLETED, SnapshotState.ERROR


class Truth:
    """Of a run for one period, as of its beginning; what turned meanwhile the run may have seen either way."""

    _period: str
    _began: datetime
    _now: Any
    _hidden: timedelta

    def __init__(self, cloud: LongCloud) -> None:
        self._cloud = cloud

    def begin(self, period: str) -> None:
        """A run for the period begins."""
        self._period = period
        self._began = self._cloud.clock.now
        self._now = SLOT[period](self._began)
        self._hidden = self._cloud.hidden_for

    def _was_good(self, stored: Stored) -> bool:
        """Whether it is usable, or was when the run began."""
        if stored.state in (PENDING, COMPLETED):
            return True
        turned = self._cloud.turned.get(stored.id)
        return turned is not None and turned >= self._began

    def _state_at_first(self, stored: Stored) -> SnapshotState | None:
        """Its state when the run began."""
        turned = self._cloud.turned.get(stored.id)
        return PENDING if turned is not None and turned >= self._began else stored.state

    def _was_listed(self, stored: Stored) -> bool:
        return stored.start_time + self._hidden <= self._began

    def _serving(self, volume_id: str, word: str) -> list[Stored]:
        slot, now = SLOT[word], SLOT[word](self._began)
        held = self._cloud.held(volume_id, word)
        return [each for each in held if slot(each.start_time) == now and self._was_good(each)]

    def _is_served(self, volume_id: str, word: str) -> bool:
        slot, now = SLOT[word], self._now
        return any(
            slot(each.start_time) == now and self._was_good(each)
            for each in reversed(list(self._cloud.held(volume_id, word)))
        )


def age(stored: Stored) -> tuple[datetime, str]:
    return stored.start_time, stored.id


def kept(held: Collection[Stored], count: int, state: Callable[[Stored], SnapshotState | None]) -> Iterable[Stored]:
    """What the page on retention says is kept: the newest N, pending ones, the newest completed, failed ones that no
    newer one replaces.
    """
    ordered = sorted(held, key=age, reverse=True)
    good = [each for each in ordered if state(each) in (PENDING, COMPLETED)]
    completed = [each for each in good if state(each) is COMPLETED]
    newest = completed[:1] if count else []
    failed = [
        each for each in ordered if state(each) is ERROR and count and not (newest and age(newest[0]) > age(each))
    ]
    return [*good[:count], *(each for each in good if state(each) is PENDING), *newest, *failed]
