"""One night: the hourly run, the day's, the hours after and three more days; one of the first two runs dies.

A run that died or failed is done again as Lambda does with an asynchronous event: a minute later, and once more two
minutes after that. A run that succeeded is not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from lambda_function.model.result import RunReport
from tests.campaigns.crashes.deaths import Gate, Way
from tests.campaigns.crashes.instances import Freeze
from tests.campaigns.crashes.invariants import (
    History,
    World,
    check_dying_report,
    check_nothing_lost,
    check_price,
    check_report,
    check_slot,
)
from tests.support.clock import START
from tests.support.cloud import Stored

REPEATED_AFTER = (timedelta(minutes=1), timedelta(minutes=2))
BEGINS = {"hour": START, "day": START + timedelta(minutes=10)}
LATER = (
    *(("hour", START + timedelta(hours=hours)) for hours in (1, 2, 3)),
    *((period, begins + timedelta(days=days)) for days in (1, 2, 3) for period, begins in BEGINS.items()),
)


@dataclass
class Attempt:
    """One run: what it found and left, and its report if it lived to make one."""

    period: str
    before: dict[str, Stored]
    after: dict[str, Stored] = field(default_factory=dict)
    freezes: list[Freeze] = field(default_factory=list)
    report: RunReport | None = None

    @property
    def has_failed(self) -> bool:
        return self.report is None or bool(self.report.failures or self.report.deferred)


class Night:
    """Plays the night; every step is checked as it is taken."""

    def __init__(self, fleet: World) -> None:
        self.fleet = fleet
        self.history = History(fleet)

    def play(self, period: str, gate: Gate | None = None) -> Gate:
        """The night up to the end of `period`'s slot run, whose first attempt passes this gate."""
        gate = gate or Gate()
        for each, begins in BEGINS.items():
            self.slot(each, begins, gate if each == period else None)
            if each == period:
                break
        return gate

    def go_on(self, period: str) -> None:
        """The slots after the one that was played up to."""
        rest = (*((each, begins) for each, begins in BEGINS.items() if begins > BEGINS[period]), *LATER)
        for each, begins in rest:
            self.slot(each, begins, None)

    def slot(self, period: str, begins: datetime, gate: Gate | None) -> None:
        """One period's run, its repetitions where Lambda makes them, and what must hold then."""
        fleet = self.fleet
        fleet.clock.now = max(fleet.clock.now, begins)
        if begins in BEGINS.values():
            fleet.others_are_at_work(period)
        fleet.instances_at_work.frozen()
        attempt = self._attempt(period, gate or Gate())
        if gate is not None and gate.at:
            check_price(fleet, attempt, gate)
            if attempt.report is not None:
                check_dying_report(fleet, attempt)
        else:
            check_report(fleet, attempt)
        for pause in REPEATED_AFTER:
            if not attempt.has_failed:
                break
            assert gate is not None, f"the {period}'s run fails undisturbed: {attempt.report}"
            fleet.clock.now += pause
            attempt = self._attempt(period, Gate())
            check_report(fleet, attempt)
        assert not attempt.has_failed, f"not made good by two repetitions: {attempt.report}"
        check_slot(fleet, self.history, period, begins, gate)

    def _attempt(self, period: str, gate: Gate) -> Attempt:
        attempt = Attempt(period, self.fleet.copy_of_snapshots())
        freezes = len(self.fleet.instances_at_work.freezes)
        attempt.report = gate.report = self.fleet.attempt(period, gate)
        attempt.after = self.fleet.copy_of_snapshots()
        self.history.note()
        check_nothing_lost(self.fleet, self.history)
        attempt.freezes = self.fleet.instances_at_work.freezes[freezes:]
        if gate.way is not Way.EXIT:
            for each in attempt.freezes:
                assert each.ended_by == "post", f"{each} was not thawed by the run, which lived"
        return attempt
