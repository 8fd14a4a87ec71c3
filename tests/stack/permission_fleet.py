"""A small fleet through which the function makes every AWS call that it can make, and a record of those calls."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any
from unittest import mock

from moto.awslambda.responses import LambdaResponse
from moto.backends import get_backend
from moto.core.authorization import enable_iam_authentication

from lambda_function import handler
from lambda_function.aws.clients import Clients
from lambda_function.errors import AutoSnapshotsError
from tests.stack.role import ACCOUNT, REGION, STACK
from tests.support.endpoint import Account, Rules, ec2_backend
from tests.support.faults import every_client
from tests.support.run_command_endpoint import Reply, Sent
from tools.demo.runs import Clock

START = datetime(2026, 3, 2, 0, 5, tzinfo=UTC)
DOCUMENT = f"auto-snapshots-{STACK}-filesystem"
FUNCTION_ARN = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{STACK}"
POLICIES = {
    "PLAIN": '{"hour": 1, "day": 2}',
    "SECRET": '{"hour": 1}',
    "HOOKED": json.dumps({"hour": 1, "hook_document": DOCUMENT, "hook_timeout_seconds": 10}),
    "SLOW": json.dumps(
        {"hour": 1, "hook_document": DOCUMENT, "hook_timeout_seconds": 10, "hook_on_failure": "continue"}
    ),
}

EVENTS: tuple[tuple[int, dict[str, Any]], ...] = (
    (0, {"period": "hour"}),
    (5, {"check_hooks": True, "policies": ["HOOKED"]}),
    (10, {"period": "day"}),
    (60, {"period": "hour"}),
    (120, {"period": "hour", "policies": ["PLAIN"]}),
)
"""Minutes after the start, and the event then. Of the last one's work, time leaves the deletions to another run."""


@dataclass
class Record:
    """IAM actions of the calls made, those of them that were refused, and every word that a user would read."""

    called: set[str] = field(default_factory=set)
    denied: set[str] = field(default_factory=set)
    answers: list[Any] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @contextmanager
    def listening(self, clients: Clients, lambda_client: Any) -> Iterator[None]:
        """Take down what these clients ask for meanwhile."""
        emitters = [each.meta.events for each in (*every_client(clients), lambda_client)]
        for emitter in emitters:
            emitter.register("before-parameter-build", self._before)
            emitter.register("after-call", self._after)
        try:
            yield
        finally:
            for emitter in emitters:
                emitter.unregister("before-parameter-build", self._before)
                emitter.unregister("after-call", self._after)

    def _before(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        self.called.add(action_of(model.service_model.signing_name, model.name))
        # Two permissions are asked for by AWS behind a call of another name.
        if params.get("TagSpecifications"):
            self.called.add("ec2:CreateTags")
        if params.get("WithDecryption"):
            self.called.add("kms:Decrypt")

    def _after(self, http_response: Any, model: Any, **_: Any) -> None:
        # Not by the error's code: moto answers SSM's refusals in EC2's format, which SSM's client cannot read.
        if http_response.status_code == HTTPStatus.FORBIDDEN:
            self.denied.add(action_of(model.service_model.signing_name, model.name))


def action_of(service: str, operation: str) -> str:
    """IAM's name for a call; Lambda's Invoke has another one there."""
    return "lambda:InvokeFunction" if (service, operation) == ("lambda", "Invoke") else f"{service}:{operation}"


def furnish(account: Account, rules: Rules) -> None:
    """Volumes alone and in a set, with a hook that works and one that hangs, policies plain and encrypted.

    What an earlier fleet left is hidden from the function first; a reset of everything would take a second.
    """
    ssm = get_backend("ssm")[ACCOUNT][REGION]
    ssm._parameters.clear()
    ssm._documents.clear()
    ec2_backend().tags.clear()
    for name, value in POLICIES.items():
        account.policy(name, value, kind="SecureString" if name == "SECRET" else "String")
    account.document(DOCUMENT)
    account.volume({"AUTO-SNAPSHOT": "PLAIN"})
    account.volume({"AUTO-SNAPSHOTS": "SECRET"})
    pair, hooked, slow = (account.instance() for _ in range(3))
    for _ in range(2):
        account.volume({"AUTO-SNAPSHOT": "PLAIN"}, pair)
    account.volume({"AUTO-SNAPSHOT": "HOOKED"}, hooked)
    account.volume({"AUTO-SNAPSHOT": "SLOW"}, slow)

    def hanging(command: Sent) -> Reply:
        return Reply(seconds=3600) if command.stage == "pre-script" else Reply(205)

    rules.agents.scripts = {slow: hanging}
    rules.agents.with_plugins = False  # so that what was printed is read from the invocation itself


def live(clients: Clients, lambda_client: Any, rules: Rules) -> Record:
    """Two hours and a day of that fleet and a check of its hooks, IAM checking the action of every call.

    Ends with the first invocation in which one was refused.
    """
    record = Record()
    clock = rules.clock = Clock(START)
    rules.agents.elapsed = clock.monotonic
    with (
        mock.patch("lambda_function.handler.utc_now", clock),
        mock.patch("lambda_function.app.time", clock),
        mock.patch("lambda_function.handler.clients", return_value=clients),
        mock.patch("lambda_function.handler.build_lambda_client", return_value=lambda_client),
        mock.patch.object(LambdaResponse, "invoke", _queued),
        record.listening(clients, lambda_client),
        enable_iam_authentication(),
    ):
        for minutes, event in EVENTS:
            clock.now = START + timedelta(minutes=minutes)
            rules.calls.clear()
            _invoke(event, record, rules)
            if record.denied:
                break
    return record


def _queued(response: LambdaResponse) -> tuple[int, dict[str, str], str]:
    """An asynchronous invocation's answer. A function, since moto looks for those only."""
    return HTTPStatus.ACCEPTED, {}, ""


def _invoke(event: dict[str, Any], record: Record, rules: Rules) -> None:
    def remaining() -> int:
        creates_are_over = "policies" in event and {"create_snapshot", "create_snapshots"} <= set(rules.calls)
        return 5_000 if creates_are_over else 900_000

    context: Any = SimpleNamespace(
        aws_request_id="request", invoked_function_arn=FUNCTION_ARN, get_remaining_time_in_millis=remaining
    )
    try:
        record.answers.append(handler.lambda_handler(event, context))
    except AutoSnapshotsError as error:
        record.errors.append(str(error))
