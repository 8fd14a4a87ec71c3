"""Which orders of two runs' calls are tried: all that a bound on the switches allows, none by chance.

Two switches: the one makes i calls, the other j, the one ends, the other ends, for every i and j and with either of
them first. A loss by a read and a write with another's write between them needs no more. Alternation has as many
switches as there are calls: one each in turn, after the one has made i. Three switches (i, j, k) are for the night.
A sample takes every third i, j and k.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.campaigns.interleaving.scheduler import Scheduler
from tests.support.campaign import sized

END = 1_000_000
STEP = sized(1, 1, 3)


@dataclass(frozen=True)
class Schedule:
    """Turns of a run and a number of calls each; what is left goes by turns of one call, the last named run last."""

    turns: tuple[tuple[str, int], ...]
    last_first: bool = False

    def __str__(self) -> str:
        turns = ", ".join(f"{run} {'to its end' if calls == END else calls}" for run, calls in self.turns)
        return f"{turns}{', the last thread first' if self.last_first else ''}, then in turn"


def play(scheduler: Scheduler, schedule: Schedule, runs: tuple[str, ...]) -> list[bool]:
    """Let the runs proceed as the schedule has it; for each turn, whether its run was over by then."""
    overs = []
    for run, calls in schedule.turns:
        made = 0
        while made < calls and not scheduler.is_over(run):
            if scheduler.proceed(run):
                made += 1
            else:
                scheduler.pass_time([run])
        overs.append(scheduler.is_over(run))
    last = schedule.turns[-1][0]
    in_order = [*(run for run in runs if run != last), last]
    while waiting := [run for run in in_order if not scheduler.is_over(run)]:
        have_proceeded = [scheduler.proceed(run) for run in waiting]
        if not any(have_proceeded):
            scheduler.pass_time(waiting)
    return overs


Play = Callable[[Schedule], list[bool]]
"""Plays one schedule in a world of its own, checks it, and returns which turns' runs were over."""


def in_two_switches(play_one: Play, first: str, second: str, *, last_first: bool = False) -> None:
    """The first up to i, the second up to j, both to the end; with none of either it is one run after the other."""
    for i in _until_over(1):
        for j in _until_over(1):
            i.is_over, j.is_over = play_one(
                Schedule(((first, i.calls), (second, j.calls), (first, END), (second, END)), last_first)
            )[:2]
            if i.is_over:
                break


def around(meanwhile: str) -> Callable[[Play, str, str], None]:
    """As two switches, but what is done meanwhile comes whole after the first's i calls, also when that is none."""

    def in_order(play_one: Play, first: str, second: str) -> None:
        for i in _until_over(0):
            for j in _until_over(0):
                turns = ((first, i.calls), (meanwhile, END), (second, j.calls), (first, END), (second, END))
                i.is_over, _, j.is_over = play_one(Schedule(turns))[:3]

    return in_order


def in_three_switches(play_one: Play, first: str, second: str) -> None:
    """The first up to i, the second up to j, the first k further, both to the end, the second before the first."""
    for i in _until_over(1):
        for j in _until_over(1):
            for k in _until_over(1):
                turns = ((first, i.calls), (second, j.calls), (first, k.calls), (second, END), (first, END))
                i.is_over, j.is_over, k.is_over = play_one(Schedule(turns))[:3]
                if i.is_over or j.is_over:
                    break


def in_turn(play_one: Play, first: str, _second: str, *, last_first: bool = False) -> None:
    """The first up to i, then one call each, the other one first."""
    for i in _until_over(0):
        i.is_over = play_one(Schedule(((first, i.calls),), last_first))[0]


@dataclass
class _Turn:
    calls: int
    is_over: bool = False


def _until_over(first: int) -> Iterator[_Turn]:
    """So many calls, STEP more ..., until the caller says that the run was over."""
    turn = _Turn(first)
    while not turn.is_over:
        yield turn
        turn = _Turn(turn.calls + STEP, turn.is_over)
