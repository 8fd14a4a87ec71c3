"""Nothing secret is told: not in the log, not in the answer, not in an exception's text, from Lambda or from a shell.

Secret are credentials and everything else in the environment, the values of a `SecureString`, and the values of
`hook_parameters`, in which people keep paths to secrets and worse. Their names are told.
"""

from __future__ import annotations

import io
import json
import logging
import os
import traceback
from types import SimpleNamespace
from unittest import mock

import pytest
from moto.ec2.responses.elastic_block_store import ElasticBlockStore

from lambda_function import handler
from lambda_function.cli import main as shell
from lambda_function.errors import AutoSnapshotsError
from lambda_function.hooks.command import FreezePlan
from lambda_function.inputs.policy import Parameter, parse_policy
from lambda_function.output.log import logger
from lambda_function.ports import CommandOutcome, HookDocument
from tests.support.endpoint import Account, Rules, SnapshotRefusedError, endpoint
from tests.support.run_command_endpoint import Reply

SECRET = "correct-horse-battery-staple"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "AWS_SESSION_TOKEN": "IQoJb3JpZ2luX2VjEXAMPLETOKEN",
    "DATABASE_PASSWORD": "tr0ub4dor-and-three",
}
EVENTS = ({"check_hooks": True}, {"period": "hour", "dry_run": True}, {"period": "hour"})


def hook(**parameters):
    return {"hour": 1, "hook_document": "DATABASE", "hook_parameters": parameters}


HOOK = hook(secretId=[SECRET])


@pytest.fixture(scope="module")
def whole():
    """One endpoint, with clients and a fleet, for all: a case's volume loses its tag when it ends."""
    with endpoint(Rules()) as (_, rules), mock.patch.dict(os.environ, ENVIRONMENT):
        handler.clients.cache_clear()
        account = Account()
        account.document("DATABASE", "MySqlDocument")
        account.policy("PLAIN", '{"hour": 1}')
        with mock.patch.object(shell, "build_clients", return_value=handler.clients()):
            yield account, rules, account.instance()
        handler.clients.cache_clear()


@pytest.fixture
def account(whole):
    account, rules, instance = whole
    volume = account.volume({"AUTO-SNAPSHOT": "P"}, instance)
    behaviour = rules.agents.well_behaved
    yield account
    rules.agents.well_behaved = behaviour
    account.ec2.delete_tags(Resources=[volume], Tags=[{"Key": "AUTO-SNAPSHOT"}])


@pytest.fixture
def rules(whole):
    return whole[1]


def everything_said(event, capfd, monkeypatch):
    """One run in Lambda and one from a shell: every log line, answer, table and traceback, at level DEBUG."""
    log = io.StringIO()
    monkeypatch.setattr(logger.registered_handler, "stream", log)
    monkeypatch.setattr(logger.registered_handler, "level", logging.DEBUG)
    logger.setLevel(logging.DEBUG)
    context = SimpleNamespace(aws_request_id="request", get_remaining_time_in_millis=lambda: 900_000)
    try:
        told = json.dumps(handler.lambda_handler(event, context))  # type: ignore[arg-type]  # all of it that is used
    except AutoSnapshotsError as error:
        told = "".join(traceback.format_exception(error))
    finally:
        logger.setLevel(logging.INFO)
    period = event.get("period")
    chosen = ["hooks", "check"] if period is None else [period, *(["--dry-run"] if event.get("dry_run") else [])]
    shell.main([*chosen, "--json"])
    shell.main(chosen)
    out, err = capfd.readouterr()
    return f"{log.getvalue()}\n{told}\n{out}\n{err}"


def printing(rules):
    """A document that prints what it was sent, last of all, as it fails."""
    rules.agents.well_behaved = lambda sent: Reply(201, error=f"cannot open {sent.parameters['secretId']}: denied\n")


def printing_at_length(rules):
    """The same at the end of so long a line that only its beginning is told."""
    rules.agents.well_behaved = lambda sent: Reply(201, error="x" * 280 + f" {sent.parameters['secretId']}\n")


def well(rules): ...


