"""YAML files written anew keep their comments, and what is odd in a file is named."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_function.cli.policies.source import file_text, read_document

FILE = """# ours
---
# yaml-language-server: $schema=policies.schema.json
CRITICAL:
  # often
  hour: 24   # a day's worth
  # seldom
  day: 5
  hook_parameters:
    mode:
    - a
    - "b"

# for the shop
MEH: {month: 1}   # hardly
# closed
ARCHIVE:
  year: 10
# end
"""


def rewritten(old, content):
    return file_text(content, is_json=False, old=old.encode())


def content_of(text):
    document = read_document(text.encode(), is_json=False)
    assert document.faults == []
    return document.value


def test_a_file_that_says_the_same_is_written_as_it_is():
    assert rewritten(FILE, content_of(FILE)) == FILE


def test_a_changed_value_keeps_all_comments():
    content = content_of(FILE)
    content["CRITICAL"]["hour"] = 48
    content["MEH"]["month"] = 2
    assert rewritten(FILE, content) == FILE.replace("hour: 24", "hour: 48").replace("month: 1", "month: 2")


def test_a_new_field_stands_before_the_next_heading():
    content = content_of(FILE)
    content["CRITICAL"] |= {"year": 1}
    content["NEW"] = {"hook_parameters": {"x": ["yes", "012"]}}
    new = 'NEW:\n  hook_parameters:\n    x:\n    - "yes"\n    - "012"\n'
    expected = FILE.replace('- "b"\n', '- "b"\n  year: 1\n').replace("year: 10\n", f"year: 10\n{new}")
    assert rewritten(FILE, content) == expected


def test_a_policy_goes_with_its_own_comments_only():
    content = content_of(FILE)
    del content["MEH"], content["CRITICAL"]["hour"]
    expected = FILE.replace("\n# for the shop\nMEH: {month: 1}   # hardly\n", "").replace(
        "  hour: 24   # a day's worth\n", ""
    )
    assert rewritten(FILE, content) == expected


values = st.none() | st.integers(0, 99) | st.booleans() | st.sampled_from(["yes", "é: b", "- x", "\x85", "#", ""])
fields = st.dictionaries(
    st.sampled_from(["hour", "day", "on", "1", "#"]),
    values | st.lists(values, max_size=2) | st.dictionaries(st.sampled_from("ab"), values, max_size=2),
    max_size=3,
)
policies = st.dictionaries(st.sampled_from(["A", "B", "C", "~"]), fields, max_size=3)


COMMENT = re.compile(r"# (?:above|beside) \d+")


def commented(content):
    lines = file_text(content, is_json=False).splitlines()
    return "".join(f"# above {number}\n{line} # beside {number}\n" for number, line in enumerate(lines))


@settings(max_examples=200, deadline=None)
@given(policies, policies)
def test_any_file_is_rewritten_to_any_content(before, after):
    assert content_of(rewritten(commented(before), after)) == after


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from("AB"), st.dictionaries(st.sampled_from("xyz"), values, min_size=1), min_size=1))
def test_no_comment_of_any_file_is_lost_where_only_values_change(content):
    old = commented(content)
    text = rewritten(old, {name: dict.fromkeys(fields, 7) for name, fields in content.items()})
    assert COMMENT.findall(text) == COMMENT.findall(old)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('A: "\\UFFFFFFFF"', "is not YAML: Python int too large"),
        ("A: {hour: 1}\nB: !x {hour: 1}", "is not YAML to be used: the tag !x is not read"),
    ],
)
def test_an_escape_or_a_tag_of_its_own_is_a_fault(text, fault):
    (found,) = read_document(text.encode(), is_json=False).faults
    assert found.text.startswith(fault)


@pytest.mark.parametrize("word", ["y", "No", "1_0", "0x1f", "0o7", "017", "1:30", "2026-01-31", "~", "<<", "=", ".inf"])
@pytest.mark.parametrize("version", ["", "%YAML 1.1\n---\n", "%YAML 1.2\n---\n"])
def test_what_the_versions_of_yaml_read_differently_is_unclear(version, word):
    (found,) = read_document(f"{version}A: {word}".encode(), is_json=False).faults
    assert found.is_unclear


@pytest.mark.parametrize("text", ["{A: 1}", "A: 1", "{'A': 1}", '{"A": 1,}', '{"A": 1} # x', '{"A": 01}', '{"A": yes}'])
def test_a_json_file_holds_json_and_nothing_more(text):
    (found,) = read_document(text.encode(), is_json=True).faults
    assert found.text.startswith("is not JSON: ")


ODD_TEXT = '{\r\n\t"a\x7f":\t"\x85\u2028\ufffe",\n\t"\U0001f600": {"\\ud83d\\ude00": "\\/"},\n\n"b": [-0, 1E5,\n1e999]}'


def test_json_is_read_as_json_where_yaml_reads_it_otherwise():
    document = read_document(ODD_TEXT.encode(), is_json=True)
    assert (document.faults, document.value) == ([], json.loads(ODD_TEXT))
    places = [("a\x7f",), ("\U0001f600",), ("b",), ("b", "1"), ("b", "2")]
    assert [document.line(place) for place in places] == [2, 3, 5, 5, 6]
