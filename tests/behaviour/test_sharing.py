"""What a longer period joins where a hook is to make snapshots good: only what the hook made good."""

from __future__ import annotations

from datetime import timedelta

import pytest

from lambda_function.errors import AwsError
from lambda_function.model.result import ChangeOutcome, Outcome
from tests.support.cloud import KEYS, FakeCloud, refused
from tests.support.ssm import Reply

PRE, POST = "pre-script", "post-script"
MINUTE = timedelta(minutes=1)
LONGER = ("day", "week", "month", "year")
PERIODS = '"hour": 2, "day": 2, "week": 2, "month": 2, "year": 2'


@pytest.fixture
def cloud():
    return FakeCloud(policies={"P": f'{{{PERIODS}, "hook_document": "DOC"}}'}, create_interval=timedelta(seconds=15))


def data_and_root(cloud):
    """Two volumes of an instance, of which the document claims the first."""
    data, root = (cloud.volume(number, instance="i-1") for number in (1, 2))

    def run(instance_id, parameters):
        usual = cloud.ssm.run(instance_id, parameters)
        return Reply(output=f"auto-snapshots: frozen {data.id}\n") if parameters["command"] == [PRE] else usual

    cloud.ssm.script = run
    return data, root


def fails_once(cloud, stage, exit_code):
    left = [Reply(exit_code=exit_code)]

    def run(instance_id, parameters):
        usual = cloud.ssm.run(instance_id, parameters)
        return left.pop() if left and parameters["command"] == [stage] else usual

    cloud.ssm.script = run


def night(cloud, periods):
    reports = {}
    for period in periods:
        reports[period] = cloud.run(period)
        cloud.clock.now += 10 * MINUTE
    return reports


def kept_for(cloud, volume):
    return [(stored.tags[KEYS.period], stored.tags[KEYS.consistency]) for stored in cloud.of(volume)]


@pytest.mark.parametrize("period", LONGER)
@pytest.mark.parametrize(
    ("on_failure", "stage", "exit_code"), [("continue", PRE, 201), ("skip", POST, 203)], ids=["continue", "skip"]
)
def test_a_hook_that_fails_once_does_not_decide_the_year(cloud, on_failure, stage, exit_code, period):
    """At midnight the hour's hook fails, later it works: the longer period takes a snapshot of its own."""
    cloud.policies["P"] = f'{{{PERIODS}, "hook_document": "DOC", "hook_on_failure": "{on_failure}"}}'
    volume = cloud.volume(1, instance="i-1")
    fails_once(cloud, stage, exit_code)
    report = night(cloud, ["hour", period])[period]
    assert kept_for(cloud, volume) == [("hour", "crash"), (period, "application")]
    (result,) = report.volumes
    crash = cloud.of(volume)[0].id
    assert result.reason == (
        f"none started in this {period} yet; {crash} of the hour is only crash-consistent, so not shared"
    )


def test_the_first_proved_snapshot_of_a_night_serves_the_rest(cloud):
    cloud.policies["P"] = f'{{{PERIODS}, "hook_document": "DOC", "hook_on_failure": "continue"}}'
    volume = cloud.volume(1, instance="i-1")
    fails_once(cloud, PRE, 201)
    night(cloud, ["hour", *LONGER])
    assert kept_for(cloud, volume) == [("hour", "crash"), ("day week month year", "application")]


def test_each_period_has_its_own_where_the_hook_never_works(cloud):
    cloud.policies["P"] = f'{{{PERIODS}, "hook_document": "nosuch", "hook_on_failure": "continue"}}'
    volume = cloud.volume(1, instance="i-1")
    night(cloud, ["hour", *LONGER])
    assert kept_for(cloud, volume) == [(period, "crash") for period in ("hour", *LONGER)]


def test_an_offline_snapshot_is_joined_under_a_hook(cloud):
    volume = cloud.volume(1)
    night(cloud, ["hour", *LONGER])
    assert kept_for(cloud, volume) == [("hour day week month year", "offline")]


def test_without_a_hook_a_crash_snapshot_is_joined(cloud):
    cloud.policies["P"] = f"{{{PERIODS}}}"
    volume = cloud.volume(1, instance="i-1")
    night(cloud, ["hour", *LONGER])
    assert kept_for(cloud, volume) == [("hour day week month year", "crash")]


