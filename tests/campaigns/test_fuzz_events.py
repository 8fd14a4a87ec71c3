"""Whatever an invocation's input is: a run, or one error that names the field, before anything is written."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lambda_function.errors import ConfigurationError, quoted
from lambda_function.inputs.event import parse_event
from lambda_function.model.period import Period
from lambda_function.model.request import HookCheckRequest, RunRequest
from tests.campaigns.fuzzing import MAX_TEXT, any_text, cases, is_clear, json_values, nested, staged
from tests.support.cloud import FakeCloud

NOW = FakeCloud().clock.now

periods = st.sampled_from([*map(str, Period)])
valid_fields = {
    "period": periods,
    "dry_run": st.booleans(),
    "force": st.booleans(),
    "policies": st.lists(st.sampled_from(["P", "GOOD", "nobody", "p", "-"]), min_size=1, max_size=3),
    "volumes": st.lists(
        st.sampled_from(["vol-00000001", "vol-00000002", "vol-0123456789abcdef0"]), min_size=1, max_size=3
    ),
    "time": st.sampled_from(
        [NOW.isoformat(), NOW.strftime("%Y-%m-%d"), "2026-02-30", "20260302T000000Z", "0001-01-01"]
    ),
    "continuation": st.integers(-1, 102),
}
check_fields = {"check_hooks": st.booleans(), "policies": valid_fields["policies"], "volumes": valid_fields["volumes"]}


def some_of(fields, *required):
    optional = {name: each for name, each in fields.items() if name not in required}
    return st.fixed_dictionaries({name: fields[name] for name in required}, optional=optional)


nearly_valid = some_of(valid_fields, "period") | some_of(check_fields, "check_hooks")
names = st.sampled_from([*valid_fields, "check_hooks", "source", "detail-type", "Period", "time "]) | any_text


@st.composite
def mutated(draw):
    """A valid event in which one to three fields are dropped, replaced by anything, or put beside the others."""
    event = dict(draw(nearly_valid))
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from([*event]) | names if event else names)
        if draw(st.integers(0, 3)):
            event[name] = draw(
                json_values | periods | st.lists(any_text, max_size=2) | any_text.map("2026-03-04".__add__)
            )
        else:
            event.pop(name, None)
    return event


events = json_values | nearly_valid | mutated() | st.dictionaries(names, json_values, max_size=6)


def world():
    """Two volumes with a snapshot each, and one too many: a run has something to create and to delete."""
    cloud = FakeCloud(policies={"P": '{"hour": 1, "day": 1, "week": 1}', "GOOD": '{"hour": 1, "hook_document": "DOC"}'})
    for number, policy in ((1, "P"), (2, "GOOD")):
        volume = cloud.volume(number, policy, instance="i-1" if number == 2 else None)
        for hours in (2, 3):
            cloud.snapshot(volume, "hour day week", timedelta(hours=hours), policy=policy)
    return cloud


@pytest.fixture(scope="module")
def stage():
    with staged() as stage:
        yield stage


@cases(25_000)
@given(events)
@example({"\ud800": 1})
@example({"period": {"\ud800": 1}})
def test_any_input_is_a_request_or_one_clear_error(event):
    """The error names the field and what is allowed."""
    try:
        assert isinstance(parse_event(event, NOW), RunRequest | HookCheckRequest)
    except ConfigurationError as error:
        text = str(error)
        text.encode()
        assert is_clear(text, "event", "continuation")
        assert len(text) < MAX_TEXT


wrong_values = {
    "period": any_text.filter(lambda text: text not in [*Period]) | st.none() | nested(),
    "dry_run": st.none() | st.integers() | any_text | nested(),
    "force": st.none() | st.integers() | any_text | nested(),
    "policies": st.none() | st.booleans() | any_text | st.just([]) | st.lists(st.integers(), min_size=1),
    "volumes": st.none() | st.booleans() | any_text | st.just([]) | st.lists(any_text.map("v".__add__), min_size=1),
    "time": st.none()
    | st.booleans()
    | any_text.map("x".__add__)
    | nested().filter(lambda each: not isinstance(each, str)),
    "continuation": st.none() | st.booleans() | any_text | st.integers(max_value=0) | st.integers(101) | st.floats(),
}


@cases(6_000)
@given(some_of(valid_fields, "period"), st.data())
def test_a_wrong_field_is_named_with_its_value(event, data):
    """The error also says what is allowed."""
    field = data.draw(st.sampled_from([*wrong_values]))
    value = data.draw(wrong_values[field])
    others = {name: valid for name, valid in event.items() if name not in ("time", "continuation", field)}
    with pytest.raises(ConfigurationError) as raised:
        parse_event({**others, field: value}, NOW)
    text = str(raised.value)
    assert text.startswith(f'event field "{field}')
    assert "must be" in text
    assert quoted(value) in text or isinstance(value, list)


@cases(8_000)
@given(events)
def test_a_wrong_event_in_the_handler_reaches_no_client(stage, event):
    """A dry run writes nothing."""
    stage.cloud = world()
    request = request_in(event)
    failure, answer = stage.invoke(event)
    if request is None:
        assert is_clear(failure, "event", "continuation")
        assert stage.clients_built == 0
        assert stage.cloud.journal == []
        assert stage.cloud.ssm.sent == []
    elif failure is not None:
        asks_in_vain = "asked for, but" in failure
        assert asks_in_vain or is_clear(failure, "policy")
        assert asks_in_vain or stage.cloud.writes() == []
    if request is None or isinstance(request, HookCheckRequest) or request.dry_run:
        assert stage.cloud.writes() == []
        assert not [sent for sent in stage.cloud.ssm.sent if sent.command != "dry-run"]
    elif failure is None:
        assert json.loads(answer)["summary"].get("created", 0) == stage.cloud.calls("CreateSnapshot")


def request_in(event):
    try:
        return parse_event(event, NOW)
    except ConfigurationError:
        return None
