"""The function invoked by an alias, a version or `$LATEST`: it invokes the same one again, and its role lets it.

Lambda gives a qualified invocation the qualified ARN in its context, and asks IAM for that ARN (Lambda developer
guide, "Fine-tuning the Resources and Conditions sections of policies").
"""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from lambda_function import handler
from tests.stack.iam_matcher import allows
from tests.stack.permission_fleet import FUNCTION_ARN
from tests.stack.role import ACCOUNT, FULL, REGION
from tests.support.endpoint import Account


@pytest.fixture(params=["", ":live", ":7", ":$LATEST"], ids=["unqualified", "alias", "version", "latest"])
def arn(request):
    return FUNCTION_ARN + request.param


@pytest.fixture
def account(rules):
    account = Account()
    account.policy("P", '{"hour": 2}')
    for _ in range(40):
        account.volume({"AUTO-SNAPSHOT": "P"})
    return account


@pytest.fixture
def invoked(monkeypatch):
    """What the function asks Lambda for."""
    requests: list[dict[str, Any]] = []
    client = SimpleNamespace(invoke=lambda **request: requests.append(request))
    monkeypatch.setattr(handler, "build_lambda_client", lambda region: client)
    monkeypatch.setattr(handler, "starting_client", lambda: client)
    return requests


def invoke(arn, time_left_ms):
    context = SimpleNamespace(
        aws_request_id="request", invoked_function_arn=arn, get_remaining_time_in_millis=time_left_ms
    )
    return handler.lambda_handler({"period": "hour"}, context)  # type: ignore[arg-type]  # all of it that is used


def assert_allowed(requests, arn):
    assert {request["FunctionName"] for request in requests} == {arn}
    assert allows(FULL, "lambda:InvokeFunction", arn, {})


@pytest.mark.usefixtures("account")
def test_a_run_is_continued_by_the_alias_or_version_it_is(arn, invoked, rules):
    answer = invoke(arn, lambda: 30_000 if "create_snapshot" in rules.calls else 900_000)
    assert "continued in another run" in answer["message"]
    assert_allowed(invoked, arn)


def test_targets_are_served_by_the_alias_or_version(arn, invoked, account, monkeypatch):
    monkeypatch.setenv("TARGETS_PATH", "/targets/")
    target = json.dumps({"account": ACCOUNT, "regions": ["us-east-1"]})
    account.ssm.put_parameter(Name="/targets/far", Value=target, Type="String")
    answer = invoke(arn, lambda: 900_000)
    assert answer["targets_started"] == [f"{ACCOUNT}/{REGION}", f"{ACCOUNT}/us-east-1"]
    assert_allowed(invoked, arn)
