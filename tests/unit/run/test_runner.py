"""A run's own part: the order of its calls, what its observer hears, and the words of its report."""

from __future__ import annotations

import operator
from datetime import timedelta
from threading import Event

import pytest

import lambda_function.run.create_frozen
from lambda_function.model.ec2 import SnapshotState
from lambda_function.model.period import Period
from lambda_function.model.result import Change, ChangeOutcome, ChangeResult, Outcome, VolumeResult
from lambda_function.parallel import MAX_FREEZES, WORKERS
from tests.support.cloud import FakeCloud, refused
from tests.support.observed import HOUR, POLICIES, half_past, observed


@pytest.fixture
def cloud():
    return FakeCloud(policies=dict(POLICIES))


def created(cloud):
    """The volumes or instances that creates were sent for, in order."""
    return [target for operation, target in cloud.journal if operation in ("CreateSnapshot", "CreateSnapshots")]


def when(cloud, operation, error):
    def burst(called, target):
        if operation in (called, target):
            raise error

    cloud.before = burst


@pytest.mark.usefixtures("one_thread")
def test_the_observer_hears_of_each_stage_volume_and_change(cloud):
    volumes = [cloud.volume(n, instance="i-1" if n < 3 else None) for n in (1, 2, 3)]
    old = [cloud.snapshot(volumes[2], "hour", age * HOUR) for age in (2, 3)]
    report, heard = observed(cloud)
    by_id = {result.volume_id: result for result in report.volumes}
    assert heard == [
        ("stage", "reading", 0),
        ("stage", "creating", 3),
        ("volume", by_id[volumes[0].id]),
        ("advance",),
        ("volume", by_id[volumes[1].id]),
        ("advance",),
        ("volume", by_id[volumes[2].id]),
        ("advance",),
        ("stage", "pruning", 0),
        ("change", report.changes[0]),
        ("advance",),
        ("change", report.changes[1]),
        ("advance",),
    ]
    assert [each.snapshot_id for each in report.changes] == [old[0].id, old[1].id]


def test_volumes_with_the_oldest_snapshots_are_taken_first(cloud, one_thread):
    """Those under a freeze come before all others."""
    ages = {1: 2, 2: 30, 3: None, 4: 9}
    for number, age in ages.items():
        volume = cloud.volume(number)
        if age is not None:
            cloud.snapshot(volume, "hour", age * HOUR)
            cloud.snapshot(volume, "hour", (age + 40) * HOUR)
        cloud.snapshot(volume, "hour", HOUR, state=SnapshotState.ERROR)
    for number, (instance, age) in enumerate({"i-1": 2, "i-2": 30}.items(), start=5):
        cloud.snapshot(cloud.volume(number, "H", instance=instance), "hour", age * HOUR, policy="H")
    observed(cloud)
    assert [int(target[-1]) for target in created(cloud)] == [6, 5, 3, 2, 4, 1]


def test_a_set_takes_the_turn_of_its_volume_worst_off(cloud, one_thread):
    for number, age, instance in [(1, 30, "i-1"), (2, 2, "i-1"), (3, 9, None), (4, 40, None)]:
        cloud.snapshot(cloud.volume(number, instance=instance), "hour", age * HOUR)
    observed(cloud)
    assert created(cloud) == ["vol-00000004", "i-1", "vol-00000003"]


@pytest.mark.parametrize(("broken", "failed"), [("create_frozen.FrozenCreator", 1), ("create.Creator", 2)])
def test_a_fault_of_our_own_with_one_create_costs_no_other(cloud, monkeypatch, broken, failed):
    whole = operator.attrgetter(f"{broken}.create")(lambda_function.run)

    def burst(creator, job, *begin_by):
        if [plan.volume.id for plan in job.plans] == [f"vol-0000000{failed}"]:
            raise ZeroDivisionError("ours")
        return whole(creator, job, *begin_by)

    for number in (1, 2):
        cloud.volume(number, "H" if number == 1 else "P", instance=f"i-{number}")
    monkeypatch.setattr(f"lambda_function.run.{broken}.create", burst)
    report, _ = observed(cloud)
    outcomes = [result.outcome for result in report.volumes]
    assert outcomes == ([Outcome.FAILED, Outcome.CREATED] if failed == 1 else [Outcome.CREATED, Outcome.FAILED])
    assert len(report.failures) == 1
    assert "unexpected ZeroDivisionError: ours" in report.failures[0]


