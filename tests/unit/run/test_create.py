"""What EC2 may answer to a create, and what becomes of the volume."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from lambda_function.aws.errors import translated
from lambda_function.errors import AccessRefusedError, AwsError, TooManyPendingError, VolumeNotFoundError
from lambda_function.model.result import Outcome
from lambda_function.run.create_frozen import BEGIN_WITHIN_SECONDS
from tests.support.cloud import KEYS, FakeCloud

SECOND = timedelta(seconds=1)


@pytest.fixture
def cloud():
    return FakeCloud(policies={"P": '{"hour": 2, "day": 2}'}, create_interval=15 * SECOND)


def once(operation, error):
    """A hook that raises on the first call of this operation only."""
    left = [error]

    def hook(called, target):
        if called == operation and left:
            raise left.pop()

    return hook


def test_a_lost_answer_does_not_lead_to_a_second_snapshot(cloud):
    volume = cloud.volume(1)
    real = cloud.create_snapshot

    def retried_by_botocore(*args, **kwargs):
        real(*args, **kwargs)  # took effect; its answer was lost, and botocore sent it again
        return real(*args, **kwargs)

    cloud.create_snapshot = retried_by_botocore
    report = cloud.run("hour")
    assert len(cloud.of(volume)) == 1
    assert report.volumes[0].snapshot_id == cloud.of(volume)[0].id
    assert report.failures == ()


def test_the_snapshot_of_a_run_beside_this_one_is_adopted(cloud):
    volume = cloud.volume(1)

    def beside(called, target):
        if called == "CreateSnapshot":
            cloud.before = lambda *_: None
            cloud.run("hour")

    cloud.before = beside
    report = cloud.run("hour")
    assert report.volumes[0].outcome is Outcome.ALREADY_DONE
    assert len(cloud.of(volume)) == 1


def test_one_that_becomes_visible_late_is_still_adopted(cloud):
    volume = cloud.volume(1)
    cloud.hidden_for = 4 * SECOND
    cloud.snapshot(volume, "hour")
    report = cloud.run("hour")
    assert report.volumes[0].outcome is Outcome.ALREADY_DONE
    assert len(cloud.of(volume)) == 1
    assert cloud.clock.slept == 5


def test_a_new_snapshot_of_a_shorter_period_is_joined(cloud):
    """It has just appeared."""
    volume = cloud.volume(1)

    def beside(called, target):
        if called == "CreateSnapshot":
            cloud.before = lambda *_: None
            cloud.run("hour")

    cloud.before = beside
    report = cloud.run("day")
    assert report.volumes[0].outcome is Outcome.SHARED
    assert [s.tags[KEYS.period] for s in cloud.of(volume)] == ["hour day"]


def test_a_create_waits_15_seconds_after_a_foreign_snapshot(cloud):
    volume = cloud.volume(1)
    foreign = cloud.snapshot(volume, "")
    foreign.tags.clear()
    report = cloud.run("hour")
    assert report.volumes[0].outcome is Outcome.CREATED
    assert len(cloud.of(volume)) == 2
    assert cloud.clock.slept == 15


def test_a_join_after_a_refused_create_writes_shorter_periods(cloud):
    """It writes those that are due, beside its own."""
    cloud.policies["P"] = '{"hour": 2, "day": 2, "week": 2}'
    volume = cloud.volume(1)
    cloud.hidden_for = 4 * SECOND
    cloud.snapshot(volume, "hour")
    report = cloud.run("week")
    assert report.volumes[0].outcome is Outcome.SHARED
    assert [each.tags[KEYS.period] for each in cloud.of(volume)] == ["hour day week"]


def test_a_forced_run_does_not_adopt_what_was_there_before(cloud):
    volume = cloud.volume(1)
    cloud.snapshot(volume, "hour", SECOND)
    report = cloud.run("hour", force=True)
    assert report.volumes[0].outcome is Outcome.CREATED
    assert len(cloud.of(volume)) == 2


def test_a_set_with_one_volume_just_served_is_completed_singly(cloud):
    served, missing = cloud.volume(1, instance="i-1"), cloud.volume(2, instance="i-1")

    def beside(called, target):
        if called == "CreateSnapshots":
            cloud.before = lambda *_: None
            cloud.snapshot(served, "hour")

    cloud.before = beside
    report = cloud.run("hour")
    assert [r.outcome for r in report.volumes] == [Outcome.ALREADY_DONE, Outcome.CREATED]
    assert len(cloud.of(served)) == len(cloud.of(missing)) == 1


def test_creates_wait_while_too_many_are_pending(cloud):
    """None is lost."""
    cloud.pending_cap, cloud.pending_for = 3, 20 * SECOND
    volumes = [cloud.volume(n) for n in range(10)]
    report = cloud.run("hour")
    assert report.count(Outcome.CREATED) == 10
    assert all(len(cloud.of(volume)) == 1 for volume in volumes)
    assert cloud.clock.slept >= 60


def test_room_is_learnt_by_counting_not_by_refused_creates(cloud):
    cloud.pending_cap, cloud.pending_for = 3, 20 * SECOND
    for n in range(40):
        cloud.volume(n)
    cloud.run("hour")
    assert cloud.calls("CreateSnapshot") <= 40 + 16 + 3  # at most one refusal a thread, and a few for late counts


def test_refusals_that_the_count_does_not_explain_are_waited_out(cloud):
    """EC2 is not hammered."""
    cloud.volume(1)

    tried: list[str] = []

    def full(called, target):
        tried.append(called)
        if called == "CreateSnapshot":
            raise TooManyPendingError(called, "PendingSnapshotLimitExceeded", "others' snapshots")

    cloud.before = full
    report = cloud.run("hour", seconds=300)
    assert len(report.deferred) == 1
    assert tried.count("CreateSnapshot") <= 300 / 5


def test_creates_that_never_get_room_are_deferred_in_time(cloud):
    cloud.pending_cap, cloud.pending_for = 1, timedelta(hours=3)
    cloud.snapshot("vol-other", "hour")
    cloud.volume(1)
    report = cloud.run("hour", seconds=600)
    assert report.deferred
    assert report.deferred[0].startswith("vol-00000001: ")
    assert cloud.clock.slept <= 600 - 45


def test_a_volume_with_too_many_pending_waits_and_is_served(cloud):
    cloud.per_volume_cap, cloud.pending_for = 1, 40 * SECOND
    volume = cloud.volume(1)
    cloud.snapshot(volume, "day", 20 * SECOND)
    assert cloud.run("hour").volumes[0].outcome is Outcome.CREATED


def test_a_volume_whose_snapshots_stay_pending_fails(cloud):
    """The failure gives EC2's reason."""
    cloud.per_volume_cap, cloud.pending_for = 1, timedelta(hours=3)
    volume = cloud.volume(1)
    cloud.snapshot(volume, "day", 20 * SECOND)
    report = cloud.run("hour")
    assert "ConcurrentSnapshotLimitExceeded" in report.failures[0]


