"""Periods, and their calendar slots in UTC: the stretch of time in which one snapshot per volume and period is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache

from dateutil.relativedelta import relativedelta


class Period(StrEnum):
    """How often a snapshot is due. Members stand in order, shortest first."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"

    @property
    def rank(self) -> int:
        """Position by length: 0 for the hour, 4 for the year."""
        return _RANKS[self]

    @property
    def adjective(self) -> str:
        """As in "the hourly run"."""
        return "daily" if self is Period.DAY else f"{self}ly"

    def up_to(self) -> tuple[Period, ...]:
        """This period and all shorter ones, shortest first."""
        return tuple(Period)[: self.rank + 1]


_RANKS = {period: rank for rank, period in enumerate(Period)}


_LENGTH = {
    Period.HOUR: relativedelta(hours=1),
    Period.DAY: relativedelta(days=1),
    Period.WEEK: relativedelta(weeks=1),
    Period.MONTH: relativedelta(months=1),
    Period.YEAR: relativedelta(years=1),
}


@lru_cache(maxsize=64)
def slot(period: Period, moment: datetime) -> tuple[datetime, datetime]:
    """Start (inclusive) and end (exclusive) of the calendar hour, day, ISO week, month or year around `moment`."""
    start = moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    if period is not Period.HOUR:
        start = start.replace(hour=0)
    if period is Period.WEEK:
        start -= timedelta(days=start.weekday())
    elif period is Period.MONTH:
        start = start.replace(day=1)
    elif period is Period.YEAR:
        start = start.replace(month=1, day=1)
    return start, start + _LENGTH[period]


def in_slot(period: Period, moment: datetime, start_time: datetime) -> bool:
    """Whether `start_time` lies in the slot around `moment`."""
    start, end = slot(period, moment)
    return start <= start_time < end
