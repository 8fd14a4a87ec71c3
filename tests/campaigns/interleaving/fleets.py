"""Small fleets in the middle of their lives, at a Monday's midnight, and pairs of runs that meet there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from tests.campaigns.interleaving.campaign import Pair
from tests.campaigns.interleaving.meeting import CONTINUE, DAY, HOUR, SKIP, WEEK, Meeting
from tests.support.clock import START
from tests.support.cloud import KEYS

TWO_OF_EACH = {"hour": 2, "day": 2, "week": 2}
MINUTE = timedelta(minutes=1)


def plain(**limits: Any) -> Meeting:
    """One volume alone and a set of two; a tool's word, a snapshot by hand, one of a volume that is gone."""
    meeting = Meeting({"P": TWO_OF_EACH}, **limits)
    meeting.volume(1)
    for number in (2, 3):
        meeting.volume(number, instance="i-1")
    for number in (1, 2, 3):
        meeting.past(number, (HOUR, "hour"), (DAY, "day"), (WEEK, "week"))
    meeting.past(1, (DAY + HOUR, "hour day"), (3 * DAY, "day"), (2 * WEEK, "week"), (3 * WEEK, "week month"))
    meeting.past(2, (2 * HOUR, "hour"), (2 * DAY, "day"), (3 * DAY, "day"))
    meeting.past(3, (2 * HOUR, "hour nightly-tool"))
    meeting.past(9, (HOUR, "hour day"), (2 * HOUR, "hour"), (3 * HOUR, "hour"))
    meeting.snapshot("vol-00000001", "", 2 * HOUR).tags = {KEYS.selection: "P", "Name": "by hand"}
    return meeting


def fifteen_seconds() -> Meeting:
    """EC2 refuses a second create of a volume within them."""
    return plain(create_interval=timedelta(seconds=15))


def slow() -> Meeting:
    """Snapshots stay pending for a while, and are not listed at once."""
    return plain(
        create_interval=timedelta(seconds=15), hidden_for=timedelta(seconds=4), pending_for=timedelta(seconds=50)
    )


def hooked(policy: Mapping[str, Any]) -> Callable[[], Meeting]:
    def build() -> Meeting:
        meeting = Meeting({"P": {**TWO_OF_EACH, **policy}}, create_interval=timedelta(seconds=15))
        for number in (1, 2):
            meeting.volume(number, instance="i-1")
            meeting.past(number, (HOUR, "hour"), (DAY, "day"))
        meeting.past(1, (2 * HOUR, "hour"))
        return meeting

    return build


def few_commands() -> Meeting:
    """SSM takes one command in two seconds."""
    meeting = hooked(SKIP)()
    meeting.ssm.limit_sends(1, 0.5)
    return meeting


def two_volumes(policy: Mapping[str, int] = TWO_OF_EACH, count: int = 2, **limits: Any) -> Meeting:
    """Two volumes that are alone, for runs that wait and look often."""
    meeting = Meeting({"P": policy}, **limits)
    for number in range(1, count + 1):
        meeting.volume(number)
        meeting.past(number, (HOUR, "hour"), (2 * HOUR, "hour"), (DAY, "day"), (2 * DAY, "day"))
        meeting.past(number, (WEEK, "week"), (2 * WEEK, "week"))
    return meeting


def one_volume() -> Meeting:
    """As `two_volumes`, for many switches."""
    return two_volumes(count=1)


def one_of_each_kind() -> Meeting:
    """Detached, in a set, under a freeze with and without a set: every tag that a run can write."""
    meeting = Meeting({"P": TWO_OF_EACH, "Q": {**TWO_OF_EACH, **SKIP}})
    for number, policy, instance in ((1, "P", None), (2, "P", "i-1"), (3, "P", "i-1"), (4, "Q", "i-2")):
        meeting.volume(number, policy, instance, Name=f"number {number}")
    return meeting.begin()


