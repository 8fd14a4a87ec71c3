from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_function.errors import ConfigurationError
from lambda_function.inputs.event import parse_event
from lambda_function.model.period import Period
from lambda_function.model.request import HookCheckRequest, RunRequest
from tests.support.campaign import examples

NOW = datetime(2026, 3, 4, 10, 5, tzinfo=UTC)  # a Wednesday
EVENTS = Path(__file__).parents[3] / "events"


def nested(depth):
    value: list[object] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("path", sorted(EVENTS.glob("*.json")), ids=lambda path: path.stem)
def test_every_file_in_events_is_a_valid_event(path):
    assert isinstance(parse_event(json.loads(path.read_text()), NOW), RunRequest | HookCheckRequest)


def test_events_has_a_file_per_period_and_per_special_use():
    names = {path.stem for path in EVENTS.glob("*.json")}
    assert names >= {*Period, "dry-run", "forced", "one-volume", "check-hooks", "one-target"}


@pytest.mark.parametrize("period", list(Period))
def test_a_period_is_enough(period):
    assert parse_event({"period": period.value}, NOW) == RunRequest(period=period, time=NOW)


def test_everything_an_event_may_say_is_taken_over():
    event = {
        "period": "week",
        "dry_run": True,
        "force": True,
        "policies": ["A", "B", "A"],
        "volumes": ["vol-01234567"],
        "time": "2026-01-31T12:00:00+02:00",
    }
    assert parse_event(event, NOW) == RunRequest(
        period=Period.WEEK,
        time=datetime(2026, 1, 31, 10, tzinfo=UTC),
        dry_run=True,
        force=True,
        policies=("A", "B"),
        volumes=("vol-01234567",),
    )


def test_a_hook_check_may_be_limited_to_policies_and_volumes():
    event = {"check_hooks": True, "policies": ["A"], "volumes": ["vol-01234567"]}
    assert parse_event(event, NOW) == HookCheckRequest(("A",), ("vol-01234567",))


@pytest.mark.parametrize(
    ("period", "time"),
    [
        ("hour", "2026-03-04T10:00:00Z"),
        ("day", "2026-03-04T23:59:59Z"),
        ("week", "2026-03-02"),
        ("month", "20260301T000000Z"),
        ("hour", "2026-03-04T10:59"),
    ],
)
def test_a_time_in_the_current_slot_needs_no_dry_run(period, time):
    parse_event({"period": period, "time": time}, NOW)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (None, "must be an object"),
        ("hour", '"hour": must be an object'),
        (["hour"], "must be an object"),
        (5, "must be an object"),
        ({}, 'event field "period": is missing; must be one of "hour", "day"'),
        ({"period": "hourly"}, 'event field "period": "hourly": must be one of "hour"'),
        ({"period": "Hour"}, '"Hour": must be one of'),
        ({"period": "hour\n"}, "must be one of"),
        ({"period": None}, "null: must be one of"),
        ({"period": 1}, "1: must be one of"),
        ({"period": ["hour"]}, '["hour"]: must be one of'),
        ({"period": "hour", "dry_run": "true"}, 'event field "dry_run": "true": must be true or false'),
        ({"period": "hour", "dry_run": 1}, 'event field "dry_run": 1: must be true or false'),
        ({"period": "hour", "force": None}, 'event field "force": null: must be true or false'),
        ({"period": "hour", "policies": "A"}, 'event field "policies": "A": must be a list of policy names'),
        ({"period": "hour", "policies": []}, 'event field "policies": []: must be a list'),
        ({"period": "hour", "policies": [1]}, 'event field "policies.0": 1: must be a list'),
        ({"period": "hour", "policies": ["a b"]}, 'event field "policies.0": "a b"'),
        ({"period": "hour", "policies": [""]}, 'event field "policies.0": ""'),
        ({"period": "hour", "volumes": "vol-01234567"}, 'event field "volumes"'),
        ({"period": "hour", "volumes": []}, 'event field "volumes": []'),
        ({"period": "hour", "volumes": ["i-01234567"]}, 'event field "volumes.0": "i-01234567"'),
        ({"period": "hour", "volumes": ["vol-XYZ"]}, 'event field "volumes.0"'),
        ({"period": "hour", "time": 5}, 'event field "time": 5: must be an ISO 8601 time'),
        ({"period": "hour", "time": "now"}, '"now": must be an ISO 8601 time'),
        ({"period": "hour", "time": "2026"}, "must be an ISO 8601 time"),
        ({"period": "hour", "time": "10:05"}, "must be an ISO 8601 time"),
        ({"period": "hour", "time": "2026-13-01"}, "must be an ISO 8601 time"),
        ({"period": "hour", "time": "0001-01-01T00:00:00+14:00", "dry_run": True}, "must be an ISO 8601 time"),
        ({"period": "hour", "time": "2026-03-04T09:59:59Z"}, "must be within the current hour"),
        ({"period": "hour", "time": "2026-03-04T11:00:00Z"}, "or set dry_run"),
        ({"period": "week", "time": "2026-03-01"}, "must be within the current week"),
        ({"period": "hour", "x": 1}, "known are period, dry_run, force, policies, volumes, target, time, check_hooks"),
        ({"period": "hour", "dryrun": True}, 'event field "dryrun": unknown field; did you mean "dry_run"?'),
        ({"period": "hour", "x" * 500: True}, "unknown field"),
        ({"detail-type": "Scheduled Event", "source": "aws.events", "detail": {}}, "set the rule's input"),
        ({"version": "0", "source": "aws.events"}, "set the rule's input"),
        ({5: "hour"}, "unknown field"),
        ({"\ud800": "hour"}, 'event field "\\ud800": unknown field'),
        (
            {"period": nested(100_000)},
            "(a list, too large to show): must be",
        ),
        ({"period": "hour", "continuation": 10**5000}, "(a number, too large to show): must be a whole number"),
        (dict.fromkeys(map(str, range(5000)), 0), "and 4981 faults more"),
        ({"check_hooks": False}, 'event field "check_hooks": false: must be true'),
        ({"check_hooks": 1}, 'event field "check_hooks": 1: must be true'),
        ({"check_hooks": "yes"}, 'event field "check_hooks": "yes": must be true'),
        ({"check_hooks": True, "period": "hour"}, 'event field "period": is not for a check of hooks'),
        ({"check_hooks": True, "policies": []}, 'event field "policies": []: must be a list'),
        ({"check_hooks": True, "extra": 1}, "unknown field"),
    ],
)
def test_a_wrong_event_gets_one_error_that_says_what_is_allowed(event, expected):
    with pytest.raises(ConfigurationError) as raised:
        parse_event(event, NOW)
    assert expected in str(raised.value)


def test_all_faults_of_an_event_come_at_once():
    with pytest.raises(ConfigurationError) as raised:
        parse_event({"period": "x", "force": 1, "extra": 2}, NOW)
    assert str(raised.value).count("event field") == 3


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from(
    ["period", "dry_run", "force", "policies", "volumes", "time", "detail-type", "source", "check_hooks", "x"]
)


@examples(1000, 1000, 100)
@given(json_values | st.dictionaries(names, json_values | st.sampled_from(["hour", "2026-03-04"]), max_size=5))
def test_any_event_is_a_request_or_one_clear_error(event):
    try:
        assert isinstance(parse_event(event, NOW), RunRequest | HookCheckRequest)
    except ConfigurationError as error:
        str(error).encode()
