from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from lambda_function.model import Outcome, Period, RunRequest, Snapshot, SnapshotState, Volume
from lambda_function.plan import greatest_newest_age, plan_run
from lambda_function.policy import Parameter, parse_policies
from lambda_function.tags import TagKeys

KEYS = TagKeys("AUTO-SNAPSHOT")
NOW = datetime(2026, 3, 4, 0, 15, tzinfo=UTC)  # a Wednesday
POLICIES = parse_policies(
    [
        Parameter("/p/ALL", '{"hour": 2, "day": 5, "week": 52, "month": 0}'),
        Parameter("/p/ATTACHED", '{"day": 1, "only_attached_vols": true}'),
        Parameter("/p/BROKEN", '{"day": -1}'),
    ]
)


def volume(policy="ALL", state="available", instances=(), key="AUTO-SNAPSHOT", number=1):
    return Volume(f"vol-{number:08x}", state, {key: policy}, instances)


def snapshot(keepers, minutes_ago, state=SnapshotState.COMPLETED, policy="ALL", number=1, volume_id="vol-00000001"):
    return Snapshot(
        f"snap-{number:08x}", volume_id, NOW - timedelta(minutes=minutes_ago), state, tuple(keepers.split()), policy
    )


def plan_one(volume, *snapshots, period="day", **fields):
    request = RunRequest(period=Period(period), time=NOW, **fields)
    (plan,) = plan_run(request, POLICIES, [volume], snapshots, KEYS).volumes
    return plan


@pytest.mark.parametrize(
    ("period", "snapshots", "outcome"),
    [
        pytest.param("day", [], "would create", id="nothing exists, so one is due"),
        pytest.param("day", [("day", 10)], "already done", id="one of this period was started in this slot"),
        pytest.param("day", [("day", 20)], "would create", id="the last one was started in the slot before"),
        pytest.param("day", [("hour", 10)], "would share", id="a shorter period's fresh one is joined"),
        pytest.param("day", [("hour", 16)], "would create", id="the shorter period's one lies in the slot before"),
        pytest.param("week", [("hour", 59)], "would share", id="an hour old at most is shared"),
        pytest.param("week", [("hour", 61)], "would create", id="older than an hour is not shared"),
        pytest.param("week", [("day", 10)], "would share", id="week joins day"),
        pytest.param("week", [("hour day", 10)], "would share", id="week joins hour and day"),
        pytest.param("day", [("week", 10)], "would create", id="a shorter period never joins a longer one's"),
        pytest.param("hour", [("day", 10)], "would create", id="the hour never joins"),
        pytest.param("hour", [("hour day", 10)], "already done", id="a shared one is done for each of its periods"),
        pytest.param("month", [], "not due", id="zero creates none"),
        pytest.param("year", [], "not due", id="an absent period is not this policy's business"),
    ],
)
def test_what_is_due(period, snapshots, outcome):
    listed = [snapshot(keepers, minutes, number=n) for n, (keepers, minutes) in enumerate(snapshots)]
    plan = plan_one(volume(), *listed, period=period)
    assert plan.outcome == outcome
    assert plan.reason


@pytest.mark.parametrize(
    ("state", "outcome"),
    [
        ("completed", "already done"),
        ("pending", "already done"),
        ("recovering", "already done"),
        ("error", "would create"),
        ("recoverable", "would create"),
        ("other", "would create"),
    ],
)
def test_a_slot_is_done_by_a_snapshot_that_is_good_or_on_its_way(state, outcome):
    assert plan_one(volume(), snapshot("day", 5, SnapshotState(state))).outcome == outcome


@pytest.mark.parametrize(("state", "outcome"), [("pending", "would share"), ("error", "would create")])
def test_a_pending_snapshot_can_be_shared_and_a_failed_one_cannot(state, outcome):
    assert plan_one(volume(), snapshot("hour", 5, SnapshotState(state))).outcome == outcome


def test_the_newest_of_several_candidates_is_shared():
    plan = plan_one(
        volume(), snapshot("hour", 9, number=1), snapshot("hour", 3, number=2), snapshot("hour", 6, number=3)
    )
    assert plan.serving.id == "snap-00000002"


@pytest.mark.parametrize(
    ("snapshots", "joining"),
    [
        pytest.param([("hour", 10)], ("day", "week"), id="the day is due as well and would share the same one"),
        pytest.param([("hour", 5), ("day", 10)], ("week",), id="the day is done"),
        pytest.param([("hour day", 10)], ("week",), id="the day has joined it already"),
    ],
)
def test_a_longer_period_writes_the_word_of_a_shorter_one_that_is_due_with_its_own(snapshots, joining):
    listed = [snapshot(keepers, minutes, number=n) for n, (keepers, minutes) in enumerate(snapshots)]
    assert plan_one(volume(), *listed, period="week").joining == joining


@pytest.mark.parametrize("policy", [None, "FORMER"])
def test_a_snapshot_of_the_old_script_or_of_another_policy_is_never_shared(policy):
    assert plan_one(volume(), snapshot("hour", 5, policy=policy)).outcome == Outcome.WOULD_CREATE


@pytest.mark.parametrize("policy", [None, "FORMER"])
def test_a_snapshot_of_the_old_script_or_of_a_former_policy_makes_the_slot_done(policy):
    assert plan_one(volume(), snapshot("day", 5, policy=policy)).outcome == Outcome.ALREADY_DONE


def test_force_neither_accepts_nor_shares_what_exists():
    plan = plan_one(volume(), snapshot("day", 5, number=1), snapshot("hour", 5, number=2), force=True)
    assert plan.outcome == Outcome.WOULD_CREATE


