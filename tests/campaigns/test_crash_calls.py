"""A run that dies at its k-th call, for every k and in every way, is made good and harms nothing.

A night is played in memory (`crashes/`). The calls of the run that dies are counted in an undisturbed night;
then, for every k up to that number, a new night is played in which the k-th call of that run goes wrong. To make the
numbering the same each time, a run's calls are made one after another in the calling thread, in two schedules: changes
after all creates, and changes as soon as they are known, between the creates.

In memory a process's end is an exception that no handler of errors sees, raised at the k-th call and at every later
one, so that what `finally` does reaches nobody. The end after the last call is enumerated as well.

Every way is tried each time, in the hourly run with one schedule and in the day's with the other; at night in both with
both. A sample lets each way end the run at every seventh call, beginning with another one.
"""

from __future__ import annotations

import functools

import pytest

from lambda_function.model.result import Change, ChangeOutcome, Outcome
from tests.campaigns.crashes.deaths import Gate, Way
from tests.campaigns.crashes.fleet import Fleet
from tests.campaigns.crashes.invariants import essence, prospects
from tests.campaigns.crashes.night import Night
from tests.campaigns.crashes.schedule import SCHEDULES, in_one_thread
from tests.support.campaign import NIGHTLY, sized

pytestmark = pytest.mark.campaign

STEP = sized(1, 1, 7)
COMBINATIONS = [(schedule, period) for schedule in SCHEDULES for period in ("hour", "day")]


@pytest.fixture
def schedule(request):
    with in_one_thread(request.param):
        yield request.param


@functools.cache
def undisturbed(schedule, period):
    """The calls of the run that is to die, and what the whole night leaves."""
    night = Night(Fleet())
    calls = night.play(period).calls
    night.go_on(period)
    return calls, essence(night.fleet)


MADE_GOOD: set[tuple[object, ...]] = set()
"""Schedule, period and prospects of worlds whose later slots were played: many deaths leave the same world."""


def play(schedule, period, way, at):
    """A night in which the call goes wrong ends as the undisturbed one."""
    fleet = Fleet()
    night = Night(fleet)
    night.play(period, Gate(fleet.clock, way, at))
    world = (schedule, period, prospects(night.fleet))
    if world not in MADE_GOOD:
        night.go_on(period)
        assert essence(night.fleet) == undisturbed(schedule, period)[1]
        MADE_GOOD.add(world)


@pytest.mark.parametrize(("schedule", "period"), COMBINATIONS if NIGHTLY else COMBINATIONS[::3], indirect=["schedule"])
@pytest.mark.parametrize("way", list(Way), ids=str)
def test_repetitions_complete_a_run_that_dies_at_any_call(schedule, period, way):
    calls, _ = undisturbed(schedule, period)
    last = len(calls) + 1 if way is Way.EXIT else len(calls)
    for at in sorted({last, *range(1 + list(Way).index(way) % STEP, last, STEP)}):
        victim = calls[at - 1] if at <= len(calls) else "the end"
        try:
            play(schedule, period, way, at)
        except BaseException as error:
            error.add_note(f"at call {at} of {len(calls)}, {victim}: {way}")
            raise


@pytest.mark.parametrize(("schedule", "period"), COMBINATIONS, indirect=["schedule"])
def test_the_run_that_dies_has_everything_that_can_be_cut_short(schedule, period):
    gate = Night(Fleet()).play(period)
    calls, report = gate.calls, gate.report
    assert report is not None
    assert {"create_snapshot", "create_snapshots", "send pre-script", "send post-script"} <= set(calls)
    assert {"set_consistency", "set_periods", "delete_snapshot", "count_pending"} <= set(calls)
    # A freeze that the cap made vain, and the looks of the 15-second rule.
    assert calls.count("send pre-script") > len(report.hooks) == 2
    assert calls.count("list_snapshots") == 1 + 3
    outcomes = {(change.change, change.outcome) for change in report.changes}
    assert {(Change.DELETE, ChangeOutcome.DONE), (Change.DELETE, ChangeOutcome.REFUSED)} <= outcomes
    assert (Change.RELEASE, ChangeOutcome.DONE) in outcomes
    assert {result.consistency for result in report.volumes} >= {"application", "crash", "offline"}
    assert report.count(Outcome.SHARED) == (8 if period == "day" else 0)
    assert len(report.failed_snapshots) == (1 if period == "hour" else 0)
