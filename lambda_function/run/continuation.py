"""A run that runs out of time is continued in another run, as long as runs make progress.

EC2 holds all state, so the next run gets the same event plus a counter, and finds what is still due.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from lambda_function.model.period import in_slot
from lambda_function.model.result import ChangeOutcome, Outcome, RunReport

MAX_CONTINUATIONS = 10
"""Lambda stops a function after about 16 recursive invocations."""

BEGINS_WITHIN = timedelta(minutes=1)
"""How long a continuation may wait in Lambda's queue; one that would start after its slot is not sent."""

InvokeAgain = Callable[[dict[str, Any]], None]
"""Starts another run with an event. Raises AwsError."""


def continue_or_conclude(
    report: RunReport, event: Mapping[str, Any], now: datetime, invoke_again: InvokeAgain | None
) -> RunReport:
    """The final report: continued in another run, or with the deferred work as failures and the reason why.

    A continued run has not failed: the next run retries what failed and reports it. Failures that the next run would
    not repeat fail this run instead, and nothing is continued: Lambda's retry of the event does the rest.
    `invoke_again` is None if there is no function to invoke, as in a shell.
    """
    if not report.deferred:
        return report
    reason = "a repeated run does it" if report.is_interrupted else _reason_to_stop(report, now, invoke_again)
    if reason is None and invoke_again is not None:
        try:
            invoke_again(next_event(report, event))
        except Exception as error:
            # Whatever the error, the report must not be lost.
            reason = f"the next run could not be started, or that is not known: {error}"
        else:
            return replace(report, is_continued=True)
    return replace(report, failures=(*report.failures, *(f"{line} ({reason})" for line in report.deferred)))


def next_event(report: RunReport, event: Mapping[str, Any]) -> dict[str, Any]:
    """The event for the same slot, with the next counter."""
    request = report.request
    return {**event, "time": request.time.isoformat(), "continuation": request.continuation + 1}


def _reason_to_stop(report: RunReport, now: datetime, invoke_again: InvokeAgain | None) -> str | None:
    request = report.request
    if request.dry_run or invoke_again is None:
        return "a dry run is not continued" if request.dry_run else "the time allowed is over"
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
