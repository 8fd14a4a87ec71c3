"""The page about other accounts and Regions: its faults are those that are told, its commands do what it says."""

from __future__ import annotations

import json

import boto3
import pytest

from lambda_function.inputs.policy import Parameter
from lambda_function.inputs.targets import DEFAULT_ROLE, parse_targets
from tests.support.endpoint import ACCOUNT, REGION, Account, Rules, endpoint
from tests.support.page_commands import DOCS, Page, run_at_desk

PAGE = Page("accounts-and-regions.md")
PATH = "/auto-snapshots/targets/"


def test_the_faults_on_the_page_are_those_that_are_reported():
    block = PAGE.text.split("<!-- faults -->\n```text\n")[1].split("```")[0]
    good = {"account": "222233334444", "regions": ["eu-west-1"]}
    parameters = [
        Parameter(f"{PATH}production", json.dumps([good, {"account": 111122223333, "regions": ["eu-west-1"]}])),
        Parameter(f"{PATH}staging", json.dumps({"account": "111122223333", "region": ["eu-west-1"]})),
    ]
    told = parse_targets(parameters, PATH).faults
    assert sorted(block.splitlines()) == sorted(told)


@pytest.fixture
def account():
    with endpoint(Rules()):
        yield Account()


def test_the_list_on_the_page_is_two_targets(account):
    """Their role is the member template's."""
    run_at_desk(PAGE.script("targets"))
    stored = account.ssm.get_parameter(Name=f"{PATH}production")["Parameter"]
    found = parse_targets([Parameter(stored["Name"], stored["Value"])], PATH)
    assert found.faults == ()
    assert list(found.valid) == ["111122223333/eu-west-1", "111122223333/us-east-1"]
    assert {each.role for each in found.valid.values()} == {DEFAULT_ROLE}
    given = PAGE.script("member stack").split("EXTERNAL_ID=")[1].split("\n")[0]
    assert {each.external_id for each in found.valid.values()} == {given}


def test_the_command_on_the_page_creates_the_member_stack(account, monkeypatch):
    """Its role trusts the function."""
    monkeypatch.chdir(DOCS.parent)
    arn = f"arn:aws:iam::{ACCOUNT}:role/stack-FunctionRole-X"
    run_at_desk(PAGE.script("member stack", FUNCTION_ROLE_ARN=arn, EXTERNAL_ID="an-external-id"))
    role = boto3.client("iam").get_role(RoleName=DEFAULT_ROLE)["Role"]
    (statement,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Principal"] == {"AWS": arn}
    assert statement["Condition"] == {"StringEquals": {"sts:ExternalId": "an-external-id"}}
    iam = boto3.client("iam")
    (policy,) = iam.list_policies(Scope="Local")["Policies"]
    document = iam.get_policy_version(PolicyArn=policy["Arn"], VersionId="v1")["PolicyVersion"]["Document"]
    regions = [each["Condition"]["StringEquals"]["aws:RequestedRegion"] for each in document["Statement"]]
    assert regions == [["eu-west-1", "us-east-1"]] * 6


def test_the_documents_are_copied_to_another_region_by_name(account, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"filesystem": "FilesystemDocument", "mysql": "MySqlDocument", "postgresql": "PostgreSqlDocument"}
    for name, logical_id in names.items():
        account.document(f"auto-snapshots-a-stack-{name}", logical_id)
    run_at_desk(PAGE.script("documents", STACK="a-stack", HOME_REGION=REGION, TARGET_REGION="us-east-1"))
    for name in names:
        for_both = [
            boto3.client("ssm", region_name=region).get_document(Name=f"auto-snapshots-a-stack-{name}")["Content"]
            for region in (REGION, "us-east-1")
        ]
        assert for_both[0].strip() == for_both[1].strip()
