from __future__ import annotations

import json
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from lambda_function.model.period import Period
from lambda_function.model.request import RunRequest
from lambda_function.model.result import Outcome, RunReport, VolumeResult
from lambda_function.output.summary import MAX_MESSAGE, failure_message, truncated_list, whole_report

REQUEST = RunRequest(Period.HOUR, datetime(2026, 3, 2, tzinfo=UTC))


@given(st.lists(st.text(max_size=6000), max_size=60))
def test_a_failure_message_is_bounded_and_counts_the_rest(lines):
    text = truncated_list("head:", lines)
    assert len(text) <= MAX_MESSAGE
    if lines and "more, each in the log" not in text:
        assert text.count("\n- ") >= len(lines)


def test_a_few_failures_are_named_whole():
    report = RunReport(REQUEST, failures=("vol-1: " + "x" * 900, "vol-2: no"))
    assert all(failure in failure_message(report) for failure in report.failures)


def test_the_whole_report_is_json_with_every_line():
    results = tuple(VolumeResult(f"vol-{n:04x}", "P", Outcome.NOT_DUE, "why") for n in range(5_000))
    whole = json.loads(json.dumps(whole_report(RunReport(REQUEST, volumes=results))))
    assert whole["volumes"][0] == {"volume_id": "vol-0000", "policy": "P", "outcome": "not due", "reason": "why"}
    assert len(whole["volumes"]) == 5_000