def test_a_volume_gone_before_its_create_is_no_failure(cloud):
    """It is reported."""
    volume = cloud.volume(1)
    cloud.snapshot(volume, "hour", timedelta(hours=3))
    cloud.before = once("CreateSnapshot", VolumeNotFoundError("CreateSnapshot", "InvalidVolume.NotFound", "gone"))
    report = cloud.run("hour")
    assert report.volumes[0].outcome is Outcome.VOLUME_GONE
    assert report.failures == ()
    assert len(cloud.of(volume)) == 1


POLICIES = pytest.mark.parametrize("policy", ["P", "H"], ids=["plain", "frozen"])
FREEZE = {"P": [], "H": [["pre-script"], ["post-script"]]}
"""The commands of one run, by policy."""

REFUSALS = (
    "AccessDeniedException",
    "UnauthorizedOperation",
    "KMSInvalidStateException",
    "KMS.DisabledException",
    "InvalidKmsKey.InvalidState",
    "InvalidParameterValue",
    "InvalidVolume.NotFound",
    "OperationNotPermitted",
    "ConcurrentSnapshotLimitExceeded",
    "SnapshotLimitExceeded",
    "Client.ACodeOfNextYear",
)


def answered(code, status=400, operation="CreateSnapshots"):
    """The error that EC2's answer becomes."""
    answer: Any = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    with pytest.raises(AwsError) as raised, translated(operation):
        raise ClientError(answer, operation)
    return raised.value


def pair(cloud, policy):
    """Two volumes of one instance."""
    cloud.policies["H"] = '{"hour": 2, "hook_document": "DOC"}'
    return [cloud.volume(n, policy, instance="i-1") for n in (1, 2)]


def answers(cloud, *errors):
    """The creates that are tried; each takes the first of these errors that is of its operation."""
    tried, left = [], list(errors)

    def answer(called, target):
        if called.startswith("CreateSnapshot"):
            tried.append(called)
        error = next((each for each in left if each.operation == called), None)
        if error is not None:
            left.remove(error)
            raise error

    cloud.before = answer
    return tried


