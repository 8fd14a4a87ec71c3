"""Policies in JSON and YAML files: shapes, lines of faults, and what is written comes back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_function.cli.policies.files import read_files, same_policy
from lambda_function.cli.policies.source import file_text, read_document, stored_text
from lambda_function.errors import ConfigurationError
from lambda_function.inputs.policy import FIELDS, Parameter, Policy, parse_policy
from tests.support.campaign import examples


@pytest.fixture
def read(tmp_path):
    """Writes one file and reads it; its faults as text without the folder."""

    def write_and_read(name, content):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        found = read_files(path)
        return found, [f"{each.path.name}:{each.line}: {each.text}" for each in found.faults]

    return write_and_read


SEED = """{
  "CRITICAL": {
    "hour": 2,
    "day": 5,
    "month": 0,
    "only_attached_vols": true
  },
  "MEH": {"month": 1, "hook_document": null}
}
"""


def test_the_cron_script_s_shape_is_all_policies_by_name(read):
    found, faults = read("policies.json", SEED)
    assert faults == []
    assert found.valid == {
        "CRITICAL": Policy(name="CRITICAL", hour=2, day=5, month=0, only_attached_vols=True),
        "MEH": Policy(name="MEH", month=1),
    }
    assert not found.is_one


def test_yaml_says_the_same_with_comments_and_without_braces(read):
    text = """
# for the shop
CRITICAL:
  hour: 2
  day: 5
  month: 0          # none
  only_attached_vols: true
