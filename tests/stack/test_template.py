from __future__ import annotations

import hashlib
import json
import re
import tomllib
from dataclasses import replace

import pytest

from lambda_function import handler
from lambda_function.inputs.policy import Parameter, Policy, parse_policy
from lambda_function.inputs.settings import Settings
from lambda_function.model.period import Period
from tests.support.template import MEMBER_PATH, PATH, defaults, load

TEMPLATE = load()
RESOURCES = TEMPLATE["Resources"]
FUNCTION = RESOURCES["AutoSnapshotsFunction"]["Properties"]


def test_the_handler_is_where_the_template_says():
    module, _, name = FUNCTION["Handler"].rpartition(".")
    assert module == handler.__name__
    assert callable(getattr(handler, name))


def test_each_period_has_one_rule_with_the_period_as_its_input():
    inputs = [json.loads(event["Properties"]["Input"]) for event in FUNCTION["Events"].values()]
    assert inputs == [{"period": period.value} for period in Period]


def test_the_rules_start_ten_minutes_apart_shortest_first():
    """The first one hourly, all others at night, the daily one three times."""
    assert [defaults()[f"{period.name.title()}Schedule"] for period in Period] == [
        "cron(5 * * * ? *)",
        "cron(15 0,3,6 * * ? *)",
        "cron(25 0 * * ? *)",
        "cron(35 0 * * ? *)",
        "cron(45 0 * * ? *)",
    ]


@pytest.mark.parametrize("period", Period)
def test_an_empty_schedule_is_allowed_and_replaced(period):
    word = period.name.title()
    parameter = TEMPLATE["Parameters"][f"{word}Schedule"]
    assert re.fullmatch(parameter["AllowedPattern"], "")
    _, given, placeholder = FUNCTION["Events"][word]["Properties"]["Schedule"]["Fn::If"]
    assert given == {"Ref": f"{word}Schedule"}
    assert re.fullmatch(parameter["AllowedPattern"], placeholder)


@pytest.mark.parametrize(("resource", "expected"), [
    ("CriticalPolicy", Policy(name="X", hour=2, day=5, week=52, month=0, only_attached_vols=True)),
    ("MehPolicy", Policy(name="X", hour=0, day=0, week=0, month=1, only_attached_vols=True)),
])  # fmt: skip
def test_an_example_policy_is_the_seed_s_and_outlives_the_stack(resource, expected):
    policy = RESOURCES[resource]
    assert parse_policy(Parameter("/p/X", policy["Properties"]["Value"])) == expected
    assert policy["DeletionPolicy"] == "RetainExceptOnCreate"
    assert policy["UpdateReplacePolicy"] == "Retain"
    assert policy["Condition"] == "WithExamplePolicies"


@pytest.mark.parametrize(("resource", "digest"), [
    ("CriticalPolicy", "21793e9114f64f6dd9f69ffb9391e4bdd1a0425b817dcd14a19fd69ae13822eb"),
    ("MehPolicy", "bc34d0a5161c25ba04a88cfe4311c7a8c60a670304edfed132ac90f5680a4210"),
])  # fmt: skip
def test_the_example_policies_values_never_change(resource, digest):
    """An update would overwrite edits."""
    value = RESOURCES[resource]["Properties"]["Value"]
    assert hashlib.sha256(value.encode()).hexdigest() == digest


def test_the_function_s_environment_is_what_the_settings_read():
    variables = FUNCTION["Environment"]["Variables"]
    values = {name: defaults()[value["Ref"]] for name, value in variables.items() if "Ref" in value}
    assert variables.keys() - values.keys() == {"METRICS_NAMESPACE"}
    values["METRICS_NAMESPACE"] = variables["METRICS_NAMESPACE"]["Fn::Sub"].replace("${AWS::StackName}", "a-stack")
    settings = Settings.from_env(values)
    assert settings == replace(Settings.from_env({}), metrics_namespace="AutoSnapshots/a-stack")


@pytest.mark.parametrize("name", sorted(TEMPLATE["Parameters"]))
def test_every_parameter_is_described_constrained_and_in_a_group(name):
    parameter = TEMPLATE["Parameters"][name]
    groups = TEMPLATE["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    assert parameter["Description"]
    assert parameter["ConstraintDescription"]
    assert {"AllowedPattern", "AllowedValues", "MinValue"} & parameter.keys()
    assert name in [each for group in groups for each in group["Parameters"]]
    if "AllowedPattern" in parameter:
        assert re.fullmatch(parameter["AllowedPattern"], parameter["Default"])


@pytest.mark.parametrize("path", [PATH, MEMBER_PATH], ids=["function", "member"])
def test_every_role_takes_the_permissions_boundary(path):
    """Without one the property is left out. The SAM transform adds no role of its own to a function that has one."""
    resources = load(path)["Resources"].values()
    roles = [resource["Properties"] for resource in resources if resource["Type"] == "AWS::IAM::Role"]
    boundary = {"Fn::If": ["WithPermissionsBoundary", {"Ref": "PermissionsBoundaryArn"}, {"Ref": "AWS::NoValue"}]}
    assert [role.get("PermissionsBoundary") for role in roles] == [boundary]
    functions = [resource["Properties"] for resource in resources if resource["Type"] == "AWS::Serverless::Function"]
    assert all("Role" in function for function in functions)


def test_sam_deploy_asks_nothing():
    """A pipeline has no terminal: a question would abort it."""
    config = tomllib.loads(PATH.with_name("samconfig.toml").read_text(encoding="utf-8"))
    assert config["default"]["deploy"]["parameters"]["confirm_changeset"] is False


def test_every_output_is_described():
    assert all(output["Description"] for output in TEMPLATE["Outputs"].values())