@POLICIES
@pytest.mark.parametrize("code", REFUSALS)
def test_a_refused_set_is_created_singly_with_a_warning(cloud, policy, code):
    """By whatever code; under a freeze within that freeze, as one set."""
    volumes = pair(cloud, policy)
    error = answered(code)
    tried = answers(cloud, error)
    report = cloud.run("hour")
    assert tried == ["CreateSnapshots", "CreateSnapshot", "CreateSnapshot"]
    assert [result.outcome for result in report.volumes] == [Outcome.CREATED] * 2
    assert report.warnings == tuple(f"{volume.id}: not as a set: {error}" for volume in volumes)
    assert report.failures == ()
    tags = [stored.tags for volume in volumes for stored in cloud.of(volume)]
    assert len({each[KEYS.set] for each in tags}) == (1 if policy == "H" else 2)
    assert {each[KEYS.consistency] for each in tags} == {"application" if policy == "H" else "crash"}
    assert [sent.parameters["command"] for sent in cloud.ssm.sent] == FREEZE[policy]


@POLICIES
@pytest.mark.parametrize(
    ("code", "status"),
    [
        pytest.param("InternalError", 500, id="no answer, so that it may have taken effect"),
        pytest.param("ACodeOfNextYear", 500, id="the same, by a code of its own"),
        pytest.param("RequestLimitExceeded", 503, id="throttled"),
        pytest.param("ThrottlingException", 400, id="throttled, as other services say it"),
    ],
)
def test_a_set_that_was_not_refused_fails_by_name(cloud, policy, code, status):
    """Every volume of it does, and none is tried singly."""
    volumes = pair(cloud, policy)
    error = answered(code, status)
    tried = answers(cloud, error)
    report = cloud.run("hour")
    assert tried == ["CreateSnapshots"]
    assert report.failures == tuple(f"{volume.id}: {error}" for volume in volumes)
    assert report.warnings == ()


@POLICIES
def test_a_set_over_the_pending_quota_waits_and_stays_one(cloud, policy):
    """A frozen one is thawed meanwhile."""
    pair(cloud, policy)
    tried = answers(cloud, answered("PendingSnapshotLimitExceeded"))
    report = cloud.run("hour")
    assert tried == ["CreateSnapshots"] * 2
    assert (report.failures, report.warnings) == ((), ())
    assert [sent.parameters["command"] for sent in cloud.ssm.sent] == FREEZE[policy] * 2


def test_a_set_within_fifteen_seconds_waits_and_stays_one(cloud):
    pair(cloud, "P")
    tried = answers(cloud, answered("SnapshotCreationPerVolumeRateExceeded"))
    report = cloud.run("hour")
    assert tried == ["CreateSnapshots"] * 2
    assert (report.failures, report.warnings) == ((), ())
    assert cloud.clock.slept == 15


@POLICIES
def test_a_single_of_a_refused_set_fails_by_its_own_error(cloud, policy):
    """The other volume is served."""
    first, second = pair(cloud, policy)
    no_set = answered("UnauthorizedOperation")
    own = answered("KMS.DisabledException", operation="CreateSnapshot")
    answers(cloud, no_set, own)
    report = cloud.run("hour")
    failed, served = (first, second) if not cloud.of(first) else (second, first)
    assert report.failures == (f"{failed.id}: {own}",)
    assert len(cloud.of(failed)) == 0
    assert len(cloud.of(served)) == 1


def test_no_single_of_a_refused_set_begins_too_late(cloud):
    """The thaw waits for none."""
    volumes = pair(cloud, "H")
    tried = answers(cloud, answered("UnauthorizedOperation"))
    refuse = cloud.before

    def slowly(called, target):
        if called == "CreateSnapshots":
            cloud.clock.sleep(BEGIN_WITHIN_SECONDS + 1)
        refuse(called, target)

    cloud.before = slowly
    report = cloud.run("hour")
    assert tried == ["CreateSnapshots"]
    assert report.failures == tuple(
        f"{volume.id}: not begun: the instance had been frozen for too long" for volume in volumes
    )
    assert cloud.ssm.frozen == set()


def test_a_denied_count_of_pending_ones_is_no_refusal_of_a_set(cloud):
    """Singles would be counted as well."""
    pair(cloud, "P")
    counts = itertools.count()
    tried = answers(cloud, answered("PendingSnapshotLimitExceeded"))
    refuse = cloud.before

    def deny_all_counts_but_the_first(called, target):
        refuse(called, target)
        if target == "pending" and next(counts):
            raise answered("UnauthorizedOperation", 403, called)

    cloud.before = deny_all_counts_but_the_first
    report = cloud.run("hour")
    assert tried == ["CreateSnapshots"]
    assert all("DescribeSnapshots: UnauthorizedOperation" in failure for failure in report.failures)
    assert len(report.failures) == 2
    assert report.warnings == ()


