"""How often an instance is frozen, and what a dry run of a hook says."""

from __future__ import annotations

import pytest

from lambda_function.errors import RequestRejectedError, TooManyPendingError
from lambda_function.model.result import Outcome
from tests.support.cloud import FakeCloud


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("on_failure", ["skip", "continue"])
def test_a_dry_run_names_a_freeze_for_which_no_run_has_time(cloud, on_failure, dry_run):
    cloud.policies["P"] = (
        f'{{"hour": 2, "hook_document": "DOC", "hook_timeout_seconds": 500, "hook_on_failure": "{on_failure}"}}'
    )
    report = cloud.run("hour", seconds=900, dry_run=dry_run)
    said = report.failures if on_failure == "skip" else report.warnings
    assert len(said) == 2
    assert all("hook failed: not begun: 900 s left, 1055 s needed" in line for line in said)
    assert cloud.ssm.sent == []


@pytest.fixture
def cloud():
    made = FakeCloud(policies={"P": '{"hour": 2, "day": 2, "hook_document": "DOC"}'})
    for number in (1, 2):
        made.volume(number, instance="i-1")
    return made


@pytest.mark.parametrize(("rejected", "freezes"), [((), 3), (("CreateSnapshots",), 1)], ids=["every create", "singles"])
def test_it_freezes_again_only_if_every_create_is_refused(cloud, rejected, freezes):
    """Not if the singles of a rejected set are: the set itself was not refused for want of room."""

    def refuse(operation, target):
        if operation in rejected:
            raise RequestRejectedError(operation, "InvalidParameterValue", "no")
        if operation.startswith("CreateSnapshot"):
            raise TooManyPendingError(operation, "PendingSnapshotLimitExceeded", "full")

    cloud.before = refuse
    report = cloud.run("hour")
    assert [result.outcome for result in report.volumes] == [Outcome.FAILED] * 2
    assert [sent.parameters["command"] for sent in cloud.ssm.sent] == [["pre-script"], ["post-script"]] * freezes
