"""Instances and attachments as EC2 shows them over HTTP: stopped, hibernated, started meanwhile, a Fargate task's."""

from __future__ import annotations

import pytest

from lambda_function.aws.clients import build_clients
from lambda_function.aws.ec2 import Ec2Ebs
from lambda_function.model.tags import TagKeys
from tests.support.endpoint import REGION, Account
from tests.wire.test_handler import invoke

KEYS = TagKeys("AUTO-SNAPSHOT")


@pytest.fixture
def account(rules):
    made = Account()
    made.policy("P", '{"hour": 2, "only_attached_vols": true}')
    return made


@pytest.fixture
def ebs(rules):
    clients = build_clients(REGION)
    return Ec2Ebs(clients, KEYS)


def word(account, volume):
    (made,) = account.snapshots(volume)
    return made["Tags"][KEYS.consistency]


@pytest.mark.parametrize(
    ("action", "state", "expected"),
    [
        pytest.param(lambda account, instance: None, "running", "crash", id="running"),
        pytest.param(
            lambda account, instance: account.ec2.stop_instances(InstanceIds=[instance]),
            "stopped",
            "offline",
            id="stopped",
        ),
        pytest.param(Account.hibernate, "hibernated", "crash", id="hibernated"),
    ],
)
def test_a_hibernated_instance_is_told_from_a_stopped_one(account, ebs, action, state, expected):
    instance = account.instance()
    volumes = [account.volume({KEYS.selection: "P"}, instance) for _ in range(2)]
    action(account, instance)
    assert [each.state for each in ebs.list_instances([instance])] == [state]
    invoke({"period": "hour"})
    assert [word(account, volume) for volume in volumes] == [expected] * 2


def test_a_started_instance_is_hibernated_no_more(account, ebs):
    instance = account.instance()
    account.hibernate(instance)
    account.ec2.start_instances(InstanceIds=[instance])
    assert [each.state for each in ebs.list_instances([instance])] == ["running"]


def test_a_fargate_task_s_volume_has_no_instance_but_is_attached(account, ebs):
    volume = account.volume({KEYS.selection: "P"})
    account.give_to_task(volume)
    (listed,) = ebs.list_volumes()
    assert (listed.instance_ids, listed.state, listed.is_attached) == ((), "in-use", True)
    shown = account.ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0]["Attachments"][0]
    assert "InstanceId" not in shown
    assert shown["InstanceOwningService"]
    invoke({"period": "hour"})
    assert word(account, volume) == "crash"
    assert KEYS.instance not in account.snapshots(volume)[0]["Tags"]
