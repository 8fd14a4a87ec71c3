from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from lambda_function.inputs.policy import Parameter, parse_policies
from lambda_function.model.ec2 import Snapshot, SnapshotState, Volume
from lambda_function.model.period import Period, RetentionRule
from lambda_function.model.request import RunRequest
from lambda_function.model.result import Outcome
from lambda_function.model.tags import TagKeys
from lambda_function.plan.due import greatest_newest_age, plan_run

KEYS = TagKeys("AUTO-SNAPSHOT")
NOW = datetime(2026, 3, 4, 0, 15, tzinfo=UTC)  # a Wednesday
POLICIES = parse_policies(
    [
        Parameter("/p/ALL", '{"hour": 2, "day": 5, "week": 52, "month": 0}'),
        Parameter("/p/ATTACHED", '{"day": 1, "only_attached_vols": true}'),
        Parameter("/p/BROKEN", '{"day": -1}'),
        Parameter("/p/ONCE", '{"hour": 1, "day": 1, "week": 1, "month": 1}'),
        Parameter("/p/NODAY", '{"day": 0, "week": 1}'),
        Parameter("/p/WEEKLY", '{"week": 1}'),
    ]
)


def volume(policy="ALL", state="available", instances=(), key="AUTO-SNAPSHOT", number=1):
    return Volume(f"vol-{number:08x}", state, {key: policy}, instances)