UNSHOWN = "(value of a SecureString, not shown)"
CASES = {
    "hooks succeed": (HOOK, "String", well, "1 created"),
    "hooks of an encrypted policy succeed": (HOOK, "SecureString", well, "1 created"),
    "SSM quotes a value that it refuses": (hook(secretId=["-" + SECRET]), "String", well, "(hook_parameters.secretId)"),
    "a document prints a value": (HOOK, "String", printing, "cannot open (hook_parameters.secretId): denied"),
    "a document prints a value where its line is cut": (HOOK, "String", printing_at_length, "(hook_parameters.se"),
    "the document does not declare one": (hook(password=[SECRET]), "String", well, "does not declare password"),
    "one is the run's own": (hook(command=[SECRET]), "String", well, "must not set command"),
    "a value is no list": (hook(password=SECRET), "String", well, '"hook_parameters.password": (a string, not shown)'),
    "a value is an object": (hook(password={SECRET: 1}), "String", well, "(an object, not shown)"),
    "the parameters are a list": ({**HOOK, "hook_parameters": [SECRET]}, "String", well, "(a list, not shown)"),
    "an encrypted policy has faults": ({"hour": SECRET, "hook_document": SECRET + ";"}, "SecureString", well, UNSHOWN),
    "an encrypted policy is a list": ([SECRET], "SecureString", well, UNSHOWN + ": must be one JSON object"),
    "an encrypted policy is no JSON": (SECRET, "SecureString", well, "must be one JSON object: Expecting value"),
    "an encrypted policy has a key twice": (
        '{"hour": 1, "hour": "' + SECRET + '"}', "SecureString", well, 'the key \\"hour\\" stands twice',
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_no_check_dry_run_or_run_reveals_a_secret(account, rules, capfd, monkeypatch, case):
    policy, kind, happens, expected = case
    account.policy("P", policy if isinstance(policy, str) else json.dumps(policy), kind=kind)
    happens(rules)
    said = [everything_said(event, capfd, monkeypatch) for event in EVENTS]
    assert [SECRET[:12] in each for each in said] == [False] * len(EVENTS)
    assert [name for name, value in ENVIRONMENT.items() if any(value in each for each in said)] == []
    assert expected in said[-1]


def test_a_refused_listing_reveals_no_credentials(account, rules, capfd, monkeypatch):
    refusal = SnapshotRefusedError("UnauthorizedOperation", "You are not authorized to perform this operation.")
    monkeypatch.setattr(ElasticBlockStore, "describe_volumes", mock.Mock(side_effect=refusal))
    said = everything_said({"period": "hour"}, capfd, monkeypatch)
    assert "DescribeVolumes: UnauthorizedOperation" in said
    assert [name for name, value in ENVIRONMENT.items() if value in said] == []


@pytest.mark.parametrize(
    ("values", "text", "told"),
    [
        (["hunter2hunter2"], "mysql -phunter2hunter2: denied", "mysql -p(hook_parameters.x): denied"),
        (["on"], "connection on port 1: on", "connection (hook_parameters.x) port 1: (hook_parameters.x)"),
        (["auto"], "auto-snapshots: autonomous", "auto-snapshots: autonomous"),
        (["", " "], "a b", "a b"),
        (["secret-one", "secret-one-two"], "secret-one-two", "(hook_parameters.x)"),
        (["a\nb\nc\nd\ne"], r"{'x': 'a\nb\nc\nd\ne'}", "{'x': '(hook_parameters.x)'}"),
        (["gr\u00fc\u00dfegott"], r'"gr\u00fc\u00dfegott"', '"(hook_parameters.x)"'),
        (["(.*)(.*)"], "(.*)(.*) and .", "(hook_parameters.x) and ."),
        ([], "anything", "anything"),
    ],
    ids=[
        "a long value anywhere",
        "a short one as a word",
        "but not within words",
        "blank ones not at all",
        "the longest first",
        "as Python writes it",
        "as JSON writes it",
        "as text, never as a pattern",
        "no values, no change",
    ],
)
def test_a_parameter_s_name_is_reported_in_place_of_its_value(values, text, told):
    plan = FreezePlan(HookDocument("D", "1", frozenset()), ("i-1",), (), "P", "hour", 60, parameters={"x": values})
    assert plan.redact(text) == told
    outcome = plan.redact_outcome(CommandOutcome("Failed", 1, text, text))
    assert (outcome.output, outcome.error) == (told, told)


def test_no_value_is_in_the_repr_of_a_policy_s_objects():
    plan = FreezePlan(HookDocument("D", "1", frozenset()), (), (), "P", "hour", 60, parameters={"x": [SECRET]})
    assert SECRET not in repr(plan)
    assert SECRET not in repr(Parameter("/p/P", SECRET))
    assert SECRET not in repr(parse_policy(Parameter("/p/P", json.dumps(HOOK))))
