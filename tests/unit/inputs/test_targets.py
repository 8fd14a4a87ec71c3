"""Targets: JSON text to accounts, Regions and roles, every fault named, and none that harms another."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_function.errors import ConfigurationError
from lambda_function.inputs.policy import Parameter
from lambda_function.inputs.targets import DEFAULT_ROLE, parse_targets
from lambda_function.model.request import Target

PATH = "/auto-snapshots/targets/"
ONE = '{"account": "111122223333", "regions": ["eu-west-1"]}'


def parse(*values, **fields):
    return parse_targets([Parameter(f"{PATH}{n}", value, **fields) for n, value in enumerate(values)], PATH)


def test_a_target_has_account_regions_role_and_external_id():
    text = json.dumps(
        {
            "account": "111122223333",
            "role": "/backup/reader",
            "external_id": "an-id",
            "regions": ["eu-west-1", "us-gov-west-1", "eu-west-1"],
        }
    )
    found = parse(text)
    assert found.faults == ()
    assert list(found.valid.values()) == [
        Target("111122223333", "eu-west-1", "backup/reader", "an-id"),
        Target("111122223333", "us-gov-west-1", "backup/reader", "an-id"),
    ]


def test_account_and_regions_are_enough():
    """The role is then the member template's."""
    assert parse(ONE).valid == {"111122223333/eu-west-1": Target("111122223333", "eu-west-1", DEFAULT_ROLE)}


def test_a_parameter_may_list_several_targets():
    """There may be several parameters, too."""
    found = parse(
        f'[{ONE}, {{"account": "222233334444", "regions": ["eu-west-1"]}}]',
        '\ufeff{"account": "222233334444", "regions": ["ap-southeast-2"]}',
    )
    assert found.faults == ()
    assert list(found.valid) == ["111122223333/eu-west-1", "222233334444/ap-southeast-2", "222233334444/eu-west-1"]


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        pytest.param("", "0: must be a target or a list of targets in JSON", id="empty text"),
        pytest.param("{", "0: must be a target or a list of targets in JSON", id="broken JSON"),
        pytest.param("3", "0: 3: must be an object such as", id="a number"),
        pytest.param('["eu-west-1"]', '0: target 1: "eu-west-1": must be an object such as', id="a list of texts"),
        pytest.param("{}", 'field "account": is missing; must be an account id of 12 digits, as text', id="empty"),
        pytest.param(
            '{"account": 111122223333, "regions": ["eu-west-1"]}',
            'field "account": 111122223333: must be an account id of 12 digits, as text',
            id="account as a number",
        ),
        pytest.param('{"account": "111122223333"}', 'field "regions": is missing', id="no Regions"),
        pytest.param('{"account": "111122223333", "regions": []}', 'field "regions": []: must be a list', id="none"),
        pytest.param(
            '{"account": "111122223333", "regions": ["eu-west-1", "Frankfurt"]}',
            'field "regions.1": "Frankfurt": must be a list of Regions',
            id="a Region by another name",
        ),
        pytest.param(
            '{"account": "111122223333", "regions": ["eu-west-1"], "role": "arn:aws:iam::1:role/x"}',
            'field "role": "arn:aws:iam::1:role/x": must be the name of a role',
            id="a role's ARN",
        ),
        pytest.param(
            '{"account": "111122223333", "regions": ["eu-west-1"], "role": "/"}',
            'field "role": "/"',
            id="an empty role",
        ),
        pytest.param(
            '[[{"account": "111122223333", "external_id": "secret"}]]',
            "target 1: (a list, not shown): must be",
            id="lists in it",
        ),
        pytest.param(
            '{"account": "111122223333", "region": ["eu-west-1"], "regions": ["eu-west-1"]}',
            'field "region": unknown field; did you mean "regions"?',
            id="unknown field",
        ),
        pytest.param(
            '{"account": "111122223333", "account": "222233334444", "regions": ["eu-west-1"]}',
            'the key "account" stands twice',
            id="a key twice",
        ),
        pytest.param('[{"account": "1"}]', '0: target 1: field "account": "1": must be', id="in a list, by position"),
    ],
)
def test_a_fault_names_parameter_field_value_and_what_is_allowed(value, fault):
    """It harms no other target."""
    found = parse(value, '{"account": "222233334444", "regions": ["eu-west-1"]}')
    assert list(found.valid) == ["222233334444/eu-west-1"]
    assert any(each.startswith(PATH + "0") and fault in each for each in found.faults), found.faults


def test_a_bad_entry_of_a_list_costs_the_others_nothing():
    found = parse(f'[{ONE}, {{"account": "2"}}]')
    assert list(found.valid) == ["111122223333/eu-west-1"]
    assert len(found.faults) == 2


def test_the_same_target_twice_is_one():
    """With another role it is a fault, which leaves the first."""
    found = parse(ONE, ONE, '{"account": "111122223333", "regions": ["eu-west-1"], "role": "other"}')
    assert found.valid["111122223333/eu-west-1"].role == DEFAULT_ROLE
    (fault,) = found.faults
    assert fault == f"{PATH}2: 111122223333/eu-west-1 is listed with another role or external id already"


def test_a_path_without_any_target_is_a_fault():
    """It may be a typo."""
    assert parse().faults == (f"no target under {PATH}: put one parameter per target there, or leave TARGETS_PATH out",)


def test_neither_external_ids_nor_secure_strings_are_shown():
    shown = parse('{"account": "111122223333", "regions": ["eu-west-1"], "external_id": "my secret"}').faults
    assert "my secret" not in str(shown)
    assert 'field "external_id": (a string, not shown): must be' in shown[0]
    assert "s3cret" not in str(parse('{"account": "s3cret", "regions": ["eu-west-1"]}', '"s3cret"', secure=True).faults)


def test_an_unreadable_parameter_is_a_fault_of_its_own():
    found = parse_targets([Parameter(f"{PATH}a", error="could not be read"), Parameter(f"{PATH}b", ONE)], PATH)
    assert list(found.valid) == ["111122223333/eu-west-1"]
    assert found.faults == (f"{PATH}a: could not be read",)


def test_an_unknown_name_is_reported_with_the_known_ones():
    """The faults are reported with it."""
    with pytest.raises(ConfigurationError, match=r"x/y does not exist \(there is 111122223333/eu-west-1\); .*1: "):
        parse(ONE, "{").named("x/y")


VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(), lambda each: st.lists(each) | st.dictionaries(st.text(), each)
)


@given(VALUES)
def test_whatever_json_is_there_becomes_targets_or_faults(content):
    found = parse(json.dumps(content), ONE)
    assert list(found.valid) == ["111122223333/eu-west-1"]
    assert bool(found.faults) == (content != [])
