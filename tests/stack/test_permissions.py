"""The role grants what the code calls and nothing else: with its actions a whole fleet lives, without one it does not.

What the code calls is taken from its clients while it runs, and from its source, and both must agree. moto's IAM looks
at actions only: resources and conditions are in test_permissions_reference.py and test_permissions_requests.py.
"""

from __future__ import annotations

import ast
import functools
import json
import logging
import os
from datetime import timedelta
from pathlib import Path
from unittest import mock

import boto3
import botocore.session
import pytest
from botocore import xform_name

from lambda_function.aws.clients import build_clients, build_lambda_client
from tests.stack.permission_fleet import START, action_of, furnish, live
from tests.stack.role import DEFAULT, FULL, REGION, granted
from tests.support.endpoint import Account, Rules, endpoint
from tools.demo.runs import Clock

SOURCES = Path(__file__).parents[2] / "lambda_function"

VOLUME_KEYS = "EC2 may ask for it, for a snapshot of a volume under a customer managed key: AWS's pages disagree"

USED_BY_AWS = {
    "logs:CreateLogStream": "Lambda opens the log stream of each execution environment",
    "logs:PutLogEvents": "Lambda writes what the function prints",
    "sns:Publish": "Lambda hands on the event of a failed asynchronous invocation",
    "xray:PutTraceSegments": "Lambda sends the traces, where tracing is on",
    "xray:PutTelemetryRecords": "the same",
    "kms:CreateGrant": VOLUME_KEYS,
    "kms:DescribeKey": VOLUME_KEYS,
    "kms:GenerateDataKeyWithoutPlaintext": VOLUME_KEYS,
    "kms:ReEncryptFrom": VOLUME_KEYS,
    "kms:ReEncryptTo": VOLUME_KEYS,
}
"""Actions that no client of ours calls: Lambda and EC2 use them in the role's name."""

ONLY_IF_ASKED_FOR = {
    *(action for action in USED_BY_AWS if action.startswith(("kms:", "xray:"))),
    "kms:Decrypt",  # without a key of the account's own, AWS's key policy lets the account's principals decrypt
    "sts:AssumeRole",
}
"""Actions that a template parameter adds."""


@functools.cache
def statically_called():
    """Actions by the methods of boto3's clients that the edge's modules name."""
    found = set()
    models = botocore.session.get_session()
    for path in (SOURCES / "aws").glob("*.py"):  # what only the command line needs runs with a person's own credentials
        tree = ast.parse(path.read_text(encoding="utf-8"))
        typed = [n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
        services = {m.split("_")[2].split(".")[0] for m in typed if m.startswith("mypy_boto3_")}
        if "lambda_function.aws.clients" in typed:
            services |= {"ec2", "ssm"}
        if path.name == "clients.py":
            continue  # it builds them
        for service in services:
            names = {xform_name(each): each for each in models.get_service_model(service).operation_names}
            found |= {action_of(service, names[name]) for name in method_names(tree) if name in names}
    return found


def method_names(tree):
    """Names of the methods called on anything but `self`, and of the operations that are paged."""
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
            if not (isinstance(call.func.value, ast.Name) and call.func.value.id == "self"):
                yield call.func.attr
            if call.func.attr == "get_paginator" and isinstance(call.args[0], ast.Constant):
                yield call.args[0].value


@pytest.fixture(scope="module")
def run_as_role():
    """A function of the actions allowed, on any resource: the fleet's life under the role's credentials."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    with endpoint(Rules()) as (_, rules):
        account, iam = Account(), boto3.client("iam")
        role = iam.create_role(RoleName="function", AssumeRolePolicyDocument=document([]))["Role"]["Arn"]
        assumed = boto3.client("sts").assume_role(RoleArn=role, RoleSessionName="function")["Credentials"]
        credentials = {
            "AWS_ACCESS_KEY_ID": assumed["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": assumed["SecretAccessKey"],
            "AWS_SESSION_TOKEN": assumed["SessionToken"],
        }
        with mock.patch.dict(os.environ, credentials):
            clients, lambda_client = build_clients(REGION), build_lambda_client(REGION)

        def run(actions):
            iam.put_role_policy(RoleName="function", PolicyName="actions", PolicyDocument=document(actions))
            rules.clock = Clock(START - timedelta(hours=1))
            furnish(account, rules)
            return live(clients, lambda_client, rules)

        yield run


def document(actions):
    # moto knows Lambda's Invoke by the operation's name only.
    names = sorted("lambda:Invoke" if each == "lambda:InvokeFunction" else each for each in actions)
    allowed = [{"Effect": "Allow", "Action": names, "Resource": "*"}] if names else []
    return json.dumps({"Version": "2012-10-17", "Statement": allowed})


@pytest.fixture(scope="module")
def whole_run(run_as_role):
    return run_as_role(granted(DEFAULT))


def test_the_role_s_actions_are_enough_for_the_function(whole_run):
    assert whole_run.errors == []
    assert whole_run.denied == set()
    assert [answer["message"] for answer in whole_run.answers] == [
        "hour: 6 created, 0 shared, 0 already done, 0 deleted",
        "hooks: 1 ready",
        "day: 0 created, 3 shared, 0 already done, 0 deleted",
        "hour: 6 created, 0 shared, 0 already done, 2 deleted, 1 released",  # the last proved one stays
        "hour: 3 created, 0 shared, 0 already done, 0 deleted, 3 deferred (out of time), continued in another run",
    ]


def test_every_action_named_in_the_source_was_called(whole_run):
    """No other action was called in that run."""
    behind_other_names = {"kms:Decrypt"}  # of an encrypted parameter; CreateTags is called by its own name as well
    assert whole_run.called - behind_other_names == statically_called()


def test_what_is_called_is_granted_and_nothing_else(whole_run):
    used = granted(FULL) & USED_BY_AWS.keys()
    with_targets = {"sts:AssumeRole"}  # asked for in tests/wire/test_target_runs.py
    assert granted(FULL) == whole_run.called | used | with_targets
    assert granted(DEFAULT) == granted(FULL) - ONLY_IF_ASKED_FOR


@pytest.mark.parametrize("action", sorted(granted(DEFAULT) - USED_BY_AWS.keys()))
def test_no_action_can_be_removed_unnoticed(run_as_role, action):
    """Without any one of them the function fails, or says what it could not do."""
    record = run_as_role(granted(DEFAULT) - {action})
    assert record.denied == {action}
    assert record.errors or action.split(":")[1] in json.dumps(record.answers)


def test_without_sets_the_function_does_all_by_single_creates(run_as_role, whole_run):
    """Each volume that would have been in one says which permission is missing."""
    record = run_as_role(granted(DEFAULT) - {"ec2:CreateSnapshots"})
    assert record.errors == []
    (answer,) = record.answers  # the fleet's life ends with the first run in which an action is denied
    assert answer["message"] == whole_run.answers[0]["message"]
    split = [line for line in answer["warnings"] if "not as a set: CreateSnapshots: " in line]
    assert len(split) == 2
    assert all("ec2:CreateSnapshots" in line for line in split)
