"""Two runs at once: at most one snapshot too many, never one too few, and the next runs mend it.

Every schedule with two switches between the runs, and every alternation, at the granularity of one AWS call, or a
sample of both; the night adds a third switch and other orders of a run's own threads. A tag cannot be changed on
condition, so one loss is possible (docs/decisions/0007): the pairs that can meet it say so, and have to meet it; all
others must not.
"""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from tests.campaigns.interleaving.campaign import Campaign, Pair
from tests.campaigns.interleaving.fleets import PAIRS, one_of_each_kind, one_volume, two_volumes
from tests.campaigns.interleaving.older import VERSIONS
from tests.campaigns.interleaving.scheduler import put_under_the_scheduler
from tests.campaigns.interleaving.schedules import Schedule, in_three_switches, in_turn, in_two_switches
from tests.support.campaign import NIGHTLY, sized
from tests.support.cloud import KEYS

pytestmark = pytest.mark.campaign

BY_NAME = [pytest.param(pair, id=name) for name, pair in PAIRS.items() if NIGHTLY or not pair.at_night]
THREE_SWITCHES = ("hour against hour", "hour against day", "day against week, which share the hour's")
OVERLAPPING = THREE_SWITCHES


@pytest.fixture(autouse=True)
def scheduled(monkeypatch):
    put_under_the_scheduler(monkeypatch)
    # Looks at a full account are alike: at their own rate they would be most of all calls, and a pair's 800 schedules
    # would be 25,000.
    monkeypatch.setattr("lambda_function.run.pending_quota.POLL_SECONDS", 3.0)


@pytest.fixture
def pruned_beside_creates(monkeypatch):
    """A small fleet's volumes are pruned as soon as they are served, as a large one's are."""
    monkeypatch.setattr("lambda_function.run.prune_queue.BATCH_WORTH_CHECKING", 1)


@pytest.mark.usefixtures("pruned_beside_creates")
@pytest.mark.parametrize("last_first", [False, True], ids=["threads in their order", "the last thread first"])
def test_the_order_of_calls_is_the_schedule_s_alone(last_first):
    pair = PAIRS["hour against day"]
    schedule = Schedule((("second", 4), ("first", 7), ("second", 2)), last_first)
    orders = []
    for _ in range(sized(20, 20, 5)):
        meeting = pair.night()
        meeting.meet(pair.bodies(meeting), schedule)
        orders.append(meeting.events)
    assert all(order == orders[0] for order in orders)
    assert [event.run for event in orders[0][:13]] == ["second"] * 4 + ["first"] * 7 + ["second"] * 2


@pytest.mark.parametrize("pair", BY_NAME)
def test_two_runs_meeting_at_any_calls_lose_nothing(pair):
    campaign = Campaign(pair).over(in_two_switches, in_turn)
    print(campaign.told())
    assert campaign.tried > sized(50, 50, 5)


@pytest.mark.usefixtures("pruned_beside_creates")
@pytest.mark.parametrize("pair", [param for param in BY_NAME if NIGHTLY or param.id in OVERLAPPING])
def test_two_runs_that_prune_beside_their_creates_lose_nothing(pair):
    fleet = pair.fleet if NIGHTLY else two_volumes
    campaign = Campaign(replace(pair, fleet=fleet)).over(in_two_switches, in_turn, last_first=True)
    print(campaign.told())
    assert campaign.tried > sized(50, 50, 5)


@pytest.mark.parametrize("older", [pytest.param(version, id=name) for name, version in VERSIONS.items()])
@pytest.mark.parametrize(
    ("period", "old_period", "may_lose"),
    [
        pytest.param("hour", "hour", "", id="hour against its hour"),
        pytest.param("hour", "day", "", id="hour against its day"),
        pytest.param("day", "hour", "", id="day against its hour"),
        pytest.param("week", "day", "week", id="week against its day"),
    ],
)
def test_an_older_version_that_is_still_running_costs_nothing(older, period, old_period, may_lose):
    before = ("hour",) if period == "week" else ()
    pair = Pair(
        {"period": period},
        {"period": old_period, "older": older},
        two_volumes if NIGHTLY else one_volume,
        before=before,
        may_lose=may_lose if older.joins else "",
    )
    campaign = Campaign(pair).over(in_two_switches)
    print(campaign.told())
    assert campaign.tried > sized(30, 30, 5)


def test_what_a_run_writes_is_what_every_version_reads():
    meeting = one_of_each_kind()
    for period in ("hour", "day", "week"):
        meeting.alone(period)
    made = [each for each in meeting.snapshots.values() if each.id in meeting.made]
    assert len(made) > 3
    for each in made:
        copied = dict(meeting.volumes[each.volume_id].tags)
        written = {key: value for key, value in each.tags.items() if key not in copied}
        assert {key: each.tags[key] for key in copied} == copied
        assert written.keys() - {KEYS.instance} == {KEYS.period, KEYS.consistency, KEYS.set}
        assert re.fullmatch(r"hour( day)?( week)?", written[KEYS.period])
        assert written[KEYS.consistency] in ("application", "crash", "offline")
        assert written.get(KEYS.instance, "i-0") in ("i-0", "i-1", "i-2")


@pytest.mark.parametrize("name", THREE_SWITCHES if NIGHTLY else THREE_SWITCHES[:1])
def test_a_third_switch_between_the_runs_changes_nothing(name):
    fleet = two_volumes if NIGHTLY else one_volume
    campaign = Campaign(replace(PAIRS[name], fleet=fleet)).over(in_three_switches)
    print(campaign.told())
    assert campaign.tried > sized(50, 50, 5)