def test_a_forced_event_delivered_again_finds_what_it_made():
    request = RunRequest(period=Period.DAY, time=NOW - timedelta(minutes=6), force=True)
    plan = plan_run(request, POLICIES, [volume()], [snapshot("day", 5)], KEYS).volumes[0]
    assert plan.outcome == Outcome.ALREADY_DONE


@pytest.mark.parametrize(
    ("volume", "outcome", "reason"),
    [
        (volume("ALL", "creating"), "outside policy", "the volume is creating"),
        (volume("ALL", "error"), "outside policy", "the volume is error"),
        (volume("ATTACHED"), "outside policy", "detached"),
        (volume("ATTACHED", "in-use", ("i-1",)), "would create", "none started"),
        (volume("BROKEN"), "faulty policy", "nothing created, nothing deleted"),
        (volume("ALLL"), "unknown policy", 'did you mean "ALL"?'),
        (volume("all"), "unknown policy", 'did you mean "ALL"?'),
        (volume(""), "unknown policy", '""'),
        (volume("ALL", key="AUTO-SNAPSHOTS"), "would create", "none started"),
    ],
)
def test_volumes_are_selected_and_judged_by_tag_state_and_attachment(volume, outcome, reason):
    plan = plan_one(volume)
    assert plan.outcome == outcome
    assert reason in plan.reason


@pytest.mark.parametrize("name", ["ALLL", "BROKEN", "ATTACHED"])
def test_what_is_outside_unknown_or_faulty_is_never_pruned(name):
    assert plan_one(volume(name), snapshot("day", 5)).count is None


def test_a_misspelt_key_selects_nothing_and_is_named():
    plan = plan_run(RunRequest(Period.DAY, NOW), POLICIES, [volume(key="auto-snapshot")], [], KEYS)
    assert plan.volumes == ()
    assert plan.warnings == ("vol-00000001: its tag auto-snapshot selects nothing; the key is AUTO-SNAPSHOT",)


def test_snapshots_of_volumes_gone_or_no_longer_tagged_are_only_counted():
    snapshots = [snapshot("day", 5, volume_id="vol-gone", number=n) for n in range(3)]
    plan = plan_run(RunRequest(Period.DAY, NOW), POLICIES, [volume()], [*snapshots, snapshot("hour", 5)], KEYS)
    assert plan.orphaned == 3


def test_failed_snapshots_are_named():
    failed = snapshot("day", 5, SnapshotState.ERROR)
    assert plan_run(RunRequest(Period.DAY, NOW), POLICIES, [volume()], [failed], KEYS).failed_snapshots == (failed.id,)


def test_only_the_policies_and_volumes_asked_for_are_planned_but_typos_are_never_silent():
    volumes = [volume("ALL", number=1), volume("ATTACHED", number=2), volume("TYPO", number=3)]
    request = RunRequest(Period.DAY, NOW, policies=("ALL",))
    plans = plan_run(request, POLICIES, volumes, [], KEYS).volumes
    assert [(p.volume.id[-1], p.outcome) for p in plans] == [("1", "would create"), ("3", "unknown policy")]


def test_a_volume_asked_for_that_cannot_be_served_is_named():
    request = RunRequest(Period.DAY, NOW, policies=("ALL",), volumes=("vol-00000002", "vol-00000009"))
    missing = plan_run(request, POLICIES, [volume("ATTACHED", number=2)], [], KEYS).missing
    assert missing == (
        "vol-00000002: asked for, but its policy was not",
        "vol-00000009: asked for, but no such tagged volume",
    )


@pytest.mark.parametrize(
    ("of_volumes", "minutes"),
    [
        pytest.param({1: [("day", 100), ("day", 30)]}, 30, id="the newest of a volume counts"),
        pytest.param({1: [("day", 30)], 2: [("day", 100)]}, 100, id="the volume that is worst off counts"),
        pytest.param({1: [("day", 30)], 2: []}, 30, id="a volume without any has no age"),
        pytest.param({1: [("day", 30, "error"), ("day", 90)]}, 90, id="a failed one does not count"),
        pytest.param({1: [("day", 30, "pending"), ("day", 90)]}, 30, id="a pending one counts"),
        pytest.param({1: [("hour", 5), ("day", 90)]}, 90, id="one of another period does not count"),
        pytest.param({1: [("day", -3)]}, 0, id="a clock ahead of ours makes no negative age"),
        pytest.param({1: []}, None, id="without snapshots there is no age"),
    ],
)
def test_the_age_is_that_of_the_newest_snapshot_of_the_volume_that_is_worst_off(of_volumes, minutes):
    listed = [
        snapshot(
            keepers, ago, SnapshotState(*state or ["completed"]), number=10 * each + n, volume_id=f"vol-{each:08x}"
        )
        for each, rows in of_volumes.items()
        for n, (keepers, ago, *state) in enumerate(rows)
    ]
    volumes = [volume(number=each) for each in of_volumes]
    plan = plan_run(RunRequest(Period.DAY, NOW), POLICIES, volumes, listed, KEYS)
    assert greatest_newest_age(plan.volumes, {}, NOW) == (None if minutes is None else minutes * 60)


def test_what_this_run_made_counts_as_the_newest_and_a_policy_that_keeps_none_has_no_age():
    made = snapshot("day", 0, number=9)
    plan = plan_run(RunRequest(Period.DAY, NOW), POLICIES, [volume()], [snapshot("day", 2000)], KEYS)
    assert greatest_newest_age(plan.volumes, {"vol-00000001": made}, NOW) == 0
    plan = plan_run(RunRequest(Period.MONTH, NOW), POLICIES, [volume()], [snapshot("month", 2000)], KEYS)
    assert greatest_newest_age(plan.volumes, {}, NOW) is None
