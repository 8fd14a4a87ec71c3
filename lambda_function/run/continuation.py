"""What a run had no time for is handed on to another run, as long as runs get somewhere.

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

HandOn = Callable[[dict[str, Any]], None]
"""Gives an event to another run. Raises AwsError."""


def continue_or_conclude(
    report: RunReport, event: Mapping[str, Any], now: datetime, hand_on: HandOn | None
) -> RunReport:
    """The report as it is to be told: with what is left handed on, or among the failures with the reason why not.

    A run that is handed on has not failed: the next one finds due what failed in this one, and tells. Failures that it
    would not find are told now, and nothing is handed on: Lambda's own repetition of the event goes on with the rest.
    `hand_on` is None where there is nobody to go on, as in a shell.
    """
    if not report.left:
        return report
    reason = _reason_to_stop(report, now, hand_on)
    if reason is None and hand_on is not None:
        try:
            hand_on(next_event(report, event))
        except Exception as error:
            # Whatever it was, the report must not be lost to it.
            reason = f"it could not be handed on, or that is not known: {error}"
        else:
            return replace(report, is_handed_on=True)
    return replace(report, failures=(*report.failures, *(f"{line} ({reason})" for line in report.left)))


def next_event(report: RunReport, event: Mapping[str, Any]) -> dict[str, Any]:
    """The same event for the same slot, and the counter."""
    request = report.request
    return {**event, "time": request.time.isoformat(), "continuation": request.continuation + 1}


def _reason_to_stop(report: RunReport, now: datetime, hand_on: HandOn | None) -> str | None:
    request = report.request
    if hand_on is None:
        return "the time allowed is over"
    if report.told_once:
        return "not handed on, so that the failures above are told; a repetition of this event goes on"
    if not in_slot(request.period, now + BEGINS_WITHIN, request.time):
        return f"not handed on, since the {request.period} is over"
    if request.continuation >= MAX_CONTINUATIONS:
        return f"not handed on after {MAX_CONTINUATIONS} continuations"
    if not _has_got_somewhere(report):
        return "not handed on, since this run achieved nothing"
    return None


def _has_got_somewhere(report: RunReport) -> bool:
    created = report.count(Outcome.CREATED, Outcome.SHARED)
    return created > 0 or any(change.outcome is ChangeOutcome.DONE for change in report.changes)
