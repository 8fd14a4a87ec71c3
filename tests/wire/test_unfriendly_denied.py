"""Access denied, for every action that the function uses and for every period: named, and nothing lost by it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import timedelta

import pytest

from lambda_function.model.period import Period
from tests.stack.role import DEFAULT, granted
from tests.stack.test_permissions import USED_BY_AWS
from tests.support.campaign import sized
from tests.support.faults import denied
from tests.support.run_command_endpoint import Reply
from tests.wire.unfriendly import WRITES, World, unfriendly_world

MINUTE, YEAR = timedelta(minutes=1), timedelta(days=366)
EVERY = {period.value: 1 for period in Period}
POLICIES = {
    "PLAIN": EVERY,
    "SECRET": EVERY,
    "HOOKED": {**EVERY, "hook_document": "DOC", "hook_timeout_seconds": 10},
    "SLOW": {**EVERY, "hook_document": "DOC", "hook_timeout_seconds": 10, "hook_on_failure": "continue"},
}

PERIODS = list(Period)[: sized(len(Period), 2, 2)]
"""By day the hour, which creates, and the day, which shares; the longer ones do as the day does."""

BEFORE_ALL_WRITES = {"GetParametersByPath", "DescribeVolumes", "DescribeSnapshots"}
ACTIONS = sorted(
    each.split(":")[1].replace("InvokeFunction", "Invoke") for each in granted(DEFAULT) - USED_BY_AWS.keys()
)


@dataclass
class Fleet:
    """The snapshots that a run without faults deletes, by volume, and the one that a longer period shares."""

    to_delete: dict[str, str]
    candidate: str = ""


@pytest.fixture(scope="module")
def whole():
    with unfriendly_world() as world:
        yield world


@pytest.fixture
def world(whole):
    return whole.renew()


def furnish(world: World, period: Period) -> Fleet:
    """Each call that a run can make is made by a run for this period; each volume has a snapshot too many."""
    account = world.account
    for name, value in POLICIES.items():
        account.policy(name, json.dumps(value), kind="SecureString" if name == "SECRET" else "String")
    account.document("DOC")
    pair, hooked, slow = (account.instance() for _ in range(3))
    volumes = {
        "alone": account.volume({"AUTO-SNAPSHOT": "PLAIN"}),
        "secret": account.volume({"AUTO-SNAPSHOT": "SECRET"}),
        "first": account.volume({"AUTO-SNAPSHOT": "PLAIN"}, pair),
        "second": account.volume({"AUTO-SNAPSHOT": "PLAIN"}, pair),
        "hooked": account.volume({"AUTO-SNAPSHOT": "HOOKED"}, hooked),
        "slow": account.volume({"AUTO-SNAPSHOT": "SLOW"}, slow),
        "sharing": account.volume({"AUTO-SNAPSHOT": "PLAIN"}),
    }
    to_delete = {}
    for volume in volumes.values():
        world.snapshot(volume, f"{period} keepsake", 3 * YEAR)
        to_delete[volume] = world.snapshot(volume, period, 2 * YEAR)
        world.snapshot(volume, period, YEAR)
    is_shared = period is not Period.HOUR
    candidate = world.snapshot(volumes["sharing"], "hour", 10 * MINUTE, policy="PLAIN") if is_shared else ""
    world.rules.pending_for = 60 * MINUTE  # so that the newest completed one stays, and one goes
    world.rules.agents.scripts = {
        slow: lambda command: Reply(seconds=3600) if command.stage == "pre-script" else Reply(205)
    }
    world.rules.agents.with_plugins = False  # so that what was printed is read from the invocation itself
    return Fleet(to_delete, candidate)


def invoke(world: World, period: Period, action: str = ""):
    return world.invoke({"period": period.value}, ends=30_000 if action == "Invoke" else None)


@pytest.mark.parametrize("period", PERIODS)
def test_a_run_uses_every_action_but_those_of_continuation(world, period):
    """This holds for any period."""
    fleet = furnish(world, period)
    run = invoke(world, period)
    assert run.error is None
    assert set(world.faults.seen) == set(ACTIONS) - {"Invoke"}
    assert run.deleted == set(fleet.to_delete.values())


@pytest.mark.parametrize("period", PERIODS)
@pytest.mark.parametrize("action", ACTIONS)
def test_a_denied_action_is_named_in_the_report(world, period, action):
    """Nothing is deleted on incomplete knowledge, whichever action is denied."""
    fleet = furnish(world, period)
    world.faults.on(action, denied)
    before = world.ids()
    run = invoke(world, period, action)
    assert world.faults.seen[action] >= 1
    assert re.search(rf"\b{action}\b", run.text)
    assert run.deleted <= set(fleet.to_delete.values())
    if action in BEFORE_ALL_WRITES:
        assert run.writes == []
    joined = {fleet.candidate} if fleet.candidate and period in (world.tag(fleet.candidate) or "").split() else set()
    served = world.volumes_of((world.ids() - before) | joined)
    assert run.deleted <= {fleet.to_delete[volume] for volume in served}, "a volume got none and lost one"
    assert world.rules.agents.frozen == set()


def test_a_denied_set_is_created_singly_and_named(world):
    """The run succeeds: an older role, or an organisation's policy, costs the one instant and nothing else."""
    fleet = furnish(world, Period.HOUR)
    world.faults.on("CreateSnapshots", denied)
    before = world.ids()
    run = invoke(world, Period.HOUR)
    assert run.error is None
    assert world.volumes_of(world.ids() - before) == set(fleet.to_delete)
    assert run.deleted == set(fleet.to_delete.values())
    assert run.text.count("not as a set: CreateSnapshots: UnauthorizedOperation") == 2


@pytest.mark.parametrize("period", PERIODS)
def test_a_run_that_may_only_read_fails_and_a_dry_run_does_not(world, period):
    furnish(world, period)
    for action in ACTIONS:
        if not action.startswith(("Describe", "Get", "List")):
            world.faults.on(action, denied)
    before = world.ids()
    dry = world.invoke({"period": period.value, "dry_run": True})
    run = invoke(world, period)
    assert dry.error is None
    assert run.error is not None
    assert "CreateSnapshot" in run.text
    assert world.ids() == before
    assert not set(dry.writes) & set(WRITES)
