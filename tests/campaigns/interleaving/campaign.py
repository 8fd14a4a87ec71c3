"""Two runs, by every schedule, each in a night of its own; all that must hold is checked each time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from lambda_function.errors import ConfigurationError
from lambda_function.model.result import Outcome, RunReport
from tests.campaigns.interleaving.invariants import check_later_runs, check_meeting, check_report
from tests.campaigns.interleaving.meeting import Meeting
from tests.campaigns.interleaving.scheduler import Scheduler
from tests.campaigns.interleaving.schedules import Schedule
from tests.support.campaign import IS_SAMPLE
from tests.support.promises import each_due_volume_has_its_snapshot, hold

LAMBDA_WAITS = timedelta(minutes=1)
"""Until a failed run's event is given to the function again."""

Asked = Mapping[str, Any]


@dataclass(frozen=True)
class Pair:
    """Two runs, by what they are asked (`older`: by a version that is not this one).

    `before` are the periods whose runs ended first, each `ago` before what follows. `may_lose` is the period of which
    the one accepted loss is met, in some of the schedules. `may_fail` are texts one of which a failure must have.
    `both_ways` where the runs differ; `at_night` for what others cover for the most part.
    """

    first: Asked
    second: Asked
    fleet: Callable[[], Meeting]
    before: tuple[str, ...] = ()
    ago: timedelta = timedelta(minutes=10)
    may_fail: tuple[str, ...] = ()
    may_lose: str = ""
    both_ways: bool = True
    at_night: bool = False

    @property
    def periods(self) -> dict[str, str]:
        return {"first": self.first["period"], "second": self.second["period"]}

    def night(self) -> Meeting:
        """The fleet as the two runs find it."""
        meeting = self.fleet()
        for period in self.before:
            meeting.alone(period)
            meeting.clock.now += self.ago
        return meeting.begin()

    def bodies(self, meeting: Meeting) -> dict[str, Callable[[], Any]]:
        return {"first": _body(meeting, self.first), "second": _body(meeting, self.second)}


def _body(meeting: Meeting, asked: Asked) -> Callable[[], Any]:
    if "older" in asked:
        return lambda: asked["older"].run(meeting, asked["period"])
    return lambda: meeting.judged(**asked)


@dataclass(frozen=True)
class Edit:
    """What a person changes between two calls, and how a mistake is mended afterwards."""

    change: Callable[[Meeting], None]
    mend: Callable[[Meeting], None] = lambda _: None


@dataclass
class Campaign:
    """A pair, and what was met: schedules tried, those with the accepted loss, with a snapshot more, with a failure."""

    pair: Pair
    edit: Edit | None = None
    tried: int = 0
    with_loss: int = 0
    with_one_more: int = 0
    with_failure: int = 0
    _checked: set[object] = field(default_factory=set)

    def over(self, *ways: Callable[..., None], **options: Any) -> Campaign:
        """Try all schedules of these kinds, with either run first where that differs."""
        for way in ways:
            way(self._play, "first", "second", **options)
            if self.pair.both_ways:
                way(self._play, "second", "first", **options)
        # A sample may pass over the few schedules that meet the loss.
        if self.with_loss or not IS_SAMPLE:
            assert bool(self.with_loss) is bool(self.pair.may_lose), f"{self.with_loss} schedules with a loss"
        return self

    def told(self) -> str:
        """The figures in a line."""
        return (
            f"{self.tried} schedules, {self.with_one_more} with one snapshot more, {self.with_failure} with a failure "
            f"that the repetition mends, {self.with_loss} with the accepted loss"
        )

    def _play(self, schedule: Schedule) -> list[bool]:
        meeting = self.pair.night()
        began = meeting.clock.now
        bodies = self.pair.bodies(meeting)
        if self.edit is not None:
            change = self.edit.change
            bodies["edit"] = lambda: change(meeting)
        scheduler, overs = meeting.meet(bodies, schedule)
        try:
            self._check(meeting, scheduler, began)
        except AssertionError as error:
            error.add_note(str(schedule))
            raise
        return overs

    def _check(self, meeting: Meeting, scheduler: Scheduler, began: datetime) -> None:
        pair, account = self.pair, meeting.account
        self.tried += 1
        check_meeting(meeting)
        lost = account.lost
        assert {word for _, word in lost} <= {pair.may_lose}
        for run, error in scheduler.errors.items():
            assert isinstance(error, ConfigurationError), f"{run}: {error}"
            assert self.edit is not None
            assert run not in meeting.made.values()
        reports = {run: report for run, report in scheduler.results.items() if report is not None}
        for run, report in reports.items():
            account.unknown = _unknown(report) if self.edit is not None else set()
            check_report(meeting, run, report)
            for line in report.failures:
                assert any(text in line for text in pair.may_fail), line
        failed = [run for run in pair.periods if run in scheduler.errors or (run in reports and reports[run].failures)]
        if self.edit is not None:
            self.edit.mend(meeting)
        for run in failed:
            meeting.clock.now += LAMBDA_WAITS
            assert meeting.alone(**{"time": began, **getattr(pair, run)}).failures == ()
        for run, period in pair.periods.items():
            account.unknown = _unknown(reports.get(run)) if self.edit is not None else set()
            hold(each_due_volume_has_its_snapshot(account, period, began))
        self.with_loss += bool(lost)
        self.with_failure += any(report.failures for report in reports.values())
        of_volumes = [meeting.ever[each].volume_id for each in meeting.made]
        self.with_one_more += len(of_volumes) > len(set(of_volumes))
        if (key := meeting.key()) not in self._checked:
            self._checked.add(key)
            check_later_runs(meeting, pair.periods.values())


def _unknown(report: RunReport | None) -> set[str]:
    """Volumes that the run told of: tagged with a policy which came, or went, after it had read the policies."""
    return {each.volume_id for each in report.volumes if each.outcome is Outcome.UNKNOWN_POLICY} if report else set()
