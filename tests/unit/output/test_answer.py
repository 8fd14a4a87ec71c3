"""What the function answers, as a person reads it in Lambda's console."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

from lambda_function.model.ec2 import Consistency
from lambda_function.model.period import Period
from lambda_function.model.request import RunRequest
from lambda_function.model.result import (
    Change,
    ChangeOutcome,
    ChangeResult,
    HookResult,
    Outcome,
    RunReport,
    VolumeResult,
)
from lambda_function.output.answer import MAX_LINES, MAX_PLANNED_LINES, console_answer

REQUEST = RunRequest(Period.HOUR, datetime(2026, 3, 2, tzinfo=UTC))
LAMBDA_RESPONSE_LIMIT = 6 * 1024 * 1024
"""Bytes of a synchronous answer (Lambda quotas)."""


def volume(number, outcome, reason="why", snapshot=None, consistency=None):
    return VolumeResult(f"vol-{number:017x}", "P", outcome, reason, snapshot, consistency)


def test_the_answer_says_what_was_done_what_was_skipped_and_why():
    report = RunReport(
        REQUEST,
        volumes=(
            volume(1, Outcome.CREATED, "none started in this hour yet", "snap-1", Consistency.APPLICATION),
            volume(2, Outcome.ALREADY_DONE, "snap-2 was started in this hour (2026-03-02 00:05)", "snap-2"),
            volume(3, Outcome.ALREADY_DONE, "snap-3 was started in this hour (2026-03-02 00:05)", "snap-3"),
            volume(4, Outcome.NOT_DUE, "policy MEH keeps no hourly snapshots"),
            volume(5, Outcome.NOT_DUE, "policy MEH keeps no hourly snapshots"),
        ),
        changes=(
            ChangeResult("snap-9", "vol-9", Change.DELETE, ChangeOutcome.DONE, "3rd newest hourly snapshot"),
            ChangeResult("snap-8", "vol-9", Change.DELETE, ChangeOutcome.REFUSED, "in use by ami-1"),
            ChangeResult("snap-7", "vol-9", Change.RELEASE, ChangeOutcome.DONE, "still kept for day"),
            ChangeResult("snap-6", "vol-9", Change.KEEP, ChangeOutcome.PLANNED, "number 1"),
        ),
        warnings=('vol-7: its tag "auto-snapshot" selects nothing; the key is AUTO-SNAPSHOT',),
        hooks=(HookResult(("i-1",), "P", None, 1200), HookResult(("i-2",), "P", "exit 201")),
        duration_seconds=1.23456,
    )
    assert console_answer(report) == {
        "message": "hour: 1 created, 0 shared, 2 already done, 1 deleted, 1 released, 1 deletions refused",
        "time": "2026-03-02T00:00:00+00:00",
        "done": ["vol-00000000000000001: created snap-1 (application): none started in this hour yet"],
        "skipped": [
            "already done: a snapshot of this hour exists: vol-00000000000000002, vol-00000000000000003",
            "not due: policy MEH keeps no hourly snapshots: vol-00000000000000004, vol-00000000000000005",
        ],
        "deleted": ["snap-9 of vol-9: 3rd newest hourly snapshot"],
        "released": ["snap-7 of vol-9: still kept for day"],
        "not_deleted": ["snap-8 of vol-9: in use by ami-1"],
        "hooks": ["policy P on i-1: frozen for 1200 ms", "policy P on i-2: exit 201"],
        "warnings": ['vol-7: its tag "auto-snapshot" selects nothing; the key is AUTO-SNAPSHOT'],
        "summary": {
            "created": 1,
            "already_done": 2,
            "not_due": 2,
            "deleted": 1,
            "released": 1,
            "refused": 1,
            "hooks_failed": 1,
        },
        "duration_seconds": 1.235,
    }


def test_long_lists_are_cut_and_what_is_left_out_is_counted():
    report = RunReport(REQUEST, volumes=tuple(volume(n, Outcome.CREATED) for n in range(1000)))
    done = console_answer(report)["done"]
    assert len(done) == MAX_LINES + 1
    assert done[-1] == f"and {1000 - MAX_LINES} more, each in the log"


def test_a_list_that_just_fits_is_whole():
    report = RunReport(REQUEST, volumes=tuple(volume(n, Outcome.CREATED) for n in range(MAX_LINES)))
    assert len(console_answer(report)["done"]) == MAX_LINES


def test_many_volumes_skipped_for_one_reason_are_one_line():
    report = RunReport(REQUEST, volumes=tuple(volume(n, Outcome.OUTSIDE, "detached") for n in range(3000)))
    (line,) = console_answer(report)["skipped"]
    assert line.endswith("vol-00000000000000004 and 2995 more")


def test_a_dry_run_shows_more_and_says_that_nothing_was_written():
    report = RunReport(
        replace(REQUEST, dry_run=True), volumes=tuple(volume(n, Outcome.WOULD_CREATE) for n in range(1000))
    )
    answer = console_answer(report)
    assert answer["message"].endswith("(dry run: nothing was written)")
    assert len(answer["done"]) == MAX_PLANNED_LINES + 1


def test_the_largest_answer_stays_far_below_lambda_s_limit():
    """The answer for the largest fleet."""
    long = "x" * 3000
    report = RunReport(
        replace(REQUEST, dry_run=True),
        volumes=tuple(
            volume(n, Outcome.WOULD_CREATE if n % 2 else Outcome.NOT_DUE, f"{n} {long}") for n in range(10_000)
        ),
        changes=tuple(
            ChangeResult(f"snap-{n}", "vol-1", change, outcome, long)
            for n in range(10_000)
            for change, outcome in (
                (Change.DELETE, ChangeOutcome.PLANNED),
                (Change.RELEASE, ChangeOutcome.PLANNED),
                (Change.DELETE, ChangeOutcome.REFUSED),
            )
        ),
        failures=(long,) * 10_000,
        warnings=(long,) * 10_000,
        hooks=(HookResult(("i-1",) * 300, "P", long),) * 10_000,
    )
    assert len(json.dumps(console_answer(report)).encode()) < LAMBDA_RESPONSE_LIMIT / 4
