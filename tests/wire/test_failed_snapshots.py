"""Snapshots in `error`, and copies of our tags, over HTTP: what is listed, and what a run makes of it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from lambda_function.aws.clients import build_clients
from lambda_function.aws.ec2 import Ec2Ebs
from lambda_function.model.tags import TagKeys
from tests.support.endpoint import REGION, Account, ec2_backend
from tests.wire.test_handler import invoke

KEYS = TagKeys("AUTO-SNAPSHOT")
HOUR = timedelta(hours=1)


@pytest.fixture
def account(rules):
    account = Account()
    account.policy("P", '{"hour": 3}')
    return account


@pytest.fixture
def ebs(rules):
    return Ec2Ebs(build_clients(REGION), KEYS)


def failed(account, volume, tags, started=None):
    made = account.snapshot(volume, tags, started)
    ec2_backend().snapshots[made].status = "error"
    return made


def test_failed_ones_of_ours_are_listed_for_every_period(account, ebs):
    one, two = account.volume(), account.volume()
    ours = [failed(account, volume, {KEYS.period: words}) for volume, words in ((one, "week"), (two, "hour day"))]
    failed(account, one, {"Name": "by hand"})
    failed(account, one, {KEYS.period: "hour", "aws:dlm:lifecycle-policy-id": "policy-1"})
    account.snapshot(one, {KEYS.period: "hour"})
    assert {snapshot.id for snapshot in ebs.list_failed()} == set(ours)
    assert [snapshot.id for snapshot in ebs.list_failed([two, *(f"vol-{n:08x}" for n in range(250))])] == [ours[1]]


def test_a_description_of_ours_is_recognised(account, ebs, rules):
    instance = account.instance()
    volumes = [account.volume({KEYS.selection: "P"}, instance) for _ in range(2)]
    alone = account.volume({KEYS.selection: "P"})
    invoke({"period": "hour"})
    ids = [snapshot["SnapshotId"] for volume in (*volumes, alone) for snapshot in account.snapshots(volume)]
    by_hand = account.snapshot(alone, {KEYS.period: "hour"})
    read = ebs.read_snapshots([*ids, by_hand])
    assert len(ids) == 3
    assert {snapshot_id for snapshot_id, snapshot in read.items() if snapshot.has_our_description} == set(ids)


def test_a_volume_locked_out_by_its_failed_ones_is_served(account, rules):
    full, slow = (account.volume({KEYS.selection: "P"}) for _ in range(2))
    newest, *errors = [failed(account, full, {KEYS.period: "hour"}, rules.clock() - n * HOUR) for n in range(1, 6)]
    errors.append(failed(account, slow, {KEYS.period: "hour"}, rules.clock() - HOUR))
    rules.slow_volumes.add(slow)
    ec2_backend().volumes[slow].volume_type = "st1"
    answer = invoke({"period": "hour"})
    assert (answer["summary"]["created"], answer["summary"]["deleted"]) == (2, 5)
    assert answer["summary"]["failed_snapshots"] == 6
    there = {snapshot["SnapshotId"] for snapshot in account.snapshots()}
    assert set(errors).isdisjoint(there)
    assert newest in there


def test_a_bad_volume_leaves_its_neighbours_set(account, rules):
    instance = account.instance()
    bad, *others = [account.volume({KEYS.selection: "P"}, instance) for _ in range(3)]
    rules.pending_for = timedelta(minutes=5)
    rules.bad_volumes.add(bad)
    made = []
    for _ in range(3):
        rules.calls.clear()
        invoke({"period": "hour"})
        made.append((rules.calls.count("create_snapshots"), rules.calls.count("create_snapshot")))
        rules.clock.moment += HOUR
    assert made == [(1, 0), (0, 3), (1, 1)]
    states = {volume: [snapshot["State"] for snapshot in account.snapshots(volume)] for volume in (bad, *others)}
    assert states == {bad: ["error", "error"]} | {volume: ["completed", "completed"] for volume in others}
