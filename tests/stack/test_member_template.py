"""The member template: a role that only the function takes on, and that may do there what it may do at home."""

from __future__ import annotations

import re

import pytest

from lambda_function.inputs.targets import DEFAULT_ROLE
from tests.stack.iam_matcher import allows
from tests.stack.role import (
    ACCOUNT,
    FULL,
    MEMBER,
    MEMBER_EVERYTHING_ON,
    OTHER_ACCOUNT,
    REGION,
    STACK,
    granted,
    role_of,
    statements,
)
from tests.support.template import MEMBER_PATH, PATH, load

TEMPLATE = load(MEMBER_PATH)
AT_HOME_ONLY = {
    "WriteTheLog",
    "PublishFailedEvents",
    "SendTraces",
    "InvokeSelf",
    "ListPolicies",
    "ReadEncryptedPolicies",
    "DecryptPolicies",
    "ListTargets",
    "AssumeMemberRoles",
}
"""Statements of the function's own role about its log, its topic, itself, its policies and its targets."""


def by_sid(found):
    return {each.sid: each for each in found}


def test_only_the_function_may_assume_the_role():
    """It needs the external id, too."""
    trust = role_of(MEMBER_EVERYTHING_ON, MEMBER_PATH)["AssumeRolePolicyDocument"]["Statement"]
    assert trust == [
        {
            "Sid": "TakenOnByTheFunctionOnly",
            "Effect": "Allow",
            "Principal": {"AWS": MEMBER_EVERYTHING_ON["FunctionRoleArn"]},
            "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"sts:ExternalId": "an-external-id"}},
        }
    ]


def test_the_statements_are_those_of_the_function_s_role():
    """Only those about volumes, snapshots and hooks are there."""
    assert by_sid(MEMBER).keys() == by_sid(FULL).keys() - AT_HOME_ONLY
    for sid, statement in by_sid(MEMBER).items():
        assert statement.actions == by_sid(FULL)[sid].actions
        assert set(by_sid(FULL)[sid].conditions) <= set(statement.conditions)


def test_every_statement_applies_only_in_the_listed_regions():
    two = statements({**MEMBER_EVERYTHING_ON, "Regions": "eu-west-1,us-east-1"}, MEMBER_PATH)
    for statement in two:
        assert ("StringEquals", "aws:RequestedRegion", ("eu-west-1", "us-east-1")) in statement.conditions


def test_without_documents_it_can_send_no_command():
    plain = {name: MEMBER_EVERYTHING_ON[name] for name in ("FunctionRoleArn", "ExternalId", "Regions")}
    assert not [action for action in granted(statements(plain, MEMBER_PATH)) if action.startswith("ssm:")]


SNAPSHOT = f"arn:aws:ec2:{REGION}::snapshot/snap-0123456789abcdef0"
VOLUME = f"arn:aws:ec2:{REGION}:{ACCOUNT}:volume/vol-0123456789abcdef0"
OURS = {"aws:ResourceTag/AUTO-SNAPSHOT-PERIOD": "hour", "aws:RequestedRegion": REGION}


@pytest.mark.parametrize(
    ("action", "resource", "context", "expected"),
    [
        pytest.param("ec2:DeleteSnapshot", SNAPSHOT, OURS, True, id="a snapshot with our key can be deleted"),
        pytest.param(
            "ec2:DeleteSnapshot",
            SNAPSHOT,
            {"aws:RequestedRegion": REGION},
            False,
            id="one without it cannot",
        ),
        pytest.param(
            "ec2:DeleteSnapshot",
            SNAPSHOT.replace(REGION, "us-east-1"),
            {**OURS, "aws:RequestedRegion": "us-east-1"},
            False,
            id="nor one in a Region that is not listed",
        ),
        pytest.param(
            "ec2:CreateSnapshot",
            VOLUME,
            {"aws:ResourceTag/AUTO-SNAPSHOT": "P", "aws:RequestedRegion": REGION},
            True,
            id="a selected volume can be snapshotted",
        ),
        pytest.param(
            "ec2:CreateSnapshot", VOLUME, {"aws:RequestedRegion": REGION}, False, id="one not selected cannot"
        ),
        pytest.param(
            "ec2:CreateSnapshot",
            VOLUME.replace(ACCOUNT, OTHER_ACCOUNT),
            {"aws:ResourceTag/AUTO-SNAPSHOT": "P", "aws:RequestedRegion": REGION},
            False,
            id="nor one of another account",
        ),
    ],
)
def test_what_the_member_s_role_allows(action, resource, context, expected):
    assert allows(MEMBER, action, resource, context) is expected


def test_the_function_may_assume_only_member_roles():
    """It may do so only with targets, and by the member template's role name."""
    role = f"arn:aws:iam::{OTHER_ACCOUNT}:role/{DEFAULT_ROLE}"
    with_targets = statements({"TargetsPath": "/auto-snapshots/targets/"})
    assert allows(with_targets, "sts:AssumeRole", role, {})
    assert not allows(with_targets, "sts:AssumeRole", role.replace(DEFAULT_ROLE, "admin"), {})
    assert not allows(statements(), "sts:AssumeRole", role, {})
    assert TEMPLATE["Parameters"]["RoleName"]["Default"] == DEFAULT_ROLE
    assert load(PATH)["Parameters"]["MemberRoles"]["Default"] == DEFAULT_ROLE


def test_the_member_template_needs_no_transform():
    """StackSets with managed permissions accept none."""
    assert "Transform" not in TEMPLATE


@pytest.mark.parametrize("name", sorted(TEMPLATE["Parameters"]))
def test_every_parameter_is_described_constrained_and_in_a_group(name):
    parameter = TEMPLATE["Parameters"][name]
    groups = TEMPLATE["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    assert parameter["Description"]
    assert parameter["ConstraintDescription"]
    assert name in [each for group in groups for each in group["Parameters"]]
    if "Default" in parameter:
        assert re.fullmatch(parameter["AllowedPattern"], parameter["Default"])


def test_the_function_stack_s_output_is_the_member_s_parameter():
    assert "FunctionRoleArn" in load(PATH)["Outputs"]
    assert STACK in MEMBER_EVERYTHING_ON["FunctionRoleArn"]
    assert all(output["Description"] for output in TEMPLATE["Outputs"].values())