def test_an_unrequested_snapshot_is_deleted_and_reported(cloud):
    """It is deleted at once."""
    wanted = [cloud.volume(n, instance="i-1") for n in (1, 2)]

    def attach(called, target):
        if called == "CreateSnapshots":
            cloud.volume(9, None, instance="i-1")

    cloud.before = attach
    report = cloud.run("hour")
    assert {s.volume_id for s in cloud.snapshots.values()} == {v.id for v in wanted}
    (change,) = report.changes
    assert (change.volume_id, change.outcome.value) == ("vol-00000009", "done")
    assert "not asked for" in change.reason
    assert report.failures == ()


def test_one_missing_from_the_set_s_answer_is_created_singly(cloud):
    for n in (1, 2, 3):
        cloud.volume(n, instance="i-1")

    def detach(called, target):
        if called == "CreateSnapshots":
            instance = cloud.instances["i-1"]
            cloud.instances["i-1"] = type(instance)("i-1", "running", None, instance.volume_ids - {"vol-00000002"})

    cloud.before = detach
    report = cloud.run("hour")
    assert report.count(Outcome.CREATED) == 3
    assert cloud.calls("CreateSnapshot") == 1
    assert any("vol-00000002" in warning and "not in the set" in warning for warning in report.warnings)


def test_tags_that_do_not_fit_are_reported(cloud):
    cloud.volume(1, **{f"k{n:02}": "v" for n in range(49)})
    report = cloud.run("hour")
    assert report.count(Outcome.CREATED) == 1
    assert report.warnings == ("vol-00000001: tags left out, no room: k46, k47, k48",)
    assert len(next(iter(cloud.snapshots.values())).tags) == 50


def test_an_unexpected_fault_in_one_create_call_harms_no_other(cloud, caplog):
    """It is the failure of that call."""
    cloud.volume(1)
    cloud.volume(2)

    def burst(called, target):
        if target == "vol-00000001":
            raise ZeroDivisionError("ours")

    cloud.before = burst
    report = cloud.run("hour")
    assert report.count(Outcome.CREATED) == 1
    assert report.failures == ("vol-00000001: unexpected ZeroDivisionError: ours",)


def test_a_lost_answer_that_is_never_found_fails_the_volume(cloud):
    """The alternative would be a second snapshot."""
    cloud.volume(1)

    def lost(called, target):
        if called == "CreateSnapshot":
            raise AwsError(called, "ReadTimeoutError", "no answer")

    cloud.before = lost
    report = cloud.run("hour")
    assert report.failures == ("vol-00000001: CreateSnapshot: ReadTimeoutError: no answer",)
    assert cloud.calls("CreateSnapshot") == 0


def test_an_unrequested_snapshot_of_a_selected_volume_stays(cloud):
    """It is that volume's own."""
    for n in (1, 2):
        cloud.volume(n, instance="i-1")
    late = cloud.volume(3)
    old = cloud.snapshot(late, "hour", timedelta(hours=1))

    def attach(called, target):
        if called == "CreateSnapshots":
            instance = cloud.instances["i-1"]
            cloud.instances["i-1"] = type(instance)("i-1", "running", None, instance.volume_ids | {late.id})

    cloud.before = attach
    report = cloud.run("hour")
    assert report.failures == ()
    fresh = [s for s in cloud.of(late) if s.id != old.id]
    assert len(fresh) >= 1
    assert {r.volume_id: r.snapshot_id for r in report.volumes}[late.id] in cloud.snapshots


@pytest.mark.parametrize(
    ("code", "created"),
    [
        pytest.param("RequestLimitExceeded", 3, id="one that fails for a moment costs a look"),
        pytest.param("UnauthorizedOperation", 1, id="one that is not allowed would fail for ever"),
    ],
)
def test_a_count_of_pending_snapshots_that_fails(cloud, code, created):
    cloud.pending_cap, cloud.pending_for = 1, timedelta(seconds=20)
    volumes = [cloud.volume(n) for n in range(1, 4)]
    counts = itertools.count()

    def fail(operation, target):
        kind = AccessRefusedError if code == "UnauthorizedOperation" else AwsError
        if (operation, target) == ("DescribeSnapshots", "pending") and next(counts) < 3:
            raise kind(operation, code, "no")

    cloud.before = fail
    report = cloud.run("hour")
    assert sum(len(cloud.of(volume)) for volume in volumes) == report.count(Outcome.CREATED) == created
    assert len(report.failures) == 3 - created
