"""A run that a signal interrupts: it begins nothing more, thaws what is frozen, and reports every volume."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from lambda_function.deadline import SLICE_SECONDS
from lambda_function.errors import NoAnswerError
from lambda_function.interruption import Interruption
from lambda_function.model.result import ChangeOutcome, Outcome
from lambda_function.output.summary import headline
from lambda_function.run.continuation import continue_or_conclude
from tests.support.cloud import KEYS, FakeCloud
from tests.support.ssm import Reply

HOUR = timedelta(hours=1)
PRE, POST = "pre-script", "post-script"
NOT_BEGUN = "not begun: the run was interrupted"
HOOKED = '{{"hour": 2, "hook_document": "DOC", "hook_on_failure": "{}"}}'


@pytest.fixture
def cloud():
    return FakeCloud(policies={"P": '{"hour": 2}', "H": HOOKED.format("skip"), "L": HOOKED.format("continue")})


def interrupted_at(cloud, operation, target=None, of=None):
    """Interrupt when this call of EC2 or SSM is about to be made."""

    def before(called, what):
        if called == operation and target in (None, what):
            cloud.interruption.set()

    (of or cloud).before = before


def outcomes(report):
    return {result.volume_id: (result.outcome, result.reason) for result in report.volumes}


def deferred(*volumes):
    return {volume.id: (Outcome.DEFERRED, NOT_BEGUN) for volume in volumes}


def hooked(cloud, number, instance, policy="H"):
    return cloud.volume(number, policy, instance=instance)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("policy", ["H", "L"], ids=["skip", "continue"])
@pytest.mark.parametrize("operation", [f"SendCommand {PRE}", f"wait {PRE}", f"SendCommand {POST}", f"wait {POST}"])
def test_a_freeze_that_has_begun_runs_to_its_end(cloud, operation, policy):
    """Its snapshots are proved; the next instance is not frozen, nor taken without a freeze."""
    frozen = [hooked(cloud, n, "i-1", policy) for n in (1, 2)]
    next_one = hooked(cloud, 3, "i-2", policy)
    interrupted_at(cloud, operation, "i-1", of=cloud.ssm)
    report = cloud.run("hour")
    assert cloud.ssm.frozen == set()
    assert cloud.ssm.stages() == [(PRE, "i-1"), (POST, "i-1")]
    assert [cloud.of(volume)[0].tags[KEYS.consistency] for volume in frozen] == ["application"] * 2
    assert outcomes(report).items() >= deferred(next_one).items()
    assert [result.outcome for result in report.volumes] == [Outcome.CREATED] * 2 + [Outcome.DEFERRED]
    assert cloud.of(next_one) == []
    assert len(report.hooks) == 1


@pytest.mark.parametrize("instances", [1, 60])
def test_instances_frozen_side_by_side_are_all_thawed(cloud, instances, monkeypatch):
    """The signal comes when the last of them is about to be waited for; those beyond 48 wait unfrozen."""
    # Of many threads each adds to the clock what it waits for.
    monkeypatch.setattr("lambda_function.run.create_frozen.BEGIN_WITHIN_SECONDS", 14_400)
    cloud.policies["H"] = HOOKED.format("skip").replace("}", ', "hook_timeout_seconds": 600}')
    volumes = [hooked(cloud, n, f"i-{n}") for n in range(instances)]

    def before(called, _):
        if called == f"wait {PRE}" and len(cloud.ssm.sent) >= min(instances, 5):
            cloud.interruption.set()

    cloud.ssm.before = before
    report = cloud.run("hour", seconds=14_400)
    assert cloud.ssm.frozen == set()
    assert cloud.interruption.held == ()
    stages = cloud.ssm.stages()
    for volume in volumes:
        (instance,) = volume.instance_ids
        was_frozen = (PRE, instance) in stages
        assert stages.count((POST, instance)) == was_frozen
        assert outcomes(report)[volume.id][0] is (Outcome.CREATED if was_frozen else Outcome.DEFERRED)


def test_a_frozen_instance_is_known_until_post_has_ended(cloud):
    hooked(cloud, 1, "i-1")
    seen = []
    cloud.ssm.before = lambda called, _: seen.append((called, cloud.interruption.held))
    cloud.run("hour")
    calls = (f"SendCommand {PRE}", f"wait {PRE}", f"SendCommand {POST}", f"wait {POST}")
    assert seen[-4:] == [(call, ("i-1",)) for call in calls]
    assert cloud.interruption.held == ()


def test_a_thaw_without_a_verdict_is_sent_again_all_the_same(cloud):
    hooked(cloud, 1, "i-1")
    lost = iter([True, True])

    def before(called, _):
        if called == f"SendCommand {POST}":
            cloud.interruption.set()
            if next(lost, False):
                raise NoAnswerError("SendCommand", "ReadTimeoutError", "no answer")

    cloud.ssm.before = before
    report = cloud.run("hour")
    assert cloud.ssm.frozen == set()
    assert report.hooks[0].problem is None
    assert report.is_interrupted


@pytest.mark.usefixtures("one_thread")
def test_plain_creates_stop_and_every_volume_is_reported(cloud):
    volumes = [cloud.volume(n) for n in range(40)]
    interrupted_at(cloud, "CreateSnapshot")
    report = cloud.run("hour")
    assert cloud.calls("CreateSnapshot") == 1
    assert [result.outcome for result in report.volumes].count(Outcome.CREATED) == 1
    assert list(outcomes(report).values()).count((Outcome.DEFERRED, NOT_BEGUN)) == 39
    assert outcomes(report).keys() == {volume.id for volume in volumes}


@pytest.mark.usefixtures("one_thread")
def test_the_report_says_that_a_repeated_run_does_the_rest(cloud):
    first, second = cloud.volume(1), cloud.volume(2)
    interrupted_at(cloud, "CreateSnapshot")
    report = continue_or_conclude(cloud.run("hour"), {}, cloud.clock.now, None)
    assert report.is_interrupted
    assert report.failures == (f"{second.id}: {NOT_BEGUN} (a repeated run does it)",)
    assert headline(report) == (
        "hour: 1 created, 0 shared, 0 already done, 0 deleted, 1 deferred (interrupted), 1 FAILED"
    )
    cloud.interruption, cloud.before = Interruption(), lambda *_: None
    again = cloud.run("hour")
    assert [result.outcome for result in again.volumes] == [Outcome.ALREADY_DONE, Outcome.CREATED]
    assert not again.is_interrupted
    assert len(cloud.of(first)) == 1


@pytest.mark.usefixtures("one_thread")
def test_nothing_is_joined_released_or_deleted_any_more(cloud):
    cloud.policies["P"] = '{"hour": 1, "day": 1}'
    shared = cloud.volume(1)
    joined = cloud.snapshot(shared, "hour", timedelta(minutes=4))
    surplus = [cloud.snapshot(shared, "day", 24 * days * HOUR) for days in (1, 2)]
    interrupted_at(cloud, "DescribeSnapshots", "recheck")
    report = cloud.run("day")
    assert cloud.writes() == []
    (result,) = report.volumes
    assert result.outcome is Outcome.DEFERRED
    assert result.reason.endswith(f"; {NOT_BEGUN}")
    assert report.changes[0].snapshot_id == joined.id
    assert {change.outcome for change in report.changes} == {ChangeOutcome.DEFERRED}
    assert all(stored.id in cloud.snapshots for stored in surplus)


@pytest.mark.usefixtures("one_thread")
def test_deletions_stop_between_two_of_them(cloud):
    cloud.policies["P"] = '{"hour": 1}'
    volume = cloud.volume(1)
    for hours in range(1, 6):
        cloud.snapshot(volume, "hour", hours * HOUR)
    interrupted_at(cloud, "DeleteSnapshot")
    report = cloud.run("hour")
    assert cloud.calls("DeleteSnapshot") == 1
    done, *rest = sorted(report.changes, key=lambda change: change.outcome is not ChangeOutcome.DONE)
    assert done.outcome is ChangeOutcome.DONE
    assert {(change.outcome, change.reason.endswith(NOT_BEGUN)) for change in rest} == {(ChangeOutcome.DEFERRED, True)}
    assert len(report.deferred) == len(rest) == 4


@pytest.mark.usefixtures("one_thread")
def test_a_wait_for_the_pending_quota_ends(cloud):
    cloud.pending_cap, cloud.pending_for = 1, HOUR
    volumes = [cloud.volume(n) for n in (1, 2)]
    sleep = cloud.clock.sleep

    def interrupted(seconds):
        cloud.interruption.set()
        sleep(seconds)

    cloud.clock.sleep = interrupted
    report = cloud.run("hour")
    assert cloud.clock.slept <= SLICE_SECONDS
    assert outcomes(report)[volumes[1].id] == (Outcome.DEFERRED, NOT_BEGUN)


@pytest.mark.parametrize("policy", ["H", "L"], ids=["skip", "continue"])
def test_a_freeze_without_quota_is_not_made_again(cloud, policy):
    """Nor is its volume taken without one, and no hook has failed."""
    cloud.pending_cap, cloud.pending_for = 1, HOUR
    cloud.volume(1)
    cloud.run("hour")
    cloud.clock.sleep(60)
    volume = hooked(cloud, 2, "i-1", policy)
    interrupted_at(cloud, f"SendCommand {PRE}", of=cloud.ssm)
    report = cloud.run("hour")
    assert cloud.ssm.stages() == [(PRE, "i-1"), (POST, "i-1")]
    assert outcomes(report)[volume.id] == (Outcome.DEFERRED, NOT_BEGUN)
    assert [hook.problem for hook in report.hooks] == [None]
    assert report.warnings == ()


def test_nothing_is_adopted_any_more(cloud):
    """EC2 refuses the create, since another run has just started one."""
    cloud.create_interval = timedelta(seconds=15)
    volume = cloud.volume(1)

    def before(called, _):
        if called == "CreateSnapshot":
            cloud.snapshot(volume, "hour")
            cloud.interruption.set()

    cloud.before = before
    report = cloud.run("hour")
    assert outcomes(report) == deferred(volume)
    assert cloud.calls("DescribeSnapshots") == 2


@pytest.mark.parametrize(("policy", "outcome"), [("H", Outcome.FAILED), ("L", Outcome.DEFERRED)])
def test_nothing_is_made_or_adopted_after_a_failed_freeze(cloud, policy, outcome):
    volume = hooked(cloud, 1, "i-1", policy)
    cloud.ssm.script = lambda instance, parameters: (
        Reply(exit_code=201) if parameters["command"] == [PRE] else Reply(exit_code=205)
    )
    interrupted_at(cloud, f"wait {PRE}", of=cloud.ssm)
    report = cloud.run("hour")
    assert cloud.ssm.stages() == [(PRE, "i-1"), (POST, "i-1")]
    assert outcomes(report)[volume.id][0] is outcome
    assert cloud.calls("CreateSnapshot") == 0
    assert cloud.calls("DescribeSnapshots") == 2
    assert report.hooks[0].problem is not None


def test_a_hook_that_cannot_run_is_not_looked_into_any_more(cloud):
    """Nor is its volume taken without a freeze, which its policy would accept."""
    cloud.ssm.offline["i-1"] = "is not online"
    volume = hooked(cloud, 1, "i-1", "L")
    interrupted_at(cloud, "DescribeInstances")
    report = cloud.run("hour")
    assert outcomes(report) == deferred(volume)
    assert report.hooks == ()


def test_a_dry_run_never_begins_and_a_run_does(cloud):
    """So a signal ends a dry run at once: nothing is written that would have to be put in order."""
    cloud.volume(1)
    cloud.run("hour", dry_run=True)
    assert not cloud.interruption.has_begun
    begun = []
    cloud.before = lambda called, _: begun.append((called, cloud.interruption.has_begun))
    cloud.run("hour")
    assert begun == [
        ("GetParametersByPath", False),
        ("DescribeVolumes", False),
        ("DescribeSnapshots", False),
        ("DescribeSnapshots", False),
        ("CreateSnapshot", True),
    ]


def test_a_hook_check_sends_nothing_more(cloud):
    """The second instance of a shared volume is asked after the first."""
    shared = hooked(cloud, 1, "i-1")
    cloud.instances["i-2"] = replace(cloud.instances["i-1"], id="i-2")
    cloud.volumes[shared.id] = replace(shared, instance_ids=("i-1", "i-2"))
    interrupted_at(cloud, "wait dry-run", of=cloud.ssm)
    report = cloud.check_hooks()
    assert cloud.ssm.stages() == [("dry-run", "i-1")]
    assert [hook.problem for hook in report.hooks] == [f"not checked: {NOT_BEGUN}"]
    assert cloud.interruption.has_begun
