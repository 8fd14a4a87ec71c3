"""A run that dies at its k-th call, for every k and in every way, is made good and harms nothing.

A night is played in memory (`tests/crashes/`). The calls of the run that dies are counted in an undisturbed night;
then, for every k up to that number, a new night is played in which the k-th call of that run goes wrong. To make the
numbering the same each time, a run's calls are made one after another in the calling thread, in two schedules: changes
after all creates (`one_thread`), and changes as soon as they are known, between the creates.

In memory a process's end is an exception that no handler of errors sees, raised at the k-th call and at every later
one, so that what `finally` does reaches nobody. The end after the last call is enumerated as well.
"""

from __future__ import annotations

import functools

import pytest

from lambda_function.change_stream import ChangeStream
from tests.crashes.deaths import Gate, Way
from tests.crashes.invariants import essence, prospects
from tests.crashes.night import Night


@pytest.fixture(params=["changes last", "changes first"], autouse=True)
def schedule(request, one_thread, monkeypatch):
    class AtOnce(ChangeStream):
        """A volume's changes as soon as they are known, in the calling thread."""

        def add(self, changes):
            for result in self._apply(changes) if changes else ():
                self._results.put(result)

        def finish(self):
            return self.results()

    if request.param == "changes first":
        monkeypatch.setattr("lambda_function.runner.ChangeStream", AtOnce)
    return request.param


@functools.cache
def undisturbed(schedule, period):
    """The calls of the run that is to die, and what the whole night leaves."""
    night = Night()
    calls = night.play(period).calls
    night.go_on(period)
    return calls, essence(night.fleet)


MADE_GOOD: set[tuple[object, ...]] = set()
"""Schedule, period and prospects of worlds whose later slots were played: many deaths leave the same world."""


def play(schedule, period, way, at):
    """A night in which the call goes wrong ends as the undisturbed one."""
    night = Night()
    night.play(period, Gate(night.fleet.clock, way, at))
    world = (schedule, period, prospects(night.fleet))
    if world not in MADE_GOOD:
        night.go_on(period)
        assert essence(night.fleet) == undisturbed(schedule, period)[1]
        MADE_GOOD.add(world)


@pytest.mark.parametrize("period", ["hour", "day"])
@pytest.mark.parametrize("way", list(Way), ids=str)
def test_a_run_that_dies_at_any_call_is_made_good_by_its_repetitions(schedule, period, way):
    calls, _ = undisturbed(schedule, period)
    for at in range(1, len(calls) + 2 if way is Way.EXIT else len(calls) + 1):
        victim = calls[at - 1] if at <= len(calls) else "the end"
        try:
            play(schedule, period, way, at)
        except BaseException as error:
            error.add_note(f"at call {at} of {len(calls)}, {victim}: {way}")
            raise