def snapshot(periods, minutes_ago, state=SnapshotState.COMPLETED, policy="ALL", number=1, volume_id="vol-00000001"):
    return Snapshot(
        f"snap-{number:08x}", volume_id, NOW - timedelta(minutes=minutes_ago), state, tuple(periods.split()), policy
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
    listed = [snapshot(periods, minutes, number=n) for n, (periods, minutes) in enumerate(snapshots)]
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
def test_a_pending_snapshot_is_shared_and_a_failed_one_is_not(state, outcome):
    assert plan_one(volume(), snapshot("hour", 5, SnapshotState(state))).outcome == outcome


def test_the_newest_of_several_candidates_is_shared():
    plan = plan_one(
        volume(), snapshot("hour", 9, number=1), snapshot("hour", 3, number=2), snapshot("hour", 6, number=3)
    )
    assert plan.slot_snapshot.id == "snap-00000002"


@pytest.mark.parametrize(
    ("snapshots", "joining"),
    [
        pytest.param([("hour", 10)], ("day", "week"), id="the day is due as well and would share the same one"),
        pytest.param([("hour", 5), ("day", 10)], ("week",), id="the day is done"),
        pytest.param([("hour day", 10)], ("week",), id="the day has joined it already"),
    ],
)
def test_a_longer_period_writes_the_word_of_a_shorter_due_one(snapshots, joining):
    """It writes its own as well."""
    listed = [snapshot(periods, minutes, number=n) for n, (periods, minutes) in enumerate(snapshots)]
    assert plan_one(volume(), *listed, period="week").joining == joining


@pytest.mark.parametrize("policy", [None, "FORMER"])
def test_foreign_snapshots_are_never_shared(policy):
    """They come from the old script or from another policy."""
    assert plan_one(volume(), snapshot("hour", 5, policy=policy)).outcome == Outcome.WOULD_CREATE


@pytest.mark.parametrize("policy", [None, "FORMER"])
def test_a_snapshot_of_another_origin_makes_the_slot_done(policy):
    """It comes from the old script or from a former policy."""
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
def test_volumes_are_selected_by_tag_state_and_attachment(volume, outcome, reason):
    plan = plan_one(volume)
    assert plan.outcome == outcome
    assert reason in plan.reason


@pytest.mark.parametrize("name", ["ALLL", "BROKEN", "ATTACHED"])
def test_what_is_outside_unknown_or_faulty_is_never_pruned(name):
    assert plan_one(volume(name), snapshot("day", 5)).rule is None


def test_a_misspelt_key_selects_nothing_and_is_named():
    plan = plan_run(RunRequest(Period.DAY, NOW), POLICIES, [volume(key="auto-snapshot")], [], KEYS)
    assert plan.volumes == ()
    assert plan.misspelt == ('vol-00000001: its tag "auto-snapshot" selects nothing; the key is AUTO-SNAPSHOT',)


def test_orphaned_snapshots_are_only_counted():
    """Their volumes are gone or no longer tagged."""
    snapshots = [snapshot("day", 5, volume_id="vol-gone", number=n) for n in range(3)]
    plan = plan_run(
        RunRequest(Period.DAY, NOW), POLICIES, [volume()], [*snapshots, snapshot("hour", 5, number=9)], KEYS
    )
    assert plan.orphaned == 3


def test_failed_snapshots_are_named():
    failed = snapshot("day", 5, SnapshotState.ERROR)
    assert plan_run(RunRequest(Period.DAY, NOW), POLICIES, [volume()], [failed], KEYS).failed_snapshots == (failed,)


def test_only_the_requested_policies_and_volumes_are_planned():
    """Typos are reported."""
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


@pytest.mark.parametrize("fields", [{}, {"force": True}, {"dry_run": True}], ids=["plain", "forced", "dry run"])
@pytest.mark.parametrize(
    ("volume", "period", "why"),
    [
        pytest.param(
            volume("WEEKLY"), "hour", "policy WEEKLY does not manage hourly snapshots", id="an unmanaged period"
        ),
        pytest.param(
            volume("ATTACHED"), "day", "the policy wants attached volumes only; this one is detached", id="detached"
        ),
        pytest.param(
            volume("ALL", "creating"), "hour", "the volume is creating, not in-use or available", id="not ready"
        ),
        pytest.param(
            volume("ALLL"), "hour", 'its tag names "ALLL", which is no policy; did you mean "ALL"?', id="no policy"
        ),
    ],
)
def test_a_volume_asked_for_that_can_get_nothing_is_missing(volume, period, why, fields):
    """A run that does not name it passes over it."""
    asked = RunRequest(Period(period), NOW, volumes=(volume.id,), **fields)
    assert plan_run(asked, POLICIES, [volume], [], KEYS).missing == (f"{volume.id}: asked for, but {why}",)
    assert plan_run(RunRequest(Period(period), NOW, **fields), POLICIES, [volume], [], KEYS).missing == ()


@pytest.mark.parametrize(
    ("policy", "period", "snapshots"),
    [
        pytest.param("ALL", "day", [], id="due"),
        pytest.param("ALL", "day", [snapshot("day", 5)], id="already done"),
        pytest.param("ALL", "day", [snapshot("hour", 5)], id="shared"),
        pytest.param("ALL", "month", [], id="its policy keeps 0"),
        pytest.param("BROKEN", "day", [], id="its policy is faulty, which fails the run by itself"),
    ],
)
def test_a_volume_asked_for_and_served_is_not_missing(policy, period, snapshots):
    asked = RunRequest(Period(period), NOW, volumes=("vol-00000001",))
    assert plan_run(asked, POLICIES, [volume(policy)], snapshots, KEYS).missing == ()


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
def test_the_age_is_that_of_the_volume_worst_off(of_volumes, minutes):
    """It is the age of that volume's newest snapshot."""
    listed = [
        snapshot(
            periods, ago, SnapshotState(*state or ["completed"]), number=10 * each + n, volume_id=f"vol-{each:08x}"
        )
        for each, rows in of_volumes.items()
        for n, (periods, ago, *state) in enumerate(rows)
    ]
    volumes = [volume(number=each) for each in of_volumes]
    plan = plan_run(RunRequest(Period.DAY, NOW), POLICIES, volumes, listed, KEYS)
    assert greatest_newest_age(plan.volumes, {}, NOW) == (None if minutes is None else minutes * 60)


def test_a_snapshot_of_this_run_counts_as_the_newest():
    """A policy that keeps none has no age."""
    made = snapshot("day", 0, number=9)
    plan = plan_run(RunRequest(Period.DAY, NOW), POLICIES, [volume()], [snapshot("day", 2000)], KEYS)
    assert greatest_newest_age(plan.volumes, {"vol-00000001": made}, NOW) == 0
    plan = plan_run(RunRequest(Period.MONTH, NOW), POLICIES, [volume()], [snapshot("month", 2000)], KEYS)
    assert greatest_newest_age(plan.volumes, {}, NOW) is None


@pytest.mark.parametrize(
    ("what", "period", "snapshots", "reason"),
    [
        pytest.param({}, "day", [], "none started in this day yet", id="due"),
        pytest.param(
            {},
            "day",
            [("day", 10)],
            "snap-00000000 was started in this day (2026-03-04 00:05)",
            id="already done",
        ),
        pytest.param(
            {},
            "day",
            [("day", 5, "error")],
            "none started in this day yet; by itself, not in a set, since snap-00000000 of 2026-03-04 00:10 failed",
            id="the last one failed",
        ),
        pytest.param(
            {},
            "day",
            [("day", 2000, "error"), ("hour", 1990)],
            "none started in this day yet",
            id="one failed before the last one",
        ),
        pytest.param(
            {},
            "day",
            [("hour week", 10)],
            "snap-00000000 was taken for the hour at 2026-03-04 00:05",
            id="shared",
        ),
        pytest.param(
            {},
            "week",
            [("hour", 10)],
            "snap-00000000 was taken for the hour at 2026-03-04 00:05; the day was due as well",
            id="shared by two",
        ),
        pytest.param(
            {"policy": "ONCE"},
            "month",
            [("hour", 10)],
            "snap-00000000 was taken for the hour at 2026-03-04 00:05"
            "; the day was due as well; the week was due as well",
            id="shared by three",
        ),
        pytest.param({}, "month", [], "policy ALL keeps no monthly snapshots", id="none kept"),
        pytest.param({}, "year", [], "policy ALL does not manage yearly snapshots", id="absent"),
        pytest.param(
            {"state": "creating"}, "day", [], "the volume is creating, not in-use or available", id="not usable"
        ),
        pytest.param(
            {"policy": "ATTACHED"},
            "day",
            [],
            "the policy wants attached volumes only; this one is detached",
            id="detached",
        ),
        pytest.param(
            {"policy": "BROKEN"}, "day", [], "policy BROKEN is faulty: nothing created, nothing deleted", id="faulty"
        ),
        pytest.param(
            {"policy": "ALLL"},
            "day",
            [],
            'its tag names "ALLL", which is no policy; did you mean "ALL"?',
            id="unknown",
        ),
    ],
)
def test_every_decision_is_reported_with_its_reason(what, period, snapshots, reason):
    listed = [
        snapshot(periods, ago, SnapshotState(*state or ["completed"]), what.get("policy", "ALL"), n)
        for n, (periods, ago, *state) in enumerate(snapshots)
    ]
    plan = plan_one(volume(**what), *listed, period=period)
    assert (plan.policy_name, plan.reason) == (what.get("policy", "ALL"), reason)


def test_the_reason_names_force_or_an_earlier_delivery():
    """A forced event that is delivered again names the snapshot started since its time."""
    assert plan_one(volume(), force=True).reason == "forced"
    done = plan_one(volume(), snapshot("day", 0), force=True)
    assert done.outcome == Outcome.ALREADY_DONE
    assert done.reason == "snap-00000001 was started since the forced event's time (2026-03-04 00:15)"


def test_a_decision_names_its_policy_and_what_decided_it():
    listed = [snapshot("hour", 30, number=1), snapshot("day", 10, number=2), snapshot("hour day", 2000, number=3)]
    plan = plan_one(volume(), *listed)
    assert (plan.policy_name, plan.policy, plan.rule) == ("ALL", POLICIES.valid["ALL"], RetentionRule(Period.DAY, 5))
    assert (plan.slot_snapshot, plan.snapshots, plan.joining) == (listed[1], tuple(listed[1:]), ())
    for outside in (volume("ATTACHED"), volume("ATTACHED", "creating")):
        assert plan_one(outside).policy == POLICIES.valid["ATTACHED"]
    assert plan_one(volume(), period="year").policy == POLICIES.valid["ALL"]
    unknown = plan_one(volume("ALLL"))
    assert (unknown.volume, unknown.policy_name, unknown.policy) == (volume("ALLL"), "ALLL", None)


def test_the_newest_of_several_snapshots_serves_the_slot():
    listed = [snapshot("day", 9, number=1), snapshot("day", 3, number=2), snapshot("day", 6, number=3)]
    assert plan_one(volume(), *listed).slot_snapshot == listed[1]


def test_the_greater_id_wins_between_two_of_one_second():
    """It serves and is shared, in whatever order they come."""
    for periods in ("day", "hour"):
        listed = [snapshot(periods, 5, number=n) for n in (1, 3, 2)]
        assert plan_one(volume(), *listed).slot_snapshot == listed[1]


def test_one_of_exactly_an_hour_ago_is_shared():
    assert plan_one(volume(), snapshot("hour", 60), period="week").outcome == Outcome.WOULD_SHARE


def test_a_snapshot_with_a_tag_full_of_words_is_not_shared():
    """The words are other tools'."""
    assert plan_one(volume(), snapshot("hour " + "w" * 245, 5)).outcome == Outcome.WOULD_CREATE


@pytest.mark.parametrize(
    ("policy", "period", "periods", "joining"),
    [
        pytest.param("ONCE", "week", "hour", ("day", "week"), id="a policy that keeps one"),
        pytest.param("NODAY", "week", "hour", ("week",), id="a policy that keeps none for the day"),
        pytest.param("WEEKLY", "week", "hour", ("week",), id="a policy that does not mention the day"),
        pytest.param("ONCE", "month", "week", ("month",), id="the day and the hour cannot join a week's"),
        pytest.param("ONCE", "month", "hour", ("day", "week", "month"), id="shortest first"),
        pytest.param("ONCE", "day", "hour", ("day",), id="none is due besides"),
    ],
)
def test_only_shorter_periods_sharing_the_snapshot_are_written(policy, period, periods, joining):
    """Another shorter period may share another snapshot."""
    plan = plan_one(volume(policy), snapshot(periods, 5, policy=policy), period=period)
    assert plan.joining == tuple(Period(each) for each in joining)


def test_unselected_volumes_hide_no_selected_one():
    """All come in the order of their ids."""
    volumes = [
        volume(number=4),
        volume(number=3),
        volume(number=2, key="auto-snapshot"),
        volume(number=1, key="Name"),
    ]
    plan = plan_run(RunRequest(Period.DAY, NOW), POLICIES, volumes, [], KEYS)
    assert [each.volume.id[-1] for each in plan.volumes] == ["3", "4"]
    assert len(plan.misspelt) == 1


def test_snapshots_of_volumes_not_requested_are_no_orphans():
    """Only the requested volumes are planned."""
    volumes = [volume(number=1), volume(number=2)]
    listed = [snapshot("day", 5, number=n, volume_id=each.id) for n, each in enumerate(volumes)]
    plan = plan_run(RunRequest(Period.DAY, NOW, volumes=(volumes[1].id,)), POLICIES, volumes, listed, KEYS)
    assert [each.volume.id for each in plan.volumes] == [volumes[1].id]
    assert plan.missing == ()
    assert plan.orphaned == 0
    assert plan.volumes[0].snapshots == (listed[1],)


def test_failed_snapshots_of_every_period_and_volume_are_named():
    """They are in the order of their ids, and once each where both lists have them."""
    error = SnapshotState.ERROR
    first = snapshot("day", 6, error, number=1, volume_id="vol-gone")
    second = snapshot("week", 7, error, number=2)
    plan = plan_run(
        RunRequest(Period.DAY, NOW),
        POLICIES,
        [volume()],
        [first, snapshot("day", 8, number=4)],
        KEYS,
        (),
        [second, first],
    )
    assert plan.failed_snapshots == (first, second)


def test_a_volume_that_keeps_none_does_not_hide_the_next_age():
    """Its policy keeps none."""
    volumes = [volume("NODAY", number=1), volume(number=2)]
    listed = [snapshot("day", 30, volume_id=volumes[1].id)]
    plan = plan_run(RunRequest(Period.DAY, NOW), POLICIES, volumes, listed, KEYS)
    assert greatest_newest_age(plan.volumes, {}, NOW) == 30 * 60


def test_a_snapshot_not_good_that_is_meant_to_serve_is_no_newest():
    plan = plan_run(RunRequest(Period.DAY, NOW), POLICIES, [volume()], [snapshot("day", 90)], KEYS)
    failed = snapshot("day", 1, SnapshotState.ERROR, number=9)
    assert greatest_newest_age(plan.volumes, {"vol-00000001": failed}, NOW) == 90 * 60
