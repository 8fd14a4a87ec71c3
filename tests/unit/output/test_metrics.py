"""What CloudWatch is sent of a run: which names and dimensions, and what is left out."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from lambda_function.model.period import Period
from lambda_function.model.request import RunRequest
from lambda_function.model.result import HookResult, Outcome, RunReport, VolumeResult
from lambda_function.output.metrics import publish_metrics

HOME, OTHER = "111122223333/eu-west-1", "444455556666/us-east-1"
HOUR = RunRequest(Period.HOUR, datetime(2026, 3, 2, tzinfo=UTC))
CREATED = VolumeResult("vol-1", "P", Outcome.CREATED, "due", "snap-1")
FAILED = VolumeResult("vol-2", "P", Outcome.FAILED, "refused")
REPORT = RunReport(HOUR, volumes=(CREATED, FAILED), failures=("vol-2: refused",), newest_age_seconds=200.0)
TOTALS = {("SnapshotsCreated",): [1], ("VolumesFailed",): [1]}
PERIOD = {("RunsCompleted", "Period=hour"): [1], ("NewestSnapshotAge", "Period=hour"): [200]}


def place(account, region, *names):
    return {(name, f"Account={account}", f"Region={region}"): [1] for name in names}


def sent(capsys, report, home=None):
    """Metric name and dimensions to values."""
    publish_metrics(report, "Tests", home)
    found = {}
    for line in capsys.readouterr().out.splitlines():
        blob = json.loads(line)
        (directive,) = blob["_aws"]["CloudWatchMetrics"]
        assert directive["Namespace"] == "Tests"
        (dimensions,) = directive["Dimensions"]
        for metric in directive["Metrics"]:
            found[(metric["Name"], *(f"{name}={blob[name]}" for name in dimensions))] = blob[metric["Name"]]
    return found


def test_counts_above_zero_and_the_period_s_completion_are_sent(capsys):
    assert sent(capsys, REPORT) == TOTALS | PERIOD


def test_each_freeze_sends_its_time(capsys):
    hooks = (HookResult(("i-1",), "P", None, freeze_ms=450), HookResult(("i-2",), "P", "unreachable"))
    found = sent(capsys, replace(REPORT, hooks=hooks))
    assert found == TOTALS | PERIOD | {("FreezeTime",): [450], ("HooksFailed",): [1]}


@pytest.mark.parametrize("part", [{"policies": ("P",)}, {"volumes": ("vol-1",)}], ids=["policies", "volumes"])
def test_a_run_for_part_of_the_fleet_is_not_the_period_s_run(capsys, part):
    assert sent(capsys, replace(REPORT, request=replace(HOUR, **part))) == TOTALS


def test_a_run_that_is_continued_is_not_the_period_s_run(capsys):
    """Nor do its failures count: the next run finds them due, and counts them."""
    assert sent(capsys, replace(REPORT, is_continued=True)) == {("SnapshotsCreated",): [1]}


def test_a_dry_run_sends_nothing(capsys):
    assert sent(capsys, replace(REPORT, request=replace(HOUR, dry_run=True))) == {}


def test_where_others_are_served_home_has_metrics_of_its_own(capsys):
    names = ("SnapshotsCreated", "VolumesFailed", "RunsCompleted")
    assert sent(capsys, REPORT, HOME) == TOTALS | PERIOD | place("111122223333", "eu-west-1", *names)


def test_a_target_s_run_does_not_hide_that_home_s_is_missing(capsys):
    names = ("SnapshotsCreated", "VolumesFailed", "RunsCompleted")
    found = sent(capsys, replace(REPORT, request=replace(HOUR, target=OTHER)), HOME)
    assert ("RunsCompleted", "Period=hour") not in found
    assert place("444455556666", "us-east-1", *names).items() <= found.items()
