"""One night: the hourly run, the day's, the hours after and three more days; one of the first two runs dies.

A run that died or failed is done again as Lambda does with an asynchronous event: a minute later, and once more two
minutes after that. A run that succeeded is not.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from lambda_function.model.result import RunReport
from tests.campaigns.crashes.deaths import Gate, Way
from tests.campaigns.crashes.invariants import World, check_price
from tests.support.clock import START
from tests.support.promises import (
    CloudAccount,
    Run,
    broken_by_report,
    broken_by_write,
    each_due_volume_has_its_snapshot,
    hold,
    no_freeze_lasts_longer_than_promised,
)

REPEATED_AFTER = (timedelta(minutes=1), timedelta(minutes=2))
BEGINS = {"hour": START, "day": START + timedelta(minutes=10)}
LATER = (
    *(("hour", START + timedelta(hours=hours)) for hours in (1, 2, 3)),
    *((period, begins + timedelta(days=days)) for days in (1, 2, 3) for period, begins in BEGINS.items()),
)


class Night:
    """Plays the night; every step is judged as it is taken."""

    def __init__(self, fleet: World) -> None:
        self.fleet = fleet
        self.account = CloudAccount(fleet, fleet.foreign)

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
        fleet, account = self.fleet, self.account
        fleet.clock.now = max(fleet.clock.now, begins)
        if begins in BEGINS.values():
            fleet.others_are_at_work(period)
        report = self._attempt(period, gate or Gate())
        for pause in REPEATED_AFTER:
            if not _has_failed(report):
                break
            assert gate is not None, f"the {period}'s run fails undisturbed: {report}"
            fleet.clock.now += pause
            report = self._attempt(period, Gate())
        assert not _has_failed(report), f"not made good by two repetitions: {report}"
        # What botocore sent again after EC2's 15 seconds is one more of each volume of that call.
        is_doubled = gate is not None and gate.way is Way.RESENT_LATE and gate.victim.startswith("create_snapshot")
        hold(each_due_volume_has_its_snapshot(account, period, begins, most=2 if is_doubled else 1))
        hold(no_freeze_lasts_longer_than_promised(account, period, begins))

    def _attempt(self, period: str, gate: Gate) -> RunReport | None:
        fleet, began = self.fleet, self.fleet.clock.now
        self.account.foreign = fleet.foreign
        run = Run(self.account, period, began, was_disturbed=bool(gate.at))
        broken: list[str] = []
        report = fleet.attempt(period, gate, lambda write: broken.extend(broken_by_write(run, write)))
        gate.report = report
        if report is not None:
            broken += broken_by_report(run, report)
        hold(broken)
        if gate.at:
            check_price(fleet, run, report, gate)
        return report


def _has_failed(report: RunReport | None) -> bool:
    return report is None or bool(report.failures or report.deferred)
