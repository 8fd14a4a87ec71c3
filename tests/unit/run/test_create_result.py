"""What a create means for its volume: each fact, and the words for it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from lambda_function.errors import AwsError, HookError, OutOfTimeError, VolumeNotFoundError
from lambda_function.model.ec2 import Consistency, Snapshot, SnapshotState, Volume
from lambda_function.model.period import Period
from lambda_function.model.request import RunRequest
from lambda_function.model.result import Outcome, VolumeResult
from lambda_function.plan.due import VolumePlan
from lambda_function.run.create_result import CreateResult, volume_result

NOW = datetime(2026, 3, 2, 12, 30, tzinfo=UTC)
DAY = RunRequest(Period.DAY, NOW)
PLAN = VolumePlan(Volume("vol-1", "in-use", {}, ("i-1",)), "P", None, Outcome.WOULD_CREATE, "none yet")
NEW = Snapshot("snap-1", "vol-1", NOW, SnapshotState.PENDING, ("day",))
MADE = CreateResult(PLAN, NEW, consistency=Consistency.CRASH)
ADOPTED = CreateResult(PLAN, NEW, is_adopted=True)
LATE = replace(NEW, start_time=NOW + timedelta(hours=12))
NEXT = replace(NEW, start_time=datetime(2026, 3, 3, tzinfo=UTC))
OVER = "snap-1 was started when the day was over: it is the next one's, and this one has none"
JUST = "snap-1 had just been started, by a lost answer or a run beside this one"


@pytest.mark.parametrize(
    ("created", "outcome", "reason", "snapshot_id"),
    [
        pytest.param(MADE, Outcome.CREATED, "none yet", "snap-1", id="one that was made"),
        pytest.param(
            replace(MADE, set_of="i-1"),
            Outcome.CREATED,
            "none yet; one instant with the others of i-1",
            "snap-1",
            id="one of a set",
        ),
        pytest.param(ADOPTED, Outcome.ALREADY_DONE, JUST, "snap-1", id="one that was adopted"),
        pytest.param(
            replace(ADOPTED, snapshot=replace(NEW, periods=("hour",))),
            Outcome.SHARED,
            JUST,
            "snap-1",
            id="a shorter period's that was joined",
        ),
        pytest.param(
            replace(MADE, snapshot=replace(NEW, state=SnapshotState.ERROR)),
            Outcome.FAILED,
            "snap-1 was created in state error",
            None,
            id="one that failed at once",
        ),
        pytest.param(replace(MADE, snapshot=LATE), Outcome.FAILED, OVER, "snap-1", id="one of the next slot"),
        pytest.param(
            replace(MADE, snapshot=NEXT), Outcome.FAILED, OVER, "snap-1", id="one of the next slot's first moment"
        ),
        pytest.param(
            replace(MADE, error=HookError("post failed")),
            Outcome.FAILED,
            "snap-1 was made, but hook failed: post failed",
            "snap-1",
            id="one beside a hook that failed",
        ),
        pytest.param(
            CreateResult(PLAN, error=HookError("pre failed")),
            Outcome.FAILED,
            "hook failed: pre failed",
            None,
            id="none, since the hook failed",
        ),
        pytest.param(
            CreateResult(PLAN, error=VolumeNotFoundError("CreateSnapshot", "InvalidVolume.NotFound", "no such")),
            Outcome.VOLUME_GONE,
            "gone between listing and create (InvalidVolume.NotFound)",
            None,
            id="none, since the volume is gone",
        ),
        pytest.param(
            CreateResult(PLAN, error=OutOfTimeError("not begun")), Outcome.DEFERRED, "not begun", None, id="no time"
        ),
        pytest.param(
            CreateResult(PLAN, error=AwsError("CreateSnapshot", "InternalError", "oops")),
            Outcome.FAILED,
            "CreateSnapshot: InternalError: oops",
            None,
            id="none, since EC2 refused",
        ),
        pytest.param(
            CreateResult(PLAN, error=KeyError("x")),
            Outcome.FAILED,
            "unexpected KeyError: 'x'",
            None,
            id="a fault of our own",
        ),
    ],
)
def test_each_result_has_its_outcome_and_reason(created, outcome, reason, snapshot_id):
    worded = volume_result(replace(created, warnings=("noted",)), DAY)
    assert (worded.outcome, worded.reason, worded.snapshot_id) == (outcome, reason, snapshot_id)
    assert worded.warnings == ("noted",)
    assert (worded.consistency is None) is (created.is_adopted or snapshot_id is None)


def test_a_forced_snapshot_serves_whatever_its_slot():
    assert volume_result(replace(MADE, snapshot=LATE), replace(DAY, force=True)).outcome is Outcome.CREATED


def test_a_dry_run_says_what_would_be_created_and_names_no_id():
    assert volume_result(MADE, replace(DAY, dry_run=True)) == VolumeResult(
        "vol-1", "P", Outcome.WOULD_CREATE, "none yet", None, Consistency.CRASH
    )
