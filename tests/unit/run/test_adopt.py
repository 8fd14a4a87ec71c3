"""Snapshots of a lost answer or a concurrent run, adopted with what is known of their volumes."""

from __future__ import annotations

from datetime import timedelta

import pytest

from lambda_function.errors import AwsError, RequestRejectedError
from lambda_function.model.result import Outcome
from tests.support.cloud import KEYS, FakeCloud, Stored

SECOND = timedelta(seconds=1)
NO_SET = RequestRejectedError("CreateSnapshots", "InvalidParameterValue", "no")


@pytest.fixture
def cloud():
    return FakeCloud(
        policies={"P": '{"hour": 2, "day": 2}', "H": '{"hour": 2, "day": 2, "hook_document": "DOC"}'},
        create_interval=15 * SECOND,
    )


def just_before_the_set(cloud, *volumes):
    """Another run makes hourly snapshots of these when the set is sent, which EC2 then rejects."""
    made: list[Stored] = []

    def appear(operation, target):
        if operation == "CreateSnapshots" and not made:
            made.extend(
                cloud.snapshot(volume, "hour", policy=volume.tags[KEYS.selection], consistency="application")
                for volume in volumes
            )
            raise NO_SET

    cloud.before = appear
    return made


@pytest.mark.parametrize("policy", ["P", "H"])
def test_an_adopted_volume_keeps_the_note_of_its_split_set(cloud, policy):
    volumes = [cloud.volume(number, policy, instance="i-1") for number in (1, 2)]
    just_before_the_set(cloud, volumes[0])
    first, second = cloud.run("hour").volumes
    assert (first.outcome, second.outcome) == (Outcome.ALREADY_DONE, Outcome.CREATED)
    assert first.warnings == second.warnings == (f"not as a set: {NO_SET}",)


def test_a_join_that_fails_under_a_hook_costs_no_other_volume(cloud):
    volumes = [cloud.volume(number, "H", instance="i-1") for number in (1, 2)]
    made = just_before_the_set(cloud, *volumes)
    appear = cloud.before

    def refuse(operation, target):
        appear(operation, target)
        if operation == "CreateTags" and target == made[1].id:
            raise AwsError(operation, "InternalError", "oops")

    cloud.before = refuse
    report = cloud.run("day")
    assert [result.outcome for result in report.volumes] == [Outcome.SHARED, Outcome.FAILED]
    assert [snapshot.tags[KEYS.period] for snapshot in made] == ["hour day", "hour"]
