from __future__ import annotations

import json
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from lambda_function.model import Outcome, Period, RunReport, RunRequest, VolumeResult
from lambda_function.report import MAX_LISTED, MAX_MESSAGE, answer, bounded, failure_message

REQUEST = RunRequest(Period.HOUR, datetime(2026, 3, 2, tzinfo=UTC))


@given(st.lists(st.text(max_size=6000), max_size=60))
def test_a_failure_message_is_bounded_and_counts_what_it_leaves_out(lines):
    text = bounded("head:", lines)
    assert len(text) <= MAX_MESSAGE
    if lines and "more, each in the log" not in text:
        assert text.count("\n- ") >= len(lines)


def test_a_few_failures_are_named_whole():
    report = RunReport(REQUEST, failures=("vol-1: " + "x" * 900, "vol-2: no"))
    assert all(failure in failure_message(report) for failure in report.failures)


def test_the_answer_for_a_large_fleet_is_cut_says_so_and_stays_far_below_lambda_s_limit():
    results = tuple(VolumeResult(f"vol-{n:017x}", "P", Outcome.CREATED, "x" * 150) for n in range(10_000))
    whole = answer(RunReport(REQUEST, volumes=results))
    assert len(whole["volumes"]) == MAX_LISTED
    assert whole["omitted"] == {"volumes": 10_000 - MAX_LISTED}
    assert whole["summary"]["created"] == 10_000
    assert len(json.dumps(whole)) < 3_000_000


def test_the_answer_is_json_and_a_short_one_is_whole():
    result = VolumeResult("vol-1", "P", Outcome.NOT_DUE, "why")
    whole = json.loads(json.dumps(answer(RunReport(REQUEST, volumes=(result,)))))
    assert whole["volumes"] == [{"volume_id": "vol-1", "policy": "P", "outcome": "not due", "reason": "why"}]
    assert "omitted" not in whole
