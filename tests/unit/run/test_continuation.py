"""Past the time limit: what is deferred is continued, as long as runs make progress, and fails when they do not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lambda_function.errors import AwsError, ConfigurationError
from lambda_function.inputs.event import parse_event
from lambda_function.model.ec2 import SnapshotState
from lambda_function.model.period import Period
from lambda_function.model.request import RunRequest
from lambda_function.model.result import Change, ChangeOutcome, ChangeResult, Outcome, RunReport, VolumeResult
from lambda_function.output.summary import headline, summary
from lambda_function.run.continuation import MAX_CONTINUATIONS, continue_or_conclude
from tests.support.cloud import FakeCloud

NOW = datetime(2026, 3, 2, 0, 5, tzinfo=UTC)
EVENT = {"period": "hour"}
CREATED = VolumeResult("vol-1", "P", Outcome.CREATED, "why", "snap-1")
LEFT = VolumeResult("vol-2", "P", Outcome.DEFERRED, "not begun: 40 s left, 45 s needed")


def report(*volumes, continuation=0, failures=(), changes=()):
    left = tuple(f"{each.volume_id}: {each.reason}" for each in volumes if each.outcome is Outcome.DEFERRED)
    request = RunRequest(Period.HOUR, NOW, continuation=continuation)
    return RunReport(request, volumes=volumes, deferred=left, failures=failures, changes=changes)


class Queue:
    """Takes the events of runs that are continued."""

    def __init__(self, error=None):
        self.events = []
        self.error = error

    def __call__(self, event):
        if self.error:
            raise self.error
        self.events.append(event)


def test_deferred_work_is_continued_as_the_same_event():
    """The event has the same slot, and a counter."""
    queue = Queue()
    concluded = continue_or_conclude(report(CREATED, LEFT), EVENT, NOW, queue)
    assert queue.events == [{"period": "hour", "time": "2026-03-02T00:05:00+00:00", "continuation": 1}]
    assert concluded.is_continued
    assert concluded.failures == ()
    assert (
        headline(concluded)
        == "hour: 1 created, 0 shared, 0 already done, 0 deleted, 1 deferred (out of time), continued in another run"
    )
    parsed = parse_event(queue.events[0], NOW + timedelta(minutes=15))
    assert parsed == RunRequest(Period.HOUR, NOW, continuation=1)


def test_the_rest_of_the_event_goes_along():
    queue = Queue()
    continue_or_conclude(report(CREATED, LEFT), {"period": "hour", "force": True, "policies": ["P"]}, NOW, queue)
    assert queue.events[0]["force"] is True
    assert queue.events[0]["policies"] == ["P"]


def test_a_run_that_defers_nothing_is_not_continued():
    """It is reported as it was."""
    queue = Queue()
    whole = report(CREATED)
    assert continue_or_conclude(whole, EVENT, NOW, queue) is whole
    assert queue.events == []


def test_failures_of_a_continued_run_are_left_to_the_next_one():
    """It finds them due."""
    failed = VolumeResult("vol-3", "P", Outcome.FAILED, "refused")
    concluded = continue_or_conclude(report(CREATED, LEFT, failed, failures=("vol-3: refused",)), EVENT, NOW, Queue())
    assert concluded.failures == ("vol-3: refused",)
    assert summary(concluded)["volumes_failed"] == 0


@pytest.mark.parametrize(
    ("given", "queue", "reason"),
    [
        pytest.param(report(LEFT), Queue(), "this run achieved nothing", id="no progress"),
        pytest.param(
            report(CREATED, LEFT, continuation=MAX_CONTINUATIONS), Queue(), "after 10 continuations", id="too many"
        ),
        pytest.param(report(CREATED, LEFT), None, "the time allowed is over", id="nothing to invoke"),
        pytest.param(
            report(CREATED, LEFT),
            Queue(AwsError("Invoke", "AccessDeniedException", "no")),
            "the next run could not be started, or that is not known: Invoke: AccessDeniedException: no",
            id="handing on fails",
        ),
    ],
)
def test_work_not_continued_fails_by_name_with_the_reason(given, queue, reason):
    concluded = continue_or_conclude(given, EVENT, NOW, queue)
    assert not concluded.is_continued
    (failure,) = concluded.failures
    assert failure.startswith("vol-2: not begun: 40 s left")
    assert reason in failure
    assert queue is None or queue.events == []
    assert summary(concluded)["volumes_failed"] == 1


def test_a_dry_run_is_not_continued():
    queue = Queue()
    given = report(CREATED, LEFT)
    concluded = continue_or_conclude(replace(given, request=replace(given.request, dry_run=True)), EVENT, NOW, queue)
    assert concluded.failures == ("vol-2: not begun: 40 s left, 45 s needed (a dry run is not continued)",)
    assert queue.events == []


def test_deletions_are_progress_too():
    deleted = ChangeResult("snap-1", "vol-1", Change.DELETE, ChangeOutcome.DONE, "why")
    queue = Queue()
    assert continue_or_conclude(report(LEFT, changes=(deleted,)), EVENT, NOW, queue).is_continued


def test_a_continuation_that_comes_when_its_slot_is_over_says_so():
    event = {"period": "hour", "time": NOW.isoformat(), "continuation": 3}
    with pytest.raises(ConfigurationError, match=r"continuation 3: the hour of 2026-03-02T00:05.* is over"):
        parse_event(event, NOW + timedelta(hours=1))


@pytest.mark.parametrize("counter", [0, -1, 101, "1", 1.5, True])
def test_a_counter_that_the_function_would_not_write_is_refused(counter):
    with pytest.raises(ConfigurationError, match="continuation"):
        parse_event({"period": "hour", "continuation": counter}, NOW)


def chain(cloud, seconds):
    """Runs, each handed what the one before had no time for; the reports."""
    reports = []
    event: dict[str, Any] | None = {"period": "day"}
    while event is not None:
        queue = Queue()
        request = parse_event(event, cloud.clock.now)
        assert isinstance(request, RunRequest)
        ran = cloud.run("day", seconds=seconds, time=request.time, continuation=request.continuation)
        reports.append(continue_or_conclude(ran, event, cloud.clock.now, queue))
        event = queue.events[0] if queue.events else None
    return reports


def test_a_fleet_too_large_for_one_run_is_served_by_a_chain():
    """Each volume is served exactly once."""
    cloud = FakeCloud(policies={"P": '{"day": 1}'}, pending_cap=10, pending_for=timedelta(seconds=60))
    volumes = [cloud.volume(n) for n in range(100)]
    reports = chain(cloud, seconds=240)
    assert 2 < len(reports) <= MAX_CONTINUATIONS + 1
    assert [each.is_continued for each in reports] == [True] * (len(reports) - 1) + [False]
    assert reports[-1].failures == ()
    assert [len(cloud.of(volume)) for volume in volumes] == [1] * 100


def test_a_chain_ends_with_a_failure_that_names_what_remains():
    cloud = FakeCloud(policies={"P": '{"day": 1}'}, pending_cap=1, pending_for=timedelta(seconds=100))
    for n in range(40):
        cloud.volume(n)
    reports = chain(cloud, seconds=180)
    assert len(reports) == MAX_CONTINUATIONS + 1
    remaining = 40 - sum(each.count(Outcome.CREATED) for each in reports)
    assert len(reports[-1].failures) == remaining > 0
    assert "after 10 continuations" in reports[-1].failures[0]


def test_the_rest_is_named_when_the_slot_is_about_to_end():
    """The next run would not know the names."""
    queue = Queue()
    late = NOW.replace(minute=59, second=30)
    concluded = continue_or_conclude(report(CREATED, LEFT), EVENT, late, queue)
    assert queue.events == []
    assert "since the hour is over" in concluded.failures[0]


def test_an_unrepeatable_failure_is_reported_at_once():
    """Nothing is continued."""
    cloud = FakeCloud(policies={"P": '{"hour": 1}'}, pending_cap=5, pending_for=timedelta(hours=1))
    for n in range(4):
        cloud.volume(n, instance="i-1")
    for n in range(4, 12):
        cloud.volume(n)

    def refuse(called, target):
        if called == "DescribeInstances":
            raise AwsError(called, "InternalError", "no")

    cloud.before = refuse
    ran = cloud.run("hour", seconds=120)
    assert ran.deferred
    queue = Queue()
    concluded = continue_or_conclude(ran, EVENT, cloud.clock.now, queue)
    assert queue.events == []
    assert "could not be described" in concluded.failures[0]
    assert "a retry of this event does the rest" in concluded.failures[-1]


def test_a_failed_thaw_is_reported_at_once():
    """Its snapshot serves the slot, so no other run would find it."""
    after = VolumeResult("vol-1", "P", Outcome.FAILED, "snap-1 was made, but hook failed", "snap-1")
    given = replace(
        report(CREATED, LEFT, after, failures=("vol-1: hook failed",)), unrepeatable_failures=("vol-1: hook failed",)
    )
    queue = Queue()
    concluded = continue_or_conclude(given, EVENT, NOW, queue)
    assert queue.events == []
    assert not concluded.is_continued
    assert concluded.failures[0] == "vol-1: hook failed"


@pytest.mark.usefixtures("one_thread")
def test_work_that_needs_no_quota_does_not_wait_for_creates():
    """They wait for room under the quota until time is over."""
    cloud = FakeCloud(policies={"P": '{"day": 1}'}, pending_cap=1, pending_for=timedelta(hours=3))
    shares, waits, done = cloud.volume(1), cloud.volume(2), cloud.volume(3)
    shared = cloud.snapshot(shares, "hour", timedelta(minutes=4), state=SnapshotState.COMPLETED)
    cloud.snapshot(done, "day", timedelta(minutes=5), state=SnapshotState.COMPLETED)
    old = cloud.snapshot(done, "day", timedelta(days=1), state=SnapshotState.COMPLETED)
    cloud.snapshot("vol-of-another-tool", "", timedelta(minutes=1))
    cloud.before = lambda operation, target: cloud.clock.sleep(1)
    result = cloud.run("day", seconds=900)
    assert {each.volume_id: each.outcome for each in result.volumes} == {
        shares.id: Outcome.SHARED,
        waits.id: Outcome.DEFERRED,
        done.id: Outcome.ALREADY_DONE,
    }
    assert shared.tags["AUTO-SNAPSHOT-PERIOD"] == "hour day"
    assert old.id not in cloud.snapshots
