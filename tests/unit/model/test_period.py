from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_function.model.period import Period, in_slot, slot


@pytest.mark.parametrize(
    ("period", "moment", "start", "end"),
    [
        ("hour", "2026-03-01T23:59:59", "2026-03-01T23:00", "2026-03-02T00:00"),
        ("day", "2026-02-28T12:00:00", "2026-02-28T00:00", "2026-03-01T00:00"),
        ("day", "2028-02-29T00:00:00", "2028-02-29T00:00", "2028-03-01T00:00"),
        ("week", "2026-03-01T23:59:59", "2026-02-23T00:00", "2026-03-02T00:00"),  # a Sunday: ISO weeks end with it
        ("week", "2026-03-02T00:00:00", "2026-03-02T00:00", "2026-03-09T00:00"),
        ("week", "2027-01-01T08:00:00", "2026-12-28T00:00", "2027-01-04T00:00"),  # ISO week 53 of 2026
        ("month", "2026-01-31T10:00:00", "2026-01-01T00:00", "2026-02-01T00:00"),
        ("month", "2026-12-01T00:00:00", "2026-12-01T00:00", "2027-01-01T00:00"),
        ("year", "2028-02-29T10:00:00", "2028-01-01T00:00", "2029-01-01T00:00"),
    ],
)
def test_a_slot_is_the_calendar_stretch_around_the_moment(period, moment, start, end):
    def utc(text):
        return datetime.fromisoformat(text).replace(tzinfo=UTC)

    assert slot(Period(period), utc(moment)) == (utc(start), utc(end))


def test_slots_are_utc_whatever_zone_the_moment_is_given_in():
    moment = datetime(2026, 3, 2, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    assert slot(Period.DAY, moment)[0] == datetime(2026, 3, 1, tzinfo=UTC)


@given(
    st.sampled_from(list(Period)),
    st.integers(946_684_800, 3_786_912_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)),
)
def test_slots_tile_time_without_gap_or_overlap(period, moment):
    start, end = slot(period, moment)
    assert start <= moment < end
    assert in_slot(period, moment, start)
    assert not in_slot(period, moment, end)
    assert slot(period, end)[0] == end
    assert slot(period, start - timedelta(microseconds=1))[1] == start