def test_a_root_volume_shares_as_its_set_does(cloud):
    """No second command, no second snapshot, and no call more."""
    data, root = data_and_root(cloud)
    night(cloud, ["hour"])
    sent = len(cloud.ssm.sent)
    report = night(cloud, ["day"])["day"]
    assert [result.outcome for result in report.volumes] == [Outcome.SHARED] * 2
    assert "under a freeze that others of its set prove" in report.volumes[1].reason
    assert kept_for(cloud, data) == [("hour day", "application")]
    assert kept_for(cloud, root) == [("hour day", "crash")]
    assert len(cloud.ssm.sent) == sent
    assert ("DescribeSnapshots", "proof") not in cloud.journal


@pytest.mark.parametrize("asked", [(2,), (1,), (1, 2)], ids=["the root", "the data", "both"])
def test_a_root_asked_for_alone_shares_as_its_set_does(cloud, asked):
    """Its set is looked up only if what is listed does not say."""
    volumes = data_and_root(cloud)
    night(cloud, ["hour"])
    sent = len(cloud.ssm.sent)
    report = cloud.run("day", volumes=tuple(volumes[number - 1].id for number in asked))
    assert [result.outcome for result in report.volumes] == [Outcome.SHARED] * len(asked)
    assert len(cloud.ssm.sent) == sent
    assert cloud.journal.count(("DescribeSnapshots", "proof")) == (asked == (2,))


def test_a_root_whose_set_is_not_proved_is_not_shared(cloud):
    _, root = data_and_root(cloud)
    fails_once(cloud, POST, 203)
    night(cloud, ["hour"])
    report = cloud.run("day", volumes=(root.id,))
    assert report.volumes[0].outcome is Outcome.CREATED
    assert kept_for(cloud, root)[0] == ("hour", "crash")


def test_another_set_s_proof_is_none(cloud):
    """What has not the same id does not belong together."""
    data, root = data_and_root(cloud)
    night(cloud, ["hour"])
    cloud.of(data)[0].tags[KEYS.set] = "another"
    assert cloud.run("day", volumes=(root.id,)).volumes[0].outcome is Outcome.CREATED


def test_sets_that_cannot_be_looked_up_end_the_run_at_first(cloud):
    _, root = data_and_root(cloud)
    night(cloud, ["hour"])
    writes = cloud.writes()

    def refuse(operation, target):
        if target == "proof":
            raise refused(operation)

    cloud.before = refuse
    with pytest.raises(AwsError, match="DescribeSnapshots"):
        cloud.run("day", volumes=(root.id,))
    assert cloud.writes() == writes


@pytest.mark.parametrize("can_look", [True, False])
def test_a_root_refused_its_own_adopts_if_its_set_is_proved(cloud, can_look):
    """The hour's was not listed yet, and EC2's 15 seconds forbid another."""
    _, root = data_and_root(cloud)
    cloud.hidden_for = timedelta(seconds=4)
    cloud.run("hour")

    def refuse(operation, target):
        if target == "proof" and not can_look:
            raise refused(operation)

    cloud.before = refuse
    (result,) = cloud.run("day", volumes=(root.id,)).volumes
    assert result.outcome is (Outcome.SHARED if can_look else Outcome.FAILED)
    assert kept_for(cloud, root) == [("hour day" if can_look else "hour", "crash")]


def test_an_unproved_snapshot_is_not_adopted_either(cloud):
    """The run waits for EC2's 15 seconds, then takes its own."""
    cloud.policies["P"] = f'{{{PERIODS}, "hook_document": "nosuch", "hook_on_failure": "continue"}}'
    volume = cloud.volume(1, instance="i-1")
    cloud.run("hour")
    cloud.run("day")
    assert kept_for(cloud, volume) == [("hour", "crash"), ("day", "crash")]


@pytest.mark.parametrize(("now", "is_joined"), [("application", True), ("crash", False), (None, False)])
def test_a_snapshot_that_lost_its_word_meanwhile_is_not_joined(cloud, now, is_joined):
    """The recheck sees it, and the volume gets a snapshot of its own."""
    volume = cloud.volume(1, instance="i-1")
    night(cloud, ["hour"])
    (shared,) = cloud.of(volume)

    def lower(operation, target):
        if target == "recheck":
            cloud.before = lambda *_: None
            shared.tags.pop(KEYS.consistency)
            shared.tags.update({KEYS.consistency: now} if now else {})

    cloud.before = lower
    report = cloud.run("day")
    assert report.volumes[0].outcome is (Outcome.SHARED if is_joined else Outcome.CREATED)
    assert [change.outcome for change in report.changes] == [
        ChangeOutcome.DONE if is_joined else ChangeOutcome.CHANGED_SINCE
    ]
