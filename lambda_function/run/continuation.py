"""A run that runs out of time is continued in another run, as long as runs make progress.

EC2 holds all state, so the other run is given the same event and a counter: it finds what is still due by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from lambda_function.model.period import in_slot
from lambda_function.model.result import ChangeOutcome, Outcome, RunReport

MAX_CONTINUATIONS = 10
"""Lambda stops a function that goes on invoking itself after about 16 in a row."""

BEGINS_WITHIN = timedelta(minutes=1)
"""How long a continuation may wait in Lambda's queue; one that would begin after its slot is not sent."""

InvokeAgain = Callable[[dict[str, Any]], None]
"""Gives an event to another run. Raises AwsError."""


def continue_or_conclude(
    report: RunReport, event: Mapping[str, Any], now: datetime, invoke_again: InvokeAgain | None
) -> RunReport:
    """The final report: continued in another run, or with what was deferred among the failures and the reason why.

    A run that is continued has not failed: the next one finds due what failed in this one, and reports it. Failures
    that it would not find fail this run instead, and nothing is continued: Lambda's retry of the event does the rest.
    `invoke_again` is None where there is nothing to invoke, as in a shell.
    """
    if not report.deferred:
        return report
    reason = _reason_to_stop(report, now, invoke_again)
    if reason is None and invoke_again is not None:
        try:
            invoke_again(next_event(report, event))
        except Exception as error:
            # Whatever it was, the report must not be lost to it.
            reason = f"the next run could not be started, or that is not known: {error}"
        else:
            return replace(report, is_continued=True)
    return replace(report, failures=(*report.failures, *(f"{line} ({reason})" for line in report.deferred)))


def next_event(report: RunReport, event: Mapping[str, Any]) -> dict[str, Any]:
    """The same event for the same slot, and the counter."""
    request = report.request
    return {**event, "time": request.time.isoformat(), "continuation": request.continuation + 1}


def _reason_to_stop(report: RunReport, now: datetime, invoke_again: InvokeAgain | None) -> str | None:
    request = report.request
    if invoke_again is None:
        return "the time allowed is over"
    if report.unrepeatable_failures:
        return "not continued, so that the failures above are reported; a retry of this event does the rest"
    if not in_slot(request.period, now + BEGINS_WITHIN, request.time):
        return f"not continued, since the {request.period} is over"
    if request.continuation >= MAX_CONTINUATIONS:
        return f"not continued after {MAX_CONTINUATIONS} continuations"
    if not _has_made_progress(report):
        return "not continued, since this run achieved nothing"
    return None


def _has_made_progress(report: RunReport) -> bool:
    created = report.count(Outcome.CREATED, Outcome.SHARED)
    return created > 0 or any(change.outcome is ChangeOutcome.DONE for change in report.changes)