def two_volumes_slow() -> Meeting:
    """As `slow`."""
    return two_volumes(create_interval=timedelta(seconds=15), hidden_for=timedelta(seconds=4))


def one_each() -> Meeting:
    """One of each is kept, so that every run lets go of the one before."""
    return two_volumes({"hour": 1, "day": 1, "week": 1})


def full_account() -> Meeting:
    """Room for one pending snapshot."""
    return two_volumes(pending_cap=1, pending_for=timedelta(seconds=30))


def cut_short() -> Meeting:
    """After an hour's run that had no time for the second volume, since the account was full."""
    meeting = full_account()
    assert meeting.alone("hour", seconds=60).deferred
    return meeting


REFUSED = ("exit 204", "SnapshotCreationPerVolumeRateExceeded")
"""What a run under a freeze fails with beside another. Lambda repeats it, and then the slot is served, or free."""

HOURLY, DAILY, WEEKLY = {"period": "hour"}, {"period": "day"}, {"period": "week"}
FORCED = {"period": "hour", "force": True}

OF_THE_SLOT = {"time": START}

PAIRS = {
    "hour against hour": Pair(HOURLY, HOURLY, plain, both_ways=False),
    "hour against hour, within 15 seconds": Pair(HOURLY, HOURLY, fifteen_seconds, both_ways=False),
    "hour against hour, not listed at once": Pair(HOURLY, HOURLY, slow, both_ways=False),
    "hour against hour, in a full account": Pair(HOURLY, HOURLY, full_account, both_ways=False),
    "hour against day": Pair(HOURLY, DAILY, plain),
    "hour against day, within 15 seconds": Pair(HOURLY, DAILY, fifteen_seconds),
    "hour against day, not listed at once": Pair(HOURLY, DAILY, slow),
    "hour against day, one hour late, one of each": Pair(
        HOURLY, DAILY, one_each, before=("hour",), ago=59 * MINUTE, may_lose="day"
    ),
    "hour against week": Pair(HOURLY, WEEKLY, plain, at_night=True),
    "day against week, which share the hour's": Pair(DAILY, WEEKLY, plain, before=("hour",), may_lose="week"),
    "day against week, one of each": Pair(DAILY, WEEKLY, one_each, before=("hour",), may_lose="week", at_night=True),
    "day against week, to which the hour's is not listed yet": Pair(
        DAILY, WEEKLY, two_volumes_slow, before=("hour",), ago=timedelta(seconds=2), may_lose="week"
    ),
    "day against day, which share the hour's": Pair(DAILY, DAILY, plain, before=("hour",), both_ways=False),
    "hour against a forced one": Pair(HOURLY, FORCED, plain),
    "hour against a forced one, within 15 seconds": Pair(HOURLY, FORCED, fifteen_seconds, at_night=True),
    "day against a forced hour": Pair(DAILY, FORCED, plain),
    "a forced one delivered twice": Pair({**FORCED, **OF_THE_SLOT}, {**FORCED, **OF_THE_SLOT}, plain, both_ways=False),
    "a continuation against a repetition": Pair(
        {**HOURLY, **OF_THE_SLOT, "continuation": 1}, {**HOURLY, **OF_THE_SLOT}, cut_short
    ),
    "hour against hour, under a freeze": Pair(HOURLY, HOURLY, hooked(SKIP), both_ways=False, may_fail=REFUSED),
    "hour against hour, with few commands": Pair(HOURLY, HOURLY, few_commands, both_ways=False, may_fail=REFUSED),
    "hour against day, under a freeze": Pair(HOURLY, DAILY, hooked(SKIP), may_fail=REFUSED),
    "hour against a forced one, under a freeze": Pair(HOURLY, FORCED, hooked(SKIP), may_fail=REFUSED, at_night=True),
    "hour against hour, content with crash": Pair(HOURLY, HOURLY, hooked(CONTINUE), both_ways=False),
    "hour against day, content with crash": Pair(HOURLY, DAILY, hooked(CONTINUE), may_fail=REFUSED),
}
