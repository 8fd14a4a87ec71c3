"""Whatever Parameter Store holds: a policy, or faults to be read; and a faulty policy's volumes are left alone."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lambda_function.inputs.policy import FIELDS, Parameter, Policy, parse_policy
from lambda_function.model.period import Period
from tests.campaigns.fuzzing import altered, any_text, cases, is_clear, plain_json, staged
from tests.support.cloud import PATH, FakeCloud
from tests.support.ssm import CONTRACT

NAME = PATH + "P"

counts = st.none() | st.integers(0, 3)
valid_fields = {
    **{period.value: counts for period in Period},
    "only_attached_vols": st.booleans(),
    "hook_document": st.none() | st.sampled_from(["DOC", "BARE", "MISSING", "arn:aws:ssm:eu-west-1:1:document/D"]),
    "hook_parameters": st.dictionaries(
        st.sampled_from(["mode", "command"]) | any_text, st.lists(any_text, max_size=2), max_size=2
    ),
    "hook_timeout_seconds": st.integers(10, 600),
    "hook_on_failure": st.sampled_from(["skip", "continue"]),
}
nearly_valid = st.fixed_dictionaries({}, optional=valid_fields)
names = st.sampled_from([*FIELDS, "hook_module", "Hour", "hours", ""]) | any_text


def as_object(pairs):
    """JSON with these keys in this order, some of them perhaps twice."""
    return "{" + ", ".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in pairs) + "}"


@st.composite
def mutated(draw):
    """A valid policy of which one to three fields are left out, put in twice, replaced or put beside the others."""
    pairs = list(draw(nearly_valid).items())
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(pairs)))
        what = draw(st.integers(0, 3))
        if what == 0:
            del pairs[at : at + 1]
        elif what == 1:
            pairs[at:at] = pairs[at - 1 : at]
        else:
            name = draw(st.sampled_from(["hour", *(name for name, _ in pairs)]) | names)
            pairs[at : at + 1] = [(name, draw(plain_json))]
    return as_object(pairs)


@st.composite
def deep(draw):
    """Brackets by hundreds or thousands, closed or not, somewhere in a policy."""
    depth = draw(st.sampled_from([100, 900, 2_000]))
    name = draw(names)
    opening = draw(st.sampled_from(["[", '{"a":']))
    closing = ("]" if opening == "[" else "}") * draw(st.sampled_from([0, depth]))
    return f'{{"hour": 1, {json.dumps(name)}: {opening * depth}1{closing}}}'[:8_192]


texts = st.one_of(
    st.text(st.characters(), max_size=200),
    st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")),
    st.binary(max_size=200).map(lambda raw: raw.decode("utf-8", "surrogateescape")),
    nearly_valid.map(json.dumps),
    nearly_valid.map(lambda policy: "\ufeff" + json.dumps(policy, indent=2)),
    mutated(),
    nearly_valid.map(json.dumps).flatmap(altered),
    plain_json.map(json.dumps),
    st.integers(1, 4_000).map(lambda digits: '{"hour": ' + "9" * digits + "}"),
    deep(),
)


@pytest.fixture(scope="module")
def stage():
    with staged() as stage:
        yield stage


@cases(15_000)
@given(texts, st.booleans())
@example('{"\\ud800": 1, "\\ud800": 2}', False)
@example('{"hour": 1, "hook_parameters": {"\\ud800": ["\\ud800"]}}', False)
def test_any_text_is_a_policy_or_has_clear_faults(text, secure):
    """Each fault names the parameter and what is allowed."""
    outcome = parse_policy(Parameter(NAME, text, secure=secure))
    if isinstance(outcome, Policy):
        assert any(outcome.rule(period) is not None for period in Period)
        return
    assert outcome
    for fault in map(str, outcome):
        fault.encode()
        assert is_clear(fault, NAME + ": ") or "cron script's Python module" in fault
        assert len(fault) < 600


wrong_values: dict[str, st.SearchStrategy[Any]] = {
    **{
        period.value: any_text | st.floats() | st.booleans() | st.integers(max_value=-1) | st.just([])
        for period in Period
    },
    "only_attached_vols": any_text | st.integers() | st.none(),
    "hook_document": any_text.filter(lambda text: not text.isascii()) | st.integers() | st.just(""),
    "hook_parameters": any_text | st.none() | st.dictionaries(any_text, any_text | st.integers(), min_size=1),
    "hook_timeout_seconds": any_text | st.integers(max_value=9) | st.integers(601) | st.none() | st.floats(),
    "hook_on_failure": any_text | st.none() | st.booleans(),
}


@cases(6_000)
@given(nearly_valid, st.data(), st.booleans())
def test_a_field_that_is_wrong_is_named_and_no_other(policy, data, secure):
    field = data.draw(st.sampled_from([*wrong_values]))
    value = data.draw(wrong_values[field].filter(lambda value: value not in ("skip", "continue")))
    content = {**policy, field: value}
    try:
        text = json.dumps(content, allow_nan=False)
    except ValueError:
        return  # NaN and its like have tests of their own
    outcome = parse_policy(Parameter(NAME, text, secure=secure))
    assert not isinstance(outcome, Policy)
    assert all(str(fault).startswith(f'{NAME}: field "{field}') for fault in outcome)


def world(text):
    """Volumes of the policy under test, attached and not, and one of a good policy; each with snapshots to prune."""
    cloud = FakeCloud(policies={"P": text, "GOOD": '{"hour": 2, "day": 2}'})
    cloud.ssm.documents["BARE"] = CONTRACT
    for number, policy in ((1, "P"), (2, "P"), (3, "GOOD")):
        volume = cloud.volume(number, policy, instance="i-1" if number == 2 else None)
        for days in (2, 3, 4, 5, 6):
            cloud.snapshot(volume, "hour day", timedelta(days=days), policy=policy)
    return cloud


def held(cloud, *volumes):
    return {stored.id: dict(stored.tags) for volume in volumes for stored in cloud.of(volume)}


@cases(8_000)
@given(texts, st.sampled_from(["hour", "day"]), st.booleans())
def test_a_faulty_policy_fails_the_run_and_costs_no_snapshot(stage, text, period, secure):
    """The volumes of other policies are served."""
    stage.cloud = cloud = world(Parameter(NAME, text, secure=secure))
    one, other, good = sorted(cloud.volumes)
    before = held(cloud, one, other)
    outcome = parse_policy(Parameter(NAME, text, secure=secure))
    failure, _ = stage.invoke({"period": period})
    assert len(cloud.of(good, period)) == 2
    assert cloud.of(good)[-1].start_time >= FakeCloud().clock.now
    if not isinstance(outcome, Policy):
        assert held(cloud, one, other) == before
        assert failure is not None
        assert NAME in failure
        assert cloud.ssm.sent == []
        return
    rule = outcome.rule(Period(period))
    count = rule.retain_count if rule is not None else None
    if count is None:
        assert held(cloud, one, other) == before
    elif count == 0:
        assert cloud.of(one, period) == ([] if not outcome.only_attached_vols else cloud.of(one))
    elif not outcome.only_attached_vols:
        assert len(cloud.of(one, period)) == min(count, 6)
    assert cloud.ssm.frozen == set()


@cases(1_000)
@given(st.text(st.characters(), max_size=200), st.sampled_from(["hour", "day"]))
def test_where_no_policy_can_be_read_nothing_is_written(stage, text, period):
    stage.cloud = world("!" + text)
    del stage.cloud.policies["GOOD"]
    failure, _ = stage.invoke({"period": period})
    assert failure is not None
    assert failure.startswith("no policy is valid:")
    assert stage.cloud.writes() == []
