"""A volume whose tag says NONE is passed over on purpose: no warning, and its snapshots stay."""

from __future__ import annotations

from datetime import timedelta

import pytest

from lambda_function.errors import ConfigurationError
from lambda_function.inputs.policy import parse_policies
from lambda_function.model.result import Outcome
from lambda_function.plan.protection import Status, judge_volumes
from tests.support.cloud import KEYS, FakeCloud


@pytest.fixture
def cloud():
    cloud = FakeCloud(policies={"P": '{"hour": 1}'})
    cloud.volume(1, "NONE")
    for age in range(1, 4):
        cloud.snapshot("vol-00000001", "hour", age * timedelta(hours=1))
    return cloud


def test_it_is_passed_over_without_a_warning(cloud):
    report = cloud.run()
    assert [(result.outcome, result.reason) for result in report.volumes] == [
        (Outcome.OUTSIDE, "opted out: its tag says NONE")
    ]
    assert (report.warnings, report.failures, report.orphaned_snapshots) == ((), (), 0)
    assert len(cloud.snapshots) == 3
    assert cloud.writes() == []


def test_a_run_for_other_policies_does_not_mention_it(cloud):
    assert cloud.run(policies=("P",)).volumes == ()


def test_whoever_asks_for_it_is_told(cloud):
    report = cloud.run(volumes=("vol-00000001",))
    assert report.failures == ("vol-00000001: asked for, but opted out: its tag says NONE",)


def test_no_policy_can_have_the_name(cloud):
    cloud.policies["NONE"] = '{"hour": 5}'
    report = cloud.run()
    (failure,) = report.failures
    assert failure == "/auto-snapshots/policies/NONE: NONE is reserved: it is what the tag of an opted-out volume says"
    assert report.volumes[0].outcome is Outcome.OUTSIDE


def test_whoever_asks_for_it_as_a_policy_is_told_what_it_is(cloud):
    with pytest.raises(ConfigurationError, match=r'"NONE" does not exist; NONE is what the tag of an opted-out volume'):
        cloud.run(policies=("NONE",))


@pytest.mark.parametrize("value", ["none", "None", " NONE"])
def test_another_spelling_is_a_typo(cloud, value):
    cloud.volume(1, value)
    report = cloud.run()
    assert report.volumes[0].outcome is Outcome.UNKNOWN_POLICY
    assert report.warnings[0].endswith('which is no policy; did you mean "NONE"?')


def test_status_has_nothing_to_say_of_it(cloud):
    report = judge_volumes(
        cloud.clock.now, parse_policies(cloud.read()), cloud.list_volumes(), cloud.list_snapshots(()), KEYS
    )
    assert [(volume.status, volume.reason) for volume in report.volumes] == [
        (Status.OUTSIDE, "opted out: its tag says NONE")
    ]
    assert report.is_well
