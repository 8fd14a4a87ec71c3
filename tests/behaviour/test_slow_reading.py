"""A run that reads too slowly ends with a report before Lambda ends it without one."""

from __future__ import annotations

import threading

import pytest

from lambda_function.errors import RunFailedError
from lambda_function.model.result import Outcome
from lambda_function.ports import Silent
from lambda_function.run.context import READ_RESERVE_SECONDS
from tests.support.cloud import FakeCloud, refused

A_MOMENT = READ_RESERVE_SECONDS + 0.2


@pytest.fixture
def cloud():
    cloud = FakeCloud(policies={"P": '{"hour": 1}'})
    cloud.volume(1, instance="i-1")
    return cloud


@pytest.fixture
def never_answered(cloud):
    """Makes a call of the cloud hang until the test is over."""
    is_over = threading.Event()

    def hang(operation):
        def before(called, _):
            if called == operation:
                is_over.wait(60)

        cloud.before = before

    yield hang
    is_over.set()


@pytest.mark.parametrize("operation", ["GetParametersByPath", "DescribeVolumes", "DescribeSnapshots"])
def test_a_list_that_does_not_end_fails_the_run_in_time(cloud, never_answered, operation):
    never_answered(operation)
    with pytest.raises(RunFailedError, match=r"nothing was created or deleted \(given up: not ended with 20 s left\)"):
        cloud.run(seconds=A_MOMENT)
    assert cloud.writes() == []


@pytest.mark.parametrize("operation", ["GetParametersByPath", "DescribeVolumes", "DescribeInstances"])
def test_a_hook_check_that_reads_too_slowly_fails_in_time(cloud, never_answered, operation):
    cloud.policies["P"] = '{"hour": 1, "hook_document": "DOC"}'
    never_answered(operation)
    with pytest.raises(RunFailedError, match=r"nothing was checked \(given up: not ended with 20 s left\)"):
        cloud.check_hooks(seconds=A_MOMENT)


def test_instances_that_cannot_be_looked_up_defer_the_creates(cloud, never_answered):
    """A volume that is done is reported as on any day."""
    cloud.snapshot(cloud.volume(2), "hour")
    never_answered("DescribeInstances")
    report = cloud.run(seconds=A_MOMENT)
    assert [(result.volume_id, result.outcome) for result in report.volumes] == [
        ("vol-00000001", Outcome.DEFERRED),
        ("vol-00000002", Outcome.ALREADY_DONE),
    ]
    assert report.deferred == ("vol-00000001: given up: not ended with 20 s left",)


def test_what_a_look_up_answers_after_the_run_is_not_reported(cloud, monkeypatch):
    """It is another run's log by then, and no volume was taken one by one."""
    is_over, before, failures = threading.Event(), threading.enumerate(), []

    def refuse_late(called, _):
        if called == "DescribeInstances":
            is_over.wait(60)
            raise refused(called)

    cloud.before = refuse_late
    monkeypatch.setattr(Silent, "failure", lambda _, text: failures.append(text))
    report = cloud.run(seconds=A_MOMENT)
    is_over.set()
    for thread in set(threading.enumerate()) - set(before):
        thread.join(60)
    assert (report.failures, failures) == ((), [])
