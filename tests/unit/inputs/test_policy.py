from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_function.inputs.policy import FIELDS, Parameter, Policy, parse_policies, parse_policy
from lambda_function.inputs.validation import Fault, closest
from lambda_function.model.period import Period
from tests.support.campaign import examples

NAME = "/auto-snapshots/policies/P"


def faults(text, **fields):
    outcome = parse_policy(Parameter(NAME, text, **fields))
    assert isinstance(outcome, tuple), f"was accepted: {outcome}"
    return [str(fault) for fault in outcome]


def test_the_seed_s_example_is_a_policy_once_it_is_json():
    policy = parse_policy(
        Parameter(
            NAME, '{"hour": 2, "day": 5, "week": 52, "month": 0, "only_attached_vols": true, "hook_document": null}'
        )
    )
    assert isinstance(policy, Policy)
    counts = [rule and rule.retain_count for rule in map(policy.rule, Period)]
    assert counts == [2, 5, 52, 0, None]
    assert policy.only_attached_vols
    assert policy.hook_document is None


def test_what_a_policy_leaves_out_has_the_documented_default():
    policy = Policy(name="P", day=1)
    assert (policy.only_attached_vols, policy.hook_parameters, policy.hook_timeout_seconds, policy.hook_on_failure) == (
        False, {}, 60, "skip",
    )  # fmt: skip


def test_a_byte_order_mark_is_ignored_and_null_means_absent():
    policy = parse_policy(Parameter(NAME, '\ufeff{"hour": 1, "day": null}'))
    assert isinstance(policy, Policy)
    assert policy.rule(Period.DAY) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "must be one JSON object"),
        ("not json", "must be one JSON object"),
        ("{'hour': 1}", "must be one JSON object"),
        ('{"hour": 1,}', "must be one JSON object"),
        ('{"hour": NaN}', "NaN is not JSON"),
        ('{"hour": 1} {"day": 1}', "must be one JSON object"),
        ("[" * 100_000, "must be one JSON object"),
        ("[1, 2]", "[1, 2]: must be one JSON object"),
        ("null", "null: must be one JSON object"),
        ("{}", "names no period"),
        ('{"only_attached_vols": true}', "names no period"),
        ('{"hour": null}', "names no period"),
        ('{"hour": 1, "hour": 2}', 'the key "hour" stands twice'),
        ('{"hour": -1}', 'field "hour": -1: must be an integer, 0 or more'),
        ('{"hour": "2"}', 'field "hour": "2": must be an integer'),
        ('{"hour": 2.0}', 'field "hour": 2.0: must be an integer'),
        ('{"hour": true}', 'field "hour": true: must be an integer'),
        ('{"hour": [1]}', 'field "hour": [1]: must be an integer'),
        ('{"hour": 1, "only_attached_vols": "true"}', '"true": must be true or false'),
        ('{"hour": 1, "only_attached_vols": 1}', "1: must be true or false"),
        ('{"hour": 1, "hook_document": ""}', 'field "hook_document": "": must be the name or ARN'),
        ('{"hour": 1, "hook_document": "a; reboot"}', 'field "hook_document"'),
        ('{"hour": 1, "hook_document": 7}', 'field "hook_document": 7'),
        ('{"hour": 1, "hook_parameters": {"a": "b"}}', '"hook_parameters.a": (a string, not shown): must be an object'),
        ('{"hour": 1, "hook_parameters": {"a": [1]}}', '"hook_parameters.a.0": (a number, not shown): must be'),
        ('{"hour": 1, "hook_parameters": []}', 'field "hook_parameters": (a list, not shown): must be'),
        ('{"hour": 1, "hook_timeout_seconds": 9}', '"hook_timeout_seconds": 9: must be an integer from 10 to 600'),
        ('{"hour": 1, "hook_timeout_seconds": 601}', "601: must be an integer from 10 to 600"),
        ('{"hour": 1, "hook_on_failure": "Skip"}', 'field "hook_on_failure": "Skip": must be "skip" or "continue"'),
        ('{"hours": 1, "day": 1}', 'field "hours": unknown field; did you mean "hour"?'),
        ('{"Hour": 1, "day": 1}', 'field "Hour": unknown field; did you mean "hour"?'),
        ('{"hour": 1, "colour": "red"}', 'field "colour": unknown field; '),
        ('{"hour": 1, "hook_module": "/x.py"}', "was the cron script's Python module"),
        ('{"\\ud800": 1, "\\ud800": 2}', 'the key "\\ud800" stands twice'),
        ('{"hour": 1, "\\ud800": 1}', 'field "\\ud800": unknown field'),
        ('{"hour": 1, "' + "x" * 5000 + '": 1}', "unknown field"),
        ('{"hour": ' + "9" * 5000 + "}", "must be"),
    ],
)  # fmt: skip
def test_a_fault_names_parameter_field_value_and_what_is_allowed(text, expected):
    found = faults(text)
    assert any(expected in fault for fault in found), found
    assert all(fault.startswith(NAME + ": ") for fault in found)
    assert all(len(fault) < 400 and fault.encode() for fault in found)


def test_all_faults_of_a_policy_come_at_once():
    found = faults('{"hour": -1, "day": "x", "hook_on_failure": 3, "weak": 1}')
    assert len(found) == 4


def test_an_unreadable_parameter_is_the_fault_of_its_policy_only():
    policies = parse_policies(
        [Parameter("/p/A", error="could not be decrypted", secure=True), Parameter("/p/B", '{"day": 1}')]
    )
    assert policies.faulty == {"A": (Fault("/p/A", None, None, "could not be decrypted"),)}
    assert policies.valid == {"B": Policy(name="B", day=1)}
    assert policies.names == {"A", "B"}


def test_the_values_of_a_secure_string_are_not_shown():
    (fault,) = faults('{"hour": "hunter2"}', secure=True)
    assert "hunter2" not in fault
    assert "not shown" in fault


def test_a_name_that_is_nearly_right_gets_a_suggestion():
    policies = parse_policies([Parameter("/p/CRITICAL", '{"day": 1}')])
    assert policies.suggestion("critical ") == '; did you mean "CRITICAL"?'
    assert policies.suggestion("nothing like it") == ""


def test_a_suggestion_is_worked_out_once_for_each_name(monkeypatch):
    """A fleet of 10,000 volumes may have one wrong tag; the search among 1,000 policies takes 25 ms."""
    searched = []

    def counting(name, known):
        searched.append(name)
        return closest(name, known)

    monkeypatch.setattr("lambda_function.inputs.policy.closest", counting)
    policies = parse_policies([Parameter("/p/CRITICAL", '{"day": 1}')])
    names = ["CRITICLA", "nothing like it", "CRITICLA", "nothing like it"]
    assert [policies.suggestion(name) for name in names] == ['; did you mean "CRITICAL"?', ""] * 2
    assert searched == names[:2]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from([*FIELDS, "hook_module", "Hour", ""])


@examples(1000, 1000, 100)
@given(st.dictionaries(fields, json_values, max_size=6) | json_values)
def test_any_json_is_a_policy_or_has_faults_that_can_be_printed(value):
    outcome = parse_policy(Parameter(NAME, json.dumps(value)))
    if isinstance(outcome, tuple):
        assert outcome
        for fault in outcome:
            str(fault).encode()


@examples(500, 500, 100)
@given(st.text())
def test_any_text_is_a_policy_or_has_faults_that_can_be_printed(text):
    outcome = parse_policy(Parameter(NAME, text))
    assert isinstance(outcome, Policy) or all(str(fault).encode() for fault in outcome)
