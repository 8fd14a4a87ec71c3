"""Two runs at once: at most one snapshot too many, never one too few, and the next run mends it.

A tag cannot be changed on condition, so one loss is possible: a longer period's word, when a shorter
one's run writes the tag it read before. The longer one's rule fires daily and finds its slot due again.

The second run is started at every call boundary of the first, once to its end and once call by call in
turn with it, so that every order in which calls can meet is covered at the granularity of one switch.
"""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest

from tests.fake_cloud import KEYS, FakeCloud

MINUTE = timedelta(minutes=1)
POLICY = '{"hour": 2, "day": 2, "week": 2}'


def fleet(interval):
    """Two volumes of one instance and one alone, in the middle of their lives, at a Monday's midnight."""
    cloud = FakeCloud(policies={"P": POLICY}, create_interval=interval)
    volumes = [cloud.volume(1, instance="i-1"), cloud.volume(2, instance="i-1"), cloud.volume(3)]
    for volume in volumes:
        for hours in (25, 3, 2, 1):
            cloud.snapshot(volume, "hour" if hours < 25 else "day", timedelta(hours=hours))
        for weeks in (1, 2, 3):
            cloud.snapshot(volume, "week", timedelta(weeks=weeks, hours=5))
    return cloud, volumes


def in_turn(cloud, first, second, switch_at):
    """Run `first` up to its `switch_at`-th call, then both alternately, one call each."""
    turn = threading.Condition()
    state: dict[str, Any] = {"next": "first", "calls": 0, "done": set()}

    def gate(operation, target):
        # Worker threads of a run carry its name, given below.
        me = threading.current_thread().name.split("/")[0]
        if me not in ("first", "second"):
            return
        with turn:
            turn.wait_for(lambda: state["next"] == me or len(state["done"]) > 0, timeout=10)
            state["calls"] += 1
            if state["calls"] >= switch_at:
                state["next"] = "second" if me == "first" else "first"
            turn.notify_all()

    def body(name, run):
        try:
            run()
        finally:
            with turn:
                state["done"].add(name)
                turn.notify_all()

    cloud.before = gate
    threads = [
        threading.Thread(target=body, args=("first", first), name="first"),
        threading.Thread(target=body, args=("second", second), name="second"),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    cloud.before = lambda operation, target: None
    return state["calls"]


pytestmark = pytest.mark.usefixtures("one_thread")


def check(cloud, volumes, periods):
    for longer in {"week"} & set(periods):
        cloud.clock.now += 10 * MINUTE
        cloud.run(longer)
    now = cloud.clock.now
    for volume in volumes:
        for period in periods:
            mine = [s for s in cloud.of(volume, period) if s.start_time > now - 45 * MINUTE]
            assert 1 <= len(mine) <= 2, f"{volume.id} has {len(mine)} of this {period}"
        fresh = [s for s in cloud.of(volume) if s.start_time > now - 45 * MINUTE]
        assert len(fresh) <= 2, f"{volume.id}: {len(fresh)} new snapshots"
        for period in ("hour", "day", "week"):
            assert cloud.of(volume, period), f"{volume.id} lost all of its {period}"
        assert len(cloud.of(volume, "week")) >= 2


def mends(cloud, volumes, periods):
    """The next slots' runs bring every period to exactly its N."""
    for _ in range(3):
        cloud.clock.now += timedelta(weeks=1)
        for period in periods:
            cloud.run(period)
            cloud.clock.now += 10 * MINUTE
    for volume in volumes:
        for period in periods:
            assert len(cloud.of(volume, period)) == 2
        assert all(s.tags[KEYS.period] for s in cloud.of(volume))


@pytest.mark.parametrize("interval", [timedelta(), timedelta(seconds=15)], ids=["no create rule", "15 seconds"])
@pytest.mark.parametrize(
    ("first", "second"),
    [("hour", "hour"), ("hour", "day"), ("day", "hour"), ("day", "day"), ("day", "week"), ("week", "day")],
)
def test_two_runs_meeting_at_any_call_lose_nothing(first, second, interval):
    calls = switch_at = 1
    while switch_at <= calls:
        cloud, volumes = fleet(interval)
        # The shorter periods of this midnight ran before, as the staggered rules have it.
        for earlier in ("hour", "day"):
            if earlier not in (first, second) and "week" in (first, second):
                cloud.run(earlier)
                cloud.clock.now += 10 * MINUTE
        calls = in_turn(cloud, lambda c=cloud: c.run(first), lambda c=cloud: c.run(second), switch_at)
        check(cloud, volumes, {first, second})
        mends(cloud, volumes, ["hour", "day", "week"])
        switch_at += 1
    assert switch_at > 8


@pytest.mark.parametrize("period", ["hour", "day"])
def test_a_forced_run_beside_the_scheduled_one_loses_nothing(period):
    calls = switch_at = 1
    while switch_at <= calls:
        cloud, volumes = fleet(timedelta())
        calls = in_turn(cloud, lambda c=cloud: c.run("hour", force=True), lambda c=cloud: c.run(period), switch_at)
        check(cloud, volumes, {period})
        mends(cloud, volumes, ["hour", "day", "week"])
        switch_at += 1


@pytest.mark.parametrize(("first", "second"), [("hour", "hour"), ("hour", "day"), ("day", "hour"), ("day", "week")])
def test_a_whole_run_between_any_two_calls_of_another_loses_nothing(first, second):
    boundary = 0
    while True:
        cloud, volumes = fleet(timedelta())
        seen = {"calls": 0, "met": False}

        def meet(operation, target, cloud=cloud, seen=seen, boundary=boundary):
            if seen["calls"] == boundary and not seen["met"]:
                seen["met"] = True
                cloud.run(second)
            seen["calls"] += 1

        cloud.before = meet
        cloud.run(first)
        if not seen["met"]:
            break
        cloud.before = lambda operation, target: None
        check(cloud, volumes, {first, second})
        mends(cloud, volumes, ["hour", "day", "week"])
        boundary += 1
    assert boundary > 4
