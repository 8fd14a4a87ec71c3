"""What must hold of two runs and the runs after them, beside the promises of `tests/support/promises.py`."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta

from lambda_function.model.period import Period
from lambda_function.model.result import Outcome, RunReport
from tests.campaigns.interleaving.meeting import DAY, WEEK, Meeting
from tests.support.clock import START
from tests.support.cloud import KEYS
from tests.support.promises import (
    broken_by_report,
    each_due_volume_has_its_snapshot,
    hold,
    no_freeze_lasts_longer_than_promised,
)

THAW = "wait post-script"
MINUTE = timedelta(minutes=1)
RULES = ("hour", "day", "week")


def check_meeting(meeting: Meeting) -> None:
    """Right after both runs: each of their writes, and nothing frozen."""
    hold(meeting.broken)
    hold(no_freeze_lasts_longer_than_promised(meeting.account, "", meeting.clock.now))
    assert meeting.work.frozen() == []


def check_report(meeting: Meeting, run: str, report: RunReport) -> None:
    """The report says what the run did, all of it, and what is so when both are over."""
    hold(broken_by_report(meeting.runs[run], report))
    for result in report.volumes:
        if result.outcome is Outcome.FAILED:
            _could_not_know_better(meeting, run, result.volume_id, report)


def _could_not_know_better(meeting: Meeting, run: str, volume_id: str, report: RunReport) -> None:
    """Whoever fails under a freeze has looked after its thaw, and there was none by then that would have served."""
    request = report.request
    thawed = max(n for n, event in enumerate(meeting.events) if (event.run, event.operation) == (run, THAW))
    for each, maker in meeting.made.items():
        stored = meeting.ever[each]
        made_for = Period(stored.tags[KEYS.period].split()[0])
        is_late_enough = not request.force or stored.start_time >= request.time
        # A shorter period's, made under a hook, is joined only once it is proved.
        is_proved = meeting.account.is_proved(stored) and meeting.account.knew_proof(meeting.runs[run], stored)
        serves = made_for.rank == request.period.rank or (made_for.rank < request.period.rank and is_proved)
        is_usable = stored.volume_id == volume_id and serves and is_late_enough
        assert not is_usable or meeting.made_at[each] > thawed, f"{maker} had served {volume_id} when {run} gave up"


def check_later_runs(meeting: Meeting, periods: Collection[str]) -> None:
    """The next day's runs make good what was lost; three weeks on every period has exactly its N."""
    account = meeting.account
    account.settle()
    for slot in (START + DAY, START + 2 * WEEK, START + 3 * WEEK):
        meeting.clock.now = slot
        for period in RULES:
            assert meeting.alone(period).failures == ()
            meeting.clock.now += 10 * MINUTE
        if slot == START + DAY:
            for period in {*periods, "week"}:
                hold(each_due_volume_has_its_snapshot(account, period, slot))
    for volume_id in meeting.volumes:
        for period in RULES:
            count = account.count(volume_id, period)
            assert count is None or len(meeting.of(volume_id, period)) == count, f"{volume_id}: {period}"
    assert meeting.work.frozen() == []
