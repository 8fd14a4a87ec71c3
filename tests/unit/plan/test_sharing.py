"""Which snapshot a longer period may join, as tables."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from lambda_function.inputs.policy import Policy
from lambda_function.model.ec2 import Consistency, Snapshot, SnapshotState
from lambda_function.model.period import Period
from lambda_function.model.request import RunRequest
from lambda_function.plan.sharing import proved_sets, sets_in_question, sharing_candidate, unproved_candidate

NOW = datetime(2026, 3, 4, 0, 15, tzinfo=UTC)
HOOKED = Policy(name="P", hour=2, day=2, hook_document="DOC")
PLAIN = Policy(name="P", hour=2, day=2)


def snapshot(number, consistency, set_id=None, minutes=10, periods="hour", policy="P"):
    return Snapshot(
        f"snap-{number}",
        f"vol-{number}",
        NOW - timedelta(minutes=minutes),
        SnapshotState.COMPLETED,
        tuple(periods.split()),
        policy,
        Consistency(consistency) if consistency else None,
        set_id,
    )


REQUEST = RunRequest(Period.DAY, NOW)


@pytest.mark.parametrize(
    ("snapshots", "proved", "joined", "passed_over"),
    [
        pytest.param([("application", "a")], (), 0, None, id="proved itself"),
        pytest.param([("offline", "a")], (), 0, None, id="nothing was writing"),
        pytest.param([("crash", "a")], ("a",), 0, None, id="another of its set is proved"),
        pytest.param([("crash", "a")], ("b",), None, 0, id="another set is proved"),
        pytest.param([("crash", "a")], (), None, 0, id="nothing is proved"),
        pytest.param([("crash", None)], (), None, 0, id="it is of no set"),
        pytest.param([(None, None)], (), None, 0, id="it says nothing of itself"),
        pytest.param([("application", "a", 9), ("crash", "b", 5)], (), 0, 1, id="an older proved one is joined"),
        pytest.param([("crash", "a", 9), ("crash", "b", 5)], (), None, 1, id="the newest is the one passed over"),
        pytest.param([("application", "a", 16)], (), None, None, id="it lies in the slot before"),
        pytest.param([("crash", "a", 5, "hour", "Q")], (), None, None, id="it is another policy's"),
    ],
)
def test_a_hooked_policy_joins_only_what_is_proved(snapshots, proved, joined, passed_over):
    listed = [snapshot(number, *fields) for number, fields in enumerate(snapshots)]
    expected = [None if number is None else listed[number] for number in (joined, passed_over)]
    chosen = [choose(REQUEST, HOOKED, listed, proved) for choose in (sharing_candidate, unproved_candidate)]
    assert chosen == expected


@pytest.mark.parametrize("consistency", ["application", "crash", "offline", None])
def test_a_policy_without_a_hook_joins_whatever_is_there(consistency):
    listed = [snapshot(1, consistency)]
    assert sharing_candidate(REQUEST, PLAIN, listed, ()) == listed[0]
    assert unproved_candidate(REQUEST, PLAIN, listed, ()) is None


def test_a_set_is_proved_by_any_application_snapshot_of_it():
    listed = [snapshot(1, "crash", "a"), snapshot(2, "application", "a"), snapshot(3, "application"), snapshot(4, None)]
    listed += [snapshot(5, "offline", "b"), snapshot(6, "crash", "c")]
    assert proved_sets(listed) == {"a"}


@pytest.mark.parametrize(
    ("policy", "request_fields", "expected"),
    [
        pytest.param(HOOKED, {}, {"b"}, id="only the one that is not proved"),
        pytest.param(PLAIN, {}, set(), id="without a hook none"),
        pytest.param(HOOKED, {"force": True}, set(), id="a forced run joins nothing"),
    ],
)
def test_only_sets_that_decide_are_asked_for(policy, request_fields, expected):
    listed = [
        snapshot(1, "crash", "a"),
        snapshot(2, "crash", "b"),
        snapshot(3, "application", "c"),
        snapshot(4, "crash", None),
        snapshot(5, "crash", "d", 70),
        snapshot(6, "crash", "e", 10, "hour day"),
    ]
    request = RunRequest(Period.DAY, NOW, **request_fields)
    assert sets_in_question(request, [policy], listed, {"a"}) == expected
