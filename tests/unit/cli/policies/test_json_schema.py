"""The JSON Schemas in docs/ are those of the code, and agree with what checks policies."""

from __future__ import annotations

import json

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_function.cli.policies.json_schema import files, schema_of_all, schema_of_one
from lambda_function.inputs.policy import FIELDS, Parameter, Policy, parse_policy
from tests.support.campaign import examples

ONE, ALL = (jsonschema.Draft7Validator(schema()) for schema in (schema_of_one, schema_of_all))


@pytest.mark.parametrize("path", files(), ids=lambda path: path.name)
def test_the_published_schema_is_the_one_of_the_code(path):
    assert path.read_text(encoding="utf-8") == files()[path], "run `make schema`"


@pytest.mark.parametrize("validator", [ONE, ALL], ids=["one", "all"])
def test_the_schema_is_a_schema_and_describes_every_field(validator):
    jsonschema.Draft7Validator.check_schema(validator.schema)
    properties = validator.schema.get("definitions", {}).get("policy", validator.schema)["properties"]
    assert set(properties) - {"$schema"} == set(FIELDS)
    assert all(properties[name]["description"] for name in FIELDS)


def is_policy(content):
    return isinstance(parse_policy(Parameter("P", json.dumps(content))), Policy)


@pytest.mark.parametrize(
    "content",
    [
        {"hour": 2},
        {"hour": 0},
        {"hour": None},
        {"hour": None, "day": 1},
        {},
        {"only_attached_vols": True},
        {"hour": -1},
        {"hour": "2"},
        {"hour": True},
        {"hour": 1.5},
        {"hour": 1, "only_attached_vols": 1},
        {"hour": 1, "only_attached_vols": None},
        {"hour": 1, "hook_document": None},
        {"hour": 1, "hook_document": "ab"},
        {"hour": 1, "hook_document": "x" * 200},
        {"hour": 1, "hook_document": "x" * 201},
        {"hour": 1, "hook_document": "a b c"},
        {"hour": 1, "hook_parameters": {"a": ["b"]}},
        {"hour": 1, "hook_parameters": {"a": "b"}},
        {"hour": 1, "hook_parameters": {"a": [1]}},
        {"hour": 1, "hook_parameters": None},
        {"hour": 1, "hook_timeout_seconds": 10},
        {"hour": 1, "hook_timeout_seconds": 9},
        {"hour": 1, "hook_timeout_seconds": 600},
        {"hour": 1, "hook_timeout_seconds": 601},
        {"hour": 1, "hook_on_failure": "continue"},
        {"hour": 1, "hook_on_failure": "ignore"},
        {"hour": 1, "hours": 1},
        {"hour": 1, "hook_module": "/x.py"},
        [],
        None,
        "hour",
    ],
    ids=repr,
)
def test_an_editor_accepts_what_the_function_accepts(content):
    assert ONE.is_valid(content) == ALL.is_valid({"P": content}) == is_policy(content)


# JSON Schema takes 2.0 for an integer; the function does not.
scalars = st.none() | st.booleans() | st.integers() | st.floats().filter(lambda x: x != x // 1) | st.text(max_size=5)
lists = st.lists(scalars, max_size=2)
values = scalars | lists | st.dictionaries(st.text(max_size=3), lists, max_size=2)
mostly_right = st.fixed_dictionaries({}, optional={name: values | st.integers(0, 700) for name in (*FIELDS, "x")})


@examples(1000, 1000, 100)
@given(mostly_right)
def test_of_any_object_editor_and_function_think_the_same(content):
    # Python's `$` also stands before a last line break, an editor's does not.
    if not str(content.get("hook_document", "")).endswith("\n"):
        assert ONE.is_valid(content) == is_policy(content)


def test_a_schema_may_be_named_in_a_file_but_not_in_a_policy_of_several():
    assert ONE.is_valid({"$schema": "policy.schema.json", "hour": 1})
    assert ALL.is_valid({"$schema": "policies.schema.json", "P": {"hour": 1}})
    assert not ALL.is_valid({"P": {"$schema": "policy.schema.json", "hour": 1}})


def test_names_that_no_parameter_can_have_are_refused():
    assert not ALL.is_valid({"a b": {"hour": 1}})
    assert not ALL.is_valid({})
