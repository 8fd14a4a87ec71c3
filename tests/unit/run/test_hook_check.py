"""`hooks check`: every hook is dry-run where it would run; nothing is frozen, nothing snapshotted."""

from __future__ import annotations

import math

import pytest

from tests.support.cloud import FakeCloud
from tests.support.ssm import Reply


@pytest.fixture
def cloud():
    made = FakeCloud(policies={"P": '{"hour": 1, "hook_document": "DOC"}', "Q": '{"hour": 1}'})
    made.volume(1, instance="i-1")
    made.volume(2, instance="i-1")
    made.volume(3, instance="i-2")
    made.volume(4, "Q", instance="i-3")
    made.volume(5)
    return made


def test_each_instance_is_dry_run_once(cloud):
    """Nothing is frozen or written."""
    report = cloud.check_hooks()
    assert sorted(cloud.ssm.stages()) == [("dry-run", "i-1"), ("dry-run", "i-2")]
    assert cloud.writes() == []
    assert cloud.ssm.frozen == set()
    assert [(hook.instance_ids, hook.problem) for hook in report.hooks] == [(("i-1",), None), (("i-2",), None)]
    assert report.failures == ()


def test_the_dry_run_gets_the_volumes_that_a_run_would_freeze(cloud):
    cloud.check_hooks()
    asked = {each.instance_id: each.parameters["volumeIds"] for each in cloud.ssm.sent}
    assert asked == {"i-1": ["vol-00000001,vol-00000002"], "i-2": ["vol-00000003"]}


def test_the_dry_run_has_the_contracts_execution_id_for_it(cloud):
    """No stage follows it; some published documents accept no other."""
    cloud.check_hooks()
    assert {each.parameters["executionId"][0] for each in cloud.ssm.sent} == {"None"}


def test_what_is_not_ready_is_named_with_the_document_s_reason(cloud):
    cloud.ssm.script = lambda instance_id, _: (
        Reply(exit_code=206, output="no mariadb client") if instance_id == "i-2" else Reply()
    )
    report = cloud.check_hooks()
    assert report.failures == ("i-2, policy P: dry-run on i-2: Failed (exit 206: no mariadb client)",)


@pytest.mark.parametrize(
    ("prepare", "expected"),
    [
        (lambda cloud: cloud.ssm.documents.clear(), "InvalidDocument"),
        (lambda cloud: cloud.ssm.offline.update({"i-1": "is not managed by SSM"}), "i-1 is not managed by SSM"),
        (lambda cloud: setattr(cloud.ssm, "script", lambda *_: Reply(seconds=math.inf)), "not finished after 60 s"),
    ],
)
def test_documents_instances_and_time_outs_are_findings(cloud, prepare, expected):
    prepare(cloud)
    assert expected in cloud.check_hooks().failures[0]


def test_a_check_can_be_narrowed_and_faulty_policies_are_named(cloud):
    cloud.policies["BAD"] = "{}"
    report = cloud.check_hooks(volumes=("vol-00000003",))
    assert cloud.ssm.stages() == [("dry-run", "i-2")]
    (fault,) = report.failures
    assert fault.startswith("/auto-snapshots/policies/BAD: names no period")
    assert cloud.check_hooks(policies=("Q",)).hooks == ()