MEH: {month: 1, hook_document: null, week: }
"""
    assert read("policies.yaml", text)[0].valid == read("policies.json", SEED)[0].valid


def test_a_directory_has_a_file_per_policy(tmp_path):
    """What is no policy is named."""
    (tmp_path / "A.json").write_text('{"hour": 1}')
    (tmp_path / "B.yaml").write_text("day: 2")
    (tmp_path / "c.d.yml").write_text("week: 3")
    (tmp_path / "README.md").write_text("x")
    (tmp_path / ".hidden.json").write_text("x")
    (tmp_path / "deeper").mkdir()
    found = read_files(tmp_path)
    assert found.valid == {
        "A": Policy(name="A", hour=1),
        "B": Policy(name="B", day=2),
        "c.d": Policy(name="c.d", week=3),
    }
    assert found.faults == []
    assert [warning.split(": ")[0] for warning in found.warnings] == [
        str(tmp_path / "README.md"), str(tmp_path / "deeper"),
    ]  # fmt: skip


def test_one_file_of_such_a_directory_can_be_named_alone(read):
    found, faults = read("CRITICAL.json", '{"hour": 1, "hook_parameters": {}}')
    assert (found.valid, found.is_one, faults) == ({"CRITICAL": Policy(name="CRITICAL", hour=1)}, True, [])


def test_a_policy_may_be_called_like_a_field(read):
    found, faults = read("p.json", '{"hour": {"hour": 1}, "hook_parameters": {"day": 1}}')
    assert (sorted(found.valid), found.is_one, faults) == (["hook_parameters", "hour"], False, [])


def test_a_policy_in_two_files_of_a_directory_is_a_fault(tmp_path):
    (tmp_path / "A.json").write_text('{"hour": 1}')
    (tmp_path / "A.yaml").write_text("hour: 2")
    (fault,) = read_files(tmp_path).faults
    assert str(fault) == f"{tmp_path / 'A.yaml'}:1: policy A stands in A.json as well"


def test_all_policies_in_one_file_of_a_directory_are_a_fault(tmp_path):
    (tmp_path / "all.json").write_text(SEED)
    (fault,) = read_files(tmp_path).faults
    assert "holds policies by name; in a directory each file holds the fields of one" in str(fault)


@pytest.mark.parametrize("name", ["p.json", "p.yaml"])
def test_a_schema_at_the_top_is_no_policy_and_no_field(read, name):
    """It is there for editors."""
    found, faults = read(name, '{"$schema": "policies.schema.json", "A": {"hour": 1}}')
    assert (faults, list(found.policies)) == ([], ["A"])
    found, faults = read(name, '{"$schema": "policies.schema.json", "hour": 1}')
    assert (faults, found.policies["p"].content) == ([], {"hour": 1})
    _, faults = read(name, '{"A": {"$schema": "policies.schema.json", "hour": 1}}')
    assert "unknown field" in faults[0]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        (
            "p.json",
            '{\n "A": {\n  "hour": 1,\n  "day": "5"\n }\n}',
            ['p.json:4: policy A: field "day": "5": must be an integer'],
        ),
        (
            "p.json",
            '{"A": {"hour": -1},\n"B": {"weak": 1},\n"C": {}}',
            [
                'p.json:1: policy A: field "hour": -1: must be an integer, 0 or more, or leave it out',
                'p.json:2: policy B: field "weak": unknown field; did you mean "week"?',
                "p.json:3: policy C: names no period: give at least one of hour, day, week, month, year",
            ],
        ),
        (
            "p.json",
            '{"A": {"hour": 1,\n"hook_parameters": {"x": ["a",\n\n"b", 5]}}}',
            ['p.json:4: policy A: field "hook_parameters.x.2": (a number, not shown):'],
        ),
        (
            "p.json",
            '{"A": {"hour": 1,\n"hour": 2}}',
            ['p.json:2: policy A: the key "hour" stands twice, first in line 1'],
        ),
        (
            "p.json",
            '{"A": {"hour": 1,\n"h\\u006fur": 2}}',
            ['p.json:2: policy A: the key "hour" stands twice, first in line 1'],
        ),
        (
            "p.json",
            '{"A": {"hour": 1},\n"A": {"hour": 2}}',
            ['p.json:2: policy A: the key "A" stands twice, first in line 1'],
        ),
        ("p.json", '{"A":\n {"hour": 1,}\n}', ["p.json:2: is not JSON: "]),
        ("p.json", '{"A": {"hour":\nNaN}}', ['p.json:1: policy A: field "hour": NaN: must be an integer']),
        ("p.json", '{"a b": {"hour": 1}}', ["p.json:1: policy a b: a name consists of A-Z a-z 0-9 _ . -"]),
        ("p.json", '{"A": 5,\n"B": {"hour": 1}}', ["p.json:1: policy A: 5: must be one JSON object"]),
        ("p.json", "[1]", ["p.json:1: [1]: must be one object with policies by name"]),
        ("p.json", "", ["p.json:1: is empty"]),
        ("p.json", "{}", ["p.json:1: holds no policy"]),
        ("p.json", '{"$schema": 5, "A": {"hour": 1}}', ["p.json:1: 5: $schema must be the path or address"]),
        ("p.json", b'{"A": \n\xff}', ["p.json:2: is not text in UTF-8"]),
        ("p.json", "[" * 100_000, ["p.json:1: is nested too deeply"]),
        (
            "p.json",
            '{"A": {"hour": 1, "hook_parameters": {"x": ["' + "y" * 5000 + '"]}}}',
            ["p.json:1: policy A: has "],
        ),
        ("A.json", '{"hour": 1,\n"dya": 2}', ['A.json:2: policy A: field "dya": unknown field; did you mean "day"?']),
        (
            "p.yaml",
            "A:\n  hour: 1\n  weak: 2\n",
            ['p.yaml:3: policy A: field "weak": unknown field; did you mean "week"?'],
        ),
        ("p.yaml", "A:\n  hour: 010\n", ['p.yaml:2: policy A: field "hour": "010": must be an integer']),
        ("p.yaml", "A:\n  hour: 1_000\n", ['p.yaml:2: policy A: field "hour": "1_000": must be an integer']),
        ("p.yaml", "A:\n  hour: 1:30\n", ['p.yaml:2: policy A: field "hour": "1:30": must be an integer']),
        (
            "p.yaml",
            "A:\n  hour: 1\n  only_attached_vols: yes\n",
            ['p.yaml:3: policy A: field "only_attached_vols": "yes": must be true or false'],
        ),
        (
            "p.yaml",
            "A:\n  hour: 1\n  hook_parameters:\n    x: [on]\n",
            ['p.yaml:4: policy A: field "hook_parameters.x.0": on: YAML readers differ about it'],
        ),
        (
            "p.yaml",
            "A:\n  hour: 1\n  hook_parameters:\n    x: [0o17]\n",
            ['p.yaml:4: policy A: field "hook_parameters.x.0": 0o17: YAML readers differ about it'],
        ),
        (
            "p.yaml",
            "A:\n  hour: " + "9" * 4400 + "\n",
            ["p.yaml:1: policy A: has 4", 'p.yaml:2: policy A: field "hour": "999'],
        ),
        ("p.yaml", "yes: {hour: 1}\n", ["p.yaml:1: policy yes: yes: YAML readers differ about it"]),
        ("p.yaml", "12: {hour: 1}\n", ["p.yaml:1: policy 12: the key 12 must be text: put it in quotes"]),
        ("p.yaml", "{[a]: 1}\n", ["p.yaml:1: a key must be text"]),
        ("p.yaml", "A: {hour: 1}\nA: {hour: 1}\n", ['p.yaml:2: policy A: the key "A" stands twice, first in line 1']),
        ("p.yaml", "A: &a {hour: 1}\nB: *a\n", ["p.yaml:2: is not YAML to be used: the alias *a is not followed"]),
        ("p.yaml", "A: &a {hour: 1, x: *a}\n", ["p.yaml:1: is not YAML to be used: the alias *a is not followed"]),
        (
            "p.yaml",
            "A:\n  hour: !!int '1'\n",
            ["p.yaml:2: is not YAML to be used: the tag tag:yaml.org,2002:int is not read"],
        ),
        (
            "p.yaml",
            "A: {hour: 1}\n---\nB: {hour: 1}\n",
            ["p.yaml:2: is not YAML to be used: holds several YAML documents"],
        ),
        ("p.yaml", "A:\n\thour: 1\n", ["p.yaml:2: is not YAML to be used: found character"]),
        ("p.yaml", "A:\n  hour: 1\x07\n", ["p.yaml:2: is not YAML: U+0007 is not allowed in it"]),
        ("p.yaml", "# nothing\n", ["p.yaml:1: is empty"]),
        ("p.yaml", "- A\n", ['p.yaml:1: ["A"]: must be one object with policies by name']),
        ("p.yaml", "[" * 5000, ["p.yaml:1: is nested too deeply"]),
    ],
    ids=lambda value: repr(value)[:40] if not isinstance(value, list) else "",
)
def test_every_fault_is_named_with_its_line(read, name, text, expected):
    _, faults = read(name, text)
    assert len(faults) == len(expected), faults
    for fault, beginning in zip(faults, expected, strict=True):
        assert fault.startswith(beginning)


def test_a_byte_order_mark_is_tolerated(read):
    assert read("p.json", b'\xef\xbb\xbf{"A": {"hour": 1}}')[0].valid == {"A": Policy(name="A", hour=1)}


def test_a_fault_that_only_files_can_have_invalidates_a_policy(read):
    found, _ = read("p.yaml", "A: {hour: 1, hour: 2}\nB: {hour: 1}")
    assert (list(found.valid), sorted(found.policies)) == (["B"], ["A", "B"])


@pytest.mark.parametrize("name", ["nothing.json", "nowhere", "policies.txt"])
def test_what_is_no_policy_file_is_a_wrong_argument(tmp_path, name):
    (tmp_path / "policies.txt").write_text("{}")
    with pytest.raises(ConfigurationError, match=name):
        read_files(tmp_path / name)


def test_an_empty_directory_holds_no_policy(tmp_path):
    (fault,) = read_files(tmp_path).faults
    assert "holds no policy" in str(fault)


def test_a_policy_with_defaults_written_out_is_the_same_policy():
    assert same_policy({"hour": 1}, {"day": None, "hour": 1, "hook_timeout_seconds": 60})
    assert not same_policy({"hour": 1}, {"hour": 2})
    assert same_policy({"weak": 1, "x": 2}, {"x": 2, "weak": 1})
    assert not same_policy({"weak": 1}, {"weak": True})


strings = st.text(max_size=12) | st.sampled_from(
    ["yes", "010", "1e3", "0o17", "~", "null", "", " ", "- a", "a: b", "#", "{{ssm:x}}", "12", "<<", "=", "\x85", "é\n"]
)  # fmt: skip
counts = st.none() | st.integers(0, 1000)
valid_policies = st.fixed_dictionaries(
    {"hour": st.integers(0, 100)},
    optional={
        "day": counts,
        "year": counts,
        "only_attached_vols": st.booleans(),
        "hook_document": st.none() | st.from_regex(r"[A-Za-z0-9_.:/-]{3,20}", fullmatch=True),
        "hook_parameters": st.dictionaries(strings, st.lists(strings, max_size=3), max_size=3),
        "hook_timeout_seconds": st.integers(10, 600),
        "hook_on_failure": st.sampled_from(["skip", "continue"]),
    },
)
names = st.from_regex(r"[A-Za-z0-9_.-]{1,8}", fullmatch=True) | st.sampled_from(["on", "12", "1e3", "null", "hour"])


@pytest.mark.parametrize("is_json", [True, False], ids=["JSON", "YAML"])
@examples(300, 300, 50)
@given(st.dictionaries(names, valid_policies, min_size=1, max_size=3))
def test_what_is_written_to_a_file_is_read_from_it(is_json, policies):
    text = file_text(policies, is_json=is_json)
    document = read_document(text.encode(), is_json=is_json)
    assert document.faults == []
    assert document.value == policies
    assert [*document.value] == [*policies]
    assert file_text(document.value, is_json=is_json) == text


@examples(300, 300, 50)
@given(valid_policies)
def test_a_stored_policy_is_one_line_and_the_same_policy(content):
    """As the function reads it."""
    text = stored_text(content)
    assert "\n" not in text
    assert "{{" not in text
    assert json.loads(text) == content
    assert isinstance(parse_policy(Parameter("P", text)), Policy)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | strings,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS) | strings, inner, max_size=3),
    max_leaves=10,
)


@examples(300, 300, 50)
@given(st.text(max_size=60) | json_values.map(json.dumps) | st.binary(max_size=30))
def test_any_file_has_policies_or_faults_that_can_be_printed(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("any")
    raw = content if isinstance(content, bytes) else content.encode("utf-8", "replace")
    for name in ("p.json", "p.yaml"):
        Path(folder / name).write_bytes(raw)
        found = read_files(folder / name)
        assert found.policies or found.faults
        for fault in found.faults:
            assert 1 <= fault.line <= raw.count(b"\n") + raw.count(b"\r") + raw.count(b"\x85") + raw.count(b"\xe2") + 1
            str(fault).encode()


@examples(300, 300, 50)
@given(
    st.dictionaries(names, st.dictionaries(st.sampled_from([*FIELDS, "hours"]), json_values, max_size=3), min_size=1)
)
def test_a_policy_is_valid_in_a_file_as_it_is_in_the_store(tmp_path_factory, policies):
    path = tmp_path_factory.mktemp("same") / "all.json"
    path.write_text(json.dumps(policies))
    found = read_files(path)
    if found.is_one:
        return
    stored = {name: parse_policy(Parameter(name, json.dumps(content))) for name, content in policies.items()}
    assert found.valid == {name: each for name, each in stored.items() if isinstance(each, Policy)}
