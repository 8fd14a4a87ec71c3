"""What a run has done, as it is gathered: what the observer hears at once, and what the report says in the end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from lambda_function.errors import AwsError
from lambda_function.model.ec2 import Snapshot, SnapshotState, Volume
from lambda_function.model.period import Period, RetentionRule
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
from lambda_function.plan.due import RunPlan, VolumePlan
from lambda_function.run.create_result import CreateResult
from lambda_function.run.record import RunRecord
from tests.support.observed import Heard

NOW = datetime(2026, 3, 2, tzinfo=UTC)
REQUEST = RunRequest(Period.HOUR, NOW)


def plan(number=1, minutes=None, count=1):
    """A volume's plan; with a snapshot that old to be shared, where one is named."""
    volume_id = f"vol-{number}"
    slot_snapshot = None if minutes is None else snapshot(number, minutes)
    return VolumePlan(
        Volume(volume_id, "in-use", {}, ()),
        "P",
        None,
        Outcome.WOULD_CREATE,
        "due",
        slot_snapshot=slot_snapshot,
        rule=RetentionRule(Period.HOUR, count),
    )


def snapshot(number=1, minutes=0):
    return Snapshot(
        f"snap-{number}", f"vol-{number}", NOW - timedelta(minutes=minutes), SnapshotState.COMPLETED, ("hour",)
    )


def result(number, outcome, snapshot_id=None, **fields):
    return VolumeResult(f"vol-{number}", "P", outcome, f"reason {number}", snapshot_id, **fields)


def change(number, outcome, kind=Change.DELETE):
    return ChangeResult(f"snap-{number}", f"vol-{number}", kind, outcome, f"reason {number}")


def record(*plans, faults=(), **fields):
    whole = {"misspelt": (), "missing": (), "failed_snapshots": (), "orphaned": 0, **fields}
    heard = Heard()
    return RunRecord(REQUEST, RunPlan(volumes=plans, **whole), heard, faults), heard


@pytest.fixture
def empty():
    return record()[0]


def test_a_run_without_anything_reports_nothing(empty):
    assert empty.report() == RunReport(REQUEST)


def test_what_is_known_at_the_start_is_logged_and_reported():
    """It is logged at once."""
    made, heard = record(
        faults=["a faulty policy"],
        misspelt=("a misspelt key", "another"),
        stale=("a stale tag",),
        missing=("vol-9: asked for",),
        failed_snapshots=(Snapshot("snap-1", "vol-1", NOW, SnapshotState.ERROR, ("hour",)),),
        orphaned=3,
    )
    failures = ("a faulty policy", "vol-9: asked for")
    warnings = ("a misspelt key", "another", "a stale tag", "snap-1 of vol-1 is in state error")
    assert heard.entries == [*(("failure", each) for each in failures), *(("warning", each) for each in warnings)]
    assert made.report() == RunReport(
        REQUEST,
        failures=failures,
        warnings=warnings,
        failed_snapshots=("snap-1",),
        orphaned_snapshots=3,
        misspelt_tags=2,
    )


def test_an_unrepeatable_failure_is_logged_at_once_and_marked():
    made, heard = record()
    made.fail_unrepeatably("instances could not be described")
    assert heard.entries == [("failure", "instances could not be described")]
    assert made.report().failures == made.report().unrepeatable_failures == ("instances could not be described",)


def test_volumes_are_logged_as_they_come_and_reported_by_id():
    made, heard = record()
    results = [result(2, Outcome.CREATED), result(1, Outcome.SHARED)]
    for each in results:
        made.volume(each)
    assert heard.entries == [("volume", each) for each in results]
    assert made.report() == RunReport(REQUEST, volumes=(results[1], results[0]))


def test_a_volume_s_later_outcome_takes_the_place_of_the_earlier(empty):
    empty.volume(result(1, Outcome.WOULD_SHARE))
    empty.volume(result(1, Outcome.CREATED))
    assert empty.report().volumes == (result(1, Outcome.CREATED),)


def test_failed_volumes_are_failures_and_deferred_ones_are_not(empty):
    """Both are in the order of their ids."""
    for number, outcome in [(4, Outcome.DEFERRED), (3, Outcome.FAILED), (2, Outcome.DEFERRED), (1, Outcome.FAILED)]:
        empty.volume(result(number, outcome))
    report = empty.report()
    assert report.failures == ("vol-1: reason 1", "vol-3: reason 3")
    assert report.deferred == ("vol-2: reason 2", "vol-4: reason 4")
    assert report.unrepeatable_failures == ()


def test_a_failure_beside_a_new_snapshot_is_unrepeatable(empty):
    empty.volume(result(1, Outcome.FAILED, "snap-1"))
    assert empty.report().unrepeatable_failures == empty.report().failures == ("vol-1: reason 1",)


