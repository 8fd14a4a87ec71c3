"""Periods, their calendar slots in UTC, and rules of retention: how many slots of a period are kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache

from dateutil.relativedelta import relativedelta


class Period(StrEnum):
    """How often a snapshot is due. Members are in order, shortest first."""

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
        return _SLOTS[self].adjective

    def up_to(self) -> tuple[Period, ...]:
        """This period and all shorter ones, shortest first."""
        return tuple(Period)[: self.rank + 1]


@dataclass(frozen=True, slots=True)
class RetentionRule:
    """Keep the newest `retain_count` slots of a period; 0: create none, and delete the snapshots that exist.

    `is_hooked`: the policy has a hook, which may fail in every slot that is kept.
    """

    period: Period
    retain_count: int
    is_hooked: bool = False


@dataclass(frozen=True, slots=True)
class _Slot:
    """A period's row: `start` maps the start of an hour to the start of its slot."""

    adjective: str
    start: Callable[[datetime], datetime]
    length: relativedelta


_RANKS = {period: rank for rank, period in enumerate(Period)}

_SLOTS = {
    Period.HOUR: _Slot("hourly", lambda hour: hour, relativedelta(hours=1)),
    Period.DAY: _Slot("daily", lambda hour: hour.replace(hour=0), relativedelta(days=1)),
    Period.WEEK: _Slot(
        "weekly", lambda hour: hour.replace(hour=0) - timedelta(days=hour.weekday()), relativedelta(weeks=1)
    ),
    Period.MONTH: _Slot("monthly", lambda hour: hour.replace(day=1, hour=0), relativedelta(months=1)),
    Period.YEAR: _Slot("yearly", lambda hour: hour.replace(month=1, day=1, hour=0), relativedelta(years=1)),
}


def slot_start(period: Period, moment: datetime) -> datetime:
    """Start of the calendar hour, day, ISO week, month or year around `moment`, in UTC."""
    return _SLOTS[period].start(moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0))


@lru_cache(maxsize=64)
def slot(period: Period, moment: datetime) -> tuple[datetime, datetime]:
    """Start (inclusive) and end (exclusive) of the slot around `moment`."""
    start = slot_start(period, moment)
    return start, start + _SLOTS[period].length


def in_slot(period: Period, moment: datetime, start_time: datetime) -> bool:
    """Whether `start_time` lies in the slot around `moment`."""
    start, end = slot(period, moment)
    return start <= start_time < end
