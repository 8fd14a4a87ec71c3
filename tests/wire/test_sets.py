"""Sets over HTTP: what is of one set, and which sets are proved."""

from __future__ import annotations

import pytest

from lambda_function.aws.clients import build_clients
from lambda_function.aws.ec2 import Ec2Ebs
from lambda_function.model.tags import TagKeys
from tests.support.endpoint import REGION, Account

KEYS = TagKeys("AUTO-SNAPSHOT")


@pytest.fixture
def account(rules):
    return Account()


@pytest.fixture
def ebs(rules):
    clients = build_clients(REGION)
    return Ec2Ebs(clients, KEYS)


def test_sets_with_an_application_snapshot_are_proved(account, ebs, rules):
    """However many are asked for; a filter takes 200 values in all."""
    volume = account.volume()
    for set_id, word in (("a", "application"), ("b", "crash"), ("c", "application"), ("z", "application")):
        account.snapshot(volume, {KEYS.period: "hour", KEYS.set: set_id, KEYS.consistency: word})
    account.snapshot(volume, {KEYS.set: "b", KEYS.consistency: "application"})  # not ours
    others = [f"set-{number}" for number in range(250)]
    rules.calls.clear()
    assert ebs.list_proved_sets(["a", "b", "z", *others]) == {"a", "z"}
    assert rules.calls == ["describe_snapshots"] * 2
    values = [sum(".Value." in name for name in request) for _, request in rules.requests[-2:]]
    assert max(values) <= 200


def test_a_listed_snapshot_has_its_set(account, ebs):
    account.policy("P", '{"hour": 1}')
    volume = account.volume({KEYS.selection: "P"})
    made = account.snapshot(volume, {KEYS.period: "hour", KEYS.set: "a"})
    without = account.snapshot(volume, {KEYS.period: "hour"})
    assert {each.id: each.set_id for each in ebs.read_snapshots([made, without]).values()} == {made: "a", without: None}
