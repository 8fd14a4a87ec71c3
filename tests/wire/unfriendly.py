"""A world for the tests of unfriendly services: the endpoint, the handler's clients before it, faults between them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from unittest import mock

from moto.backends import get_backend

from lambda_function import handler
from lambda_function.aws.clients import Clients, build_clients, build_lambda_client
from lambda_function.aws.send_pace import SendPace
from lambda_function.errors import AutoSnapshotsError
from lambda_function.model.tags import TagKeys
from tests.support.endpoint import ACCOUNT, REGION, Account, Rules, ec2_backend, endpoint
from tests.support.faults import Faults
from tests.support.run_command_endpoint import Agents
from tools.demo.runs import Clock

KEYS = TagKeys("AUTO-SNAPSHOT")
START = datetime(2026, 3, 2, 0, 15, tzinfo=UTC)
WRITES = ("create_snapshot", "create_snapshots", "create_tags", "delete_snapshot")


@dataclass
class Run:
    """What one invocation said and did."""

    answer: dict[str, Any] | None
    error: AutoSnapshotsError | None
    writes: list[str]
    deleted: set[str]

    @property
    def text(self) -> str:
        """Every word that the user gets."""
        return str(self.error) if self.error else json.dumps(self.answer)


@dataclass
class World:
    rules: Rules
    account: Account
    clients: Clients
    lambda_client: Any
    faults: Faults = field(default_factory=Faults)
    clock: Clock = field(default_factory=lambda: Clock(START))

    def renew(self) -> World:
        """An empty account at the start of time; building another endpoint would take a second."""
        ssm, ec2 = get_backend("ssm")[ACCOUNT][REGION], ec2_backend()
        ssm._parameters.clear()
        ssm._documents.clear()
        ec2.tags.clear()
        ec2.volumes.clear()
        ec2.reservations.clear()
        for each in [each.id for each in ec2.snapshots.values() if not each.from_ami or each.owner_id == ACCOUNT]:
            del ec2.snapshots[each]
        fresh = Rules(agents=self.rules.agents)  # the endpoint keeps hold of both
        for held, new in ((self.rules, fresh), (self.rules.agents, Agents())):
            for each in fields(held):
                setattr(held, each.name, getattr(new, each.name))
        self.faults.clear()
        self.clock.now = START
        self.rules.clock = self.clock
        self.rules.agents.elapsed = self.clock.monotonic
        object.__setattr__(self.clients, "send_pace", SendPace(self.clock.monotonic, self.clock.sleep))
        return self

    def snapshot(self, volume: str, periods: str, age: timedelta, policy: str | None = "P") -> str:
        """One that is there already, put there without a call; `policy=None` for the cron script's."""
        ours = f"Hourly snapshot of volume {volume}, policy {policy}" if policy else ""
        made = ec2_backend().create_snapshot(volume, ours, owner_id=ACCOUNT)
        made.start_time = (self.clock.now - age).replace(tzinfo=None)
        made.add_tags({KEYS.period: periods, **({KEYS.selection: policy} if policy else {})})
        return str(made.id)

    @property
    def backend(self) -> Any:
        return ec2_backend()

    def of(self, volume: str) -> list[str]:
        """A volume's snapshots, without a call."""
        return [each for each in self.ids() if self.backend.snapshots[each].volume.id == volume]

    def ids(self) -> set[str]:
        """Of all snapshots there are, without a call."""
        return {each.id for each in ec2_backend().snapshots.values() if not each.from_ami}

    def volumes_of(self, snapshot_ids: set[str]) -> set[str]:
        return {ec2_backend().snapshots[each].volume.id for each in snapshot_ids}

    def tag(self, snapshot_id: str, key: str = KEYS.period) -> str | None:
        return ec2_backend().tags[snapshot_id].get(key)

    def invoke(self, event: dict[str, Any], ends: int | None = None) -> Run:
        """One invocation in the midst of the faults; time is nearly over once a create was called, where it `ends`."""
        self.rules.calls.clear()
        self.rules.requests.clear()
        before = self.ids()

        def remaining() -> int:
            return 900_000 if ends is None or "create_snapshot" not in self.rules.calls else ends

        context: Any = SimpleNamespace(
            aws_request_id="request",
            invoked_function_arn=f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:auto",
            get_remaining_time_in_millis=remaining,
        )
        answer, error = None, None
        with (
            mock.patch("lambda_function.handler.utc_now", self.clock),
            mock.patch("lambda_function.app.time", self.clock),
            mock.patch("lambda_function.handler.clients", return_value=self.clients),
            mock.patch("lambda_function.handler.build_lambda_client", return_value=self.lambda_client),
            self.faults.before(self.clients, self.lambda_client),
        ):
            try:
                answer = handler.lambda_handler(event, context)
            except AutoSnapshotsError as raised:
                error = raised
        writes = [call for call in self.rules.calls if call in WRITES]
        return Run(answer, error, writes, before - self.ids())


@contextmanager
def unfriendly_world() -> Iterator[World]:
    with endpoint(Rules()) as (_, rules):
        yield World(rules, Account(), build_clients(REGION), build_lambda_client(REGION))
