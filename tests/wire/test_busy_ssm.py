"""An account in which SSM takes few commands a second, and lists thousands of other tools'."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest

from tests.support.run_command_endpoint import Reply
from tests.wire.unfriendly import KEYS, unfriendly_world

ROUND_TRIP = 2.0
WORK = 0.5


@dataclass
class WithoutThaw:
    """A document of somebody's own: it freezes, and nothing but its post ever thaws."""

    frozen: set[str] = field(default_factory=set)
    thawed: list[str] = field(default_factory=list)

    def __call__(self, command):
        if command.stage == "pre-script":
            self.frozen.add(command.instance_id)
        elif command.instance_id in self.frozen:
            self.frozen.remove(command.instance_id)
            self.thawed.append(command.instance_id)
        return Reply(seconds=WORK)


@pytest.fixture(scope="module")
def whole():
    with unfriendly_world() as world:
        yield world


@pytest.fixture
def world(whole):
    return whole.renew()


def furnish(world, instances):
    """So many instances, each with a volume and a document that declares no more than the contract."""
    contract = {"command": {"type": "String"}, "executionId": {"type": "String"}}
    step = {"action": "aws:runShellScript", "name": "hook", "inputs": {"runCommand": ["true"]}}
    world.account.document("DOC", {"schemaVersion": "2.2", "parameters": contract, "mainSteps": [step]})
    world.account.policy("P", json.dumps({"hour": 2, "hook_document": "DOC", "hook_timeout_seconds": 400}))
    document = WithoutThaw()
    agents = world.rules.agents
    agents.round_trip = ROUND_TRIP
    for _ in range(instances):
        instance = world.account.instance()
        world.account.volume({KEYS.selection: "P"}, instance)
        agents.scripts[instance] = document
    return document


@pytest.mark.parametrize(("burst", "per_second"), [(10, 5), (5, 3), (1, 0.5)])
def test_every_instance_is_thawed_though_sends_are_throttled(world, burst, per_second):
    """Nothing stays frozen, and nothing is left out."""
    document = furnish(world, 24)
    world.rules.agents.limit_sends(burst, per_second)
    run = world.invoke({"period": "hour"})
    assert run.error is None
    assert document.frozen == set()
    assert len(document.thawed) == 24
    assert {world.tag(each, KEYS.consistency) for each in world.ids()} == {"application"}


@pytest.mark.parametrize("foreign", [0, 3_000])
def test_a_freeze_is_as_short_as_alone_beside_others_commands(world, foreign):
    """Each poll reads one page."""
    document = furnish(world, 4)
    world.rules.agents.busy(foreign, world.clock())
    run = world.invoke({"period": "hour"})
    assert run.error is None
    assert len(document.thawed) == 4
    assert world.rules.agents.calls["list_command_invocations"] > 0
    assert world.rules.agents.calls["further pages of commands"] == 0