def test_a_volume_settled_without_a_create_names_its_snapshot():
    made, heard = record()
    made.settle(plan(1), Outcome.FAILED, "why")
    made.settle(plan(2), Outcome.ALREADY_DONE, "since", snapshot(2))
    assert [entry for _, entry in heard.entries] == [
        VolumeResult("vol-1", "P", Outcome.FAILED, "why"),
        VolumeResult("vol-2", "P", Outcome.ALREADY_DONE, "since", "snap-2"),
    ]


def test_volume_warnings_follow_those_of_the_plan():
    """A tag that names no policy is one."""
    made, _ = record(misspelt=("first",))
    made.volume(result(2, Outcome.CREATED, warnings=("tags left out", "and more")))
    made.volume(result(1, Outcome.UNKNOWN_POLICY))
    assert made.report().warnings == ("first", "vol-1: reason 1", "vol-2: tags left out", "vol-2: and more")
    assert made.report().failures == ()


def test_changes_are_logged_as_they_come_and_reported_by_volume():
    made, heard = record()
    changes = [change(2, ChangeOutcome.DONE), change(1, ChangeOutcome.REFUSED)]
    for each in changes:
        made.change(each)
    assert heard.entries == [("change", each) for each in changes]
    assert made.report() == RunReport(REQUEST, changes=(changes[1], changes[0]))


@pytest.mark.parametrize(
    ("outcome", "failures", "left"),
    [
        (ChangeOutcome.DONE, (), ()),
        (ChangeOutcome.GONE, (), ()),
        (ChangeOutcome.CHANGED_SINCE, (), ()),
        (ChangeOutcome.FAILED, ("snap-1 of vol-1: reason 1",), ()),
        (ChangeOutcome.DEFERRED, (), ("snap-1 of vol-1: reason 1",)),
    ],
)
def test_only_a_failed_change_is_a_failure(empty, outcome, failures, left):
    """One without time is deferred."""
    empty.change(change(1, outcome))
    report = empty.report()
    assert (report.failures, report.deferred, report.unrepeatable_failures) == (failures, left, ())


@pytest.mark.parametrize("outcome", [ChangeOutcome.FAILED, ChangeOutcome.DEFERRED])
def test_a_failed_join_is_reported_for_its_volume_only(empty, outcome):
    empty.change(change(1, outcome, Change.JOIN))
    report = empty.report()
    assert (report.failures, report.deferred) == ((), ())
    assert len(report.changes) == 1


def test_an_unrequested_snapshot_that_stays_is_a_failure(empty):
    """No repetition would find it."""
    empty.change(change(1, ChangeOutcome.DONE), is_unrepeatable=True)
    empty.change(change(2, ChangeOutcome.FAILED), is_unrepeatable=True)
    assert empty.report().unrepeatable_failures == empty.report().failures == ("snap-2 of vol-2: reason 2",)


def test_freezes_are_heard_as_they_come_and_reported_by_instance():
    made, heard = record()
    second, first = HookResult(("i-2",), "P", None), HookResult(("i-1",), "P", "failed")
    made.hook(second)
    made.hook(first)
    assert heard.entries == [("hook", second), ("hook", first)]
    assert made.report() == RunReport(REQUEST, hooks=(first, second))


@pytest.mark.parametrize("outcome", list(Outcome))
def test_a_volume_without_a_slot_snapshot_is_known(empty, outcome):
    """One that was never recorded is not among them."""
    empty.volume(result(1, outcome))
    assert empty.is_without_snapshot("vol-1") is (outcome in (Outcome.FAILED, Outcome.DEFERRED, Outcome.VOLUME_GONE))
    assert empty.is_without_snapshot("vol-2") is False


def test_what_was_made_serves_in_place_of_what_was_planned_to(empty):
    planned = plan(1, minutes=5)
    assert empty.slot_snapshot(planned) == planned.slot_snapshot
    empty.created(CreateResult(planned, error=AwsError("CreateSnapshot", "InternalError", "oops")))
    assert empty.slot_snapshot(planned) == planned.slot_snapshot
    made = snapshot(1, minutes=-5)
    empty.created(CreateResult(planned, made))
    assert empty.slot_snapshot(planned) == made
    assert empty.report().volumes == (VolumeResult("vol-1", "P", Outcome.CREATED, "due", made.id),)


@pytest.mark.parametrize(
    ("outcome", "seconds"),
    [
        pytest.param(Outcome.SHARED, 300, id="one that was joined serves"),
        pytest.param(Outcome.FAILED, None, id="one that could not be joined does not"),
    ],
)
def test_the_newest_age_is_by_what_serves_in_the_end(outcome, seconds):
    planned = plan(1, minutes=5)
    made, _ = record(planned)
    made.volume(result(1, outcome))
    assert made.report().newest_age_seconds == seconds


def test_the_newest_age_counts_what_this_run_made():
    planned = plan(1, minutes=5)
    made, _ = record(planned, plan(2))
    made.created(CreateResult(planned, snapshot(1, minutes=1)))
    assert made.report().newest_age_seconds == 60