def test_undescribed_instances_are_an_unrepeatable_failure(cloud):
    cloud.volume(1, instance="i-1")
    when(cloud, "DescribeInstances", refused("DescribeInstances"))
    report, heard = observed(cloud)
    failure = (
        "instances could not be described, so volumes were taken one by one: "
        "DescribeInstances: UnauthorizedOperation: no"
    )
    assert report.failures == report.unrepeatable_failures == (failure,)
    assert ("failure", failure) in heard


def test_only_the_instances_of_due_volumes_are_described(cloud):
    cloud.snapshot(cloud.volume(1, instance="i-1"), "hour")
    cloud.volume(2, instance="i-2")
    cloud.volume(3, instance="i-3")
    asked = []
    listed = cloud.list_instances

    def note(ids):
        asked.append(ids)
        return listed(ids)

    cloud.list_instances = note
    observed(cloud)
    assert asked == [["i-2", "i-3"]]


def test_no_instance_is_described_without_a_due_volume(cloud):
    """No hook is checked either."""
    cloud.snapshot(cloud.volume(1, "H", instance="i-1"), "hour", policy="H")
    cloud.volume(2)
    seen = []
    cloud.ssm.before = lambda operation, target: seen.append(operation)
    observed(cloud)
    assert cloud.calls("DescribeInstances") == 0
    assert seen == []


def test_a_run_for_some_volumes_reads_those_only(cloud):
    wanted = cloud.volume(1)
    other = cloud.volume(2)
    for volume in (wanted, other):
        for age in (1, 2):
            cloud.snapshot(volume, "hour", age * HOUR)
    asked = []
    volumes, snapshots = cloud.list_volumes, cloud.list_snapshots

    def list_volumes(ids):
        asked.append(ids)
        return volumes(ids)

    def list_snapshots(periods, ids):
        asked.append((periods, ids))
        return snapshots(periods, ids)

    cloud.list_volumes, cloud.list_snapshots = list_volumes, list_snapshots
    report, _ = observed(cloud, volumes=(wanted.id,))
    assert asked == [(wanted.id,), (Period.HOUR.up_to(), (wanted.id,))]
    assert [result.volume_id for result in report.volumes] == [wanted.id]
    assert report.orphaned_snapshots == 0


def test_a_volume_already_done_names_its_slot_snapshot(cloud):
    """It is pruned by it."""
    volume = cloud.volume(1)
    serving = cloud.snapshot(volume, "hour")
    old = cloud.snapshot(volume, "hour", HOUR)
    report, _ = observed(cloud)
    reason = f"{serving.id} was started in this hour (2026-03-02 00:05)"
    assert report.volumes == (VolumeResult(volume.id, "P", Outcome.ALREADY_DONE, reason, serving.id),)
    assert [(each.snapshot_id, each.outcome) for each in report.changes] == [(old.id, ChangeOutcome.DONE)]


def test_a_shared_snapshot_is_named_and_counts_as_the_newest(cloud):
    """It counts for its period."""
    volume, shared, old = half_past(cloud)
    report, _ = observed(cloud, "day")
    reason = f"{shared.id} was taken for the hour at 2026-03-02 00:25"
    assert report.volumes == (VolumeResult(volume.id, "D", Outcome.SHARED, reason, shared.id),)
    assert report.changes == (
        ChangeResult(shared.id, volume.id, Change.JOIN, ChangeOutcome.DONE, reason),
        ChangeResult(old.id, volume.id, Change.DELETE, ChangeOutcome.DONE, "in the 2nd newest day; the policy keeps 1"),
    )
    assert report.newest_age_seconds == 600


def test_a_failed_join_fails_its_volume_and_deletes_nothing(cloud):
    volume, shared, old = half_past(cloud)
    when(cloud, "CreateTags", refused("CreateTags"))
    report, _ = observed(cloud, "day")
    reason = f"{shared.id} was taken for the hour at 2026-03-02 00:25; CreateTags: UnauthorizedOperation: no"
    assert report.volumes == (VolumeResult(volume.id, "D", Outcome.FAILED, reason),)
    assert report.failures == (f"{volume.id}: {reason}",)
    assert old.id in cloud.snapshots


def test_a_join_without_time_is_deferred_and_deletes_nothing(cloud):
    volume, shared, old = half_past(cloud)
    report, _ = observed(cloud, "day", seconds=44)
    reason = f"{shared.id} was taken for the hour at 2026-03-02 00:25; not begun: 44 s left, 45 s needed"
    assert report.volumes == (VolumeResult(volume.id, "D", Outcome.DEFERRED, reason),)
    assert f"{volume.id}: {reason}" in report.deferred
    assert report.failures == ()
    assert old.id in cloud.snapshots


