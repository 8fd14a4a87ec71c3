"""What docs/ says of fields is what the models say, and the JSON Schema agrees with what checks policies."""

from __future__ import annotations

import json

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_function.cli.policies.files import read_files
from lambda_function.inputs.policy import FIELDS, Parameter, Policy, parse_policy
from tests.support.campaign import examples
from tools import schema
from tools.schema import TABLES, files, json_schema, table

SCHEMA = jsonschema.Draft7Validator(json_schema())


@pytest.mark.parametrize("path", files(), ids=lambda path: path.name)
def test_what_docs_say_of_fields_is_what_the_models_say(path):
    assert path.read_text(encoding="utf-8") == files()[path], "run `make schema`"


def test_a_page_without_its_marked_table_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(schema, "DOCS", tmp_path)
    for name in TABLES:
        (tmp_path / name).write_text("<!-- made by 'make schema': begin -->\n")
    with pytest.raises(ValueError, match=r"docs/policies\.md: has 0 marked tables"):
        files()


@pytest.mark.parametrize("models", TABLES.values(), ids=TABLES)
def test_every_field_of_a_table_says_what_it_means(models):
    rows = [line.split(" | ") for line in table(*models).splitlines()[2:]]
    assert all(len(row) == 4 and all(cell.strip(" |") for cell in row) for row in rows)


def test_the_schema_is_a_schema_and_describes_every_field():
    jsonschema.Draft7Validator.check_schema(SCHEMA.schema)
    properties = SCHEMA.schema["definitions"]["policy"]["properties"]
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
    ids=lambda content: f"{content!r:.60}",
)
def test_an_editor_accepts_what_the_function_accepts(content):
    assert SCHEMA.is_valid(content) == SCHEMA.is_valid({"P": content}) == is_policy(content)


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
        assert SCHEMA.is_valid(content) == is_policy(content)


def test_a_schema_may_be_named_only_at_the_top_of_a_file():
    """A policy in a file of several may not name one."""
    assert SCHEMA.is_valid({"$schema": "policies.schema.json", "hour": 1})
    assert SCHEMA.is_valid({"$schema": "policies.schema.json", "P": {"hour": 1}})
    assert not SCHEMA.is_valid({"P": {"$schema": "policies.schema.json", "hour": 1}})


@pytest.mark.parametrize(
    ("content", "valid"),
    [
        ({"hour": {"day": 1}, "hook_parameters": {"day": 1}}, True),
        ({"P": {"hour": 1}, "Q": {"hour": 0}}, True),
        ({"hour": 1, "hook_parameters": {"a": ["b"]}}, True),
        ({"hour": {"day": "1"}}, False),
        ({"P": {"hour": 1}, "hour": 2}, False),
        ({"P": {"hour": 1}, "Q": 2}, False),
        ({"hook_parameters": {"a": ["b"]}}, False),
        ({}, False),
        ({"P": {}}, False),
    ],
    ids=lambda value: f"{value!r:.60}",
)
def test_one_policy_and_several_are_told_apart_as_check_does(tmp_path, content, valid):
    path = tmp_path / "p.json"
    path.write_text(json.dumps(content))
    assert SCHEMA.is_valid(content) == (not read_files(path).faults) == valid


def test_names_that_no_parameter_can_have_are_refused():
    assert not SCHEMA.is_valid({"a b": {"hour": 1}})
    assert not SCHEMA.is_valid({})