def test_a_volume_whose_candidate_vanished_gets_its_own_snapshot(cloud):
    """The result has the reason."""
    _, shared, old = half_past(cloud)

    def vanish(called, target):
        if target == "recheck":
            cloud.snapshots.pop(shared.id, None)

    cloud.before = vanish
    report, heard = observed(cloud, "day")
    (result,) = report.volumes
    assert result.outcome is Outcome.CREATED
    assert result.reason == f"{shared.id}, which was to be shared, is already gone"
    assert result.snapshot_id in cloud.snapshots
    assert old.id in cloud.snapshots
    assert ("stage", "creating", 1) in heard


def test_a_freeze_is_reported_with_its_instances_and_its_policy(cloud):
    cloud.volume(1, "H", instance="i-1")
    report, heard = observed(cloud)
    assert [(hook.instance_ids, hook.policy, hook.problem) for hook in report.hooks] == [(("i-1",), "H", None)]
    assert ("hook", report.hooks[0]) in heard


def test_an_unrequested_snapshot_that_stays_is_a_failure(cloud):
    """No repetition would find it."""
    for number in (1, 2):
        cloud.volume(number, instance="i-1")

    def attach(called, target):
        if called == "CreateSnapshots":
            cloud.volume(9, None, instance="i-1")
        if called == "DeleteSnapshot":
            raise refused(called)

    cloud.before = attach
    report, heard = observed(cloud)
    (change,) = report.changes
    assert (change.volume_id, change.outcome) == ("vol-00000009", ChangeOutcome.FAILED)
    assert (
        report.failures == report.unrepeatable_failures == (f"{change.snapshot_id} of vol-00000009: {change.reason}",)
    )
    assert ("change", change) in heard


def test_unrequested_snapshots_are_sought_after_the_creates(cloud, one_thread):
    for number in (1, 2, 3, 4):
        cloud.volume(number, instance="i-1" if number < 3 else "i-2")
    cloud.volume(5)

    def attach(called, target):
        if called == "CreateSnapshots":
            cloud.volume(10 + int(target[-1]), None, instance=target)

    cloud.before = attach
    observed(cloud)
    operations = [operation for operation, _ in cloud.journal]
    assert operations.count("DeleteSnapshot") == 2
    assert max(n for n, each in enumerate(operations) if each.startswith("CreateSnapshot")) < operations.index(
        "DeleteSnapshot"
    )


@pytest.mark.parametrize("freezes", [0, 3, MAX_FREEZES + 5])
def test_each_freeze_has_a_thread_of_its_own_up_to_a_limit(cloud, monkeypatch, freezes):
    """Plain creates have theirs beside."""
    cloud.volume(90)
    for number in range(freezes):
        cloud.volume(number, "H", instance=f"i-{number}")
    asked = []

    def note(function, items, workers):
        asked.append(workers)
        return map(function, items)

    monkeypatch.setattr("lambda_function.run.runner.in_parallel", note)
    observed(cloud)
    assert asked == [WORKERS + min(freezes, MAX_FREEZES)]


def test_the_faults_of_policies_not_requested_fail_no_run(cloud):
    cloud.policies["BAD"] = "{}"
    cloud.volume(1)
    assert len(observed(cloud)[0].failures) == 1
    assert observed(cloud, policies=("P",))[0].failures == ()


def test_the_new_snapshot_stays_though_it_seems_the_oldest(cloud):
    """EC2's clock says that it is."""
    volume = cloud.volume(1)
    newest, old = (cloud.snapshot(volume, "hour", timedelta(minutes=minutes)) for minutes in (20, 40))
    make = cloud._create

    def make_behind(*arguments, **more):
        cloud.clock.now -= 2 * HOUR
        made = make(*arguments, **more)
        cloud.clock.now += 2 * HOUR
        return made

    cloud._create = make_behind
    report, _ = observed(cloud)
    made = report.volumes[0].snapshot_id
    # The newest completed one stays beside what serves the slot.
    assert set(cloud.snapshots) == {newest.id, made}
    assert [each.snapshot_id for each in report.changes] == [old.id]


def test_changes_that_need_no_create_do_not_wait_for_creates(cloud):
    old = [cloud.snapshot(cloud.volume(1), "hour", age * HOUR) for age in (0, 1)]
    cloud.volume(2)
    gone, pause = [], Event()

    def wait_for_the_deletion(called, target):
        if called == "CreateSnapshot":
            for _ in range(12_000):
                if old[1].id not in cloud.snapshots:
                    gone.append(old[1].id)
                    return
                pause.wait(0.01)

    cloud.before = wait_for_the_deletion
    observed(cloud)
    assert gone == [old[1].id]
