"""How volumes stand: a table of sentences, invariants, and a run after which nothing is overdue."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_function.inputs.policy import Parameter, parse_policies
from lambda_function.model.ec2 import Consistency, Snapshot, SnapshotState, Volume
from lambda_function.model.period import Period, slot
from lambda_function.model.tags import TagKeys
from lambda_function.plan.protection import GRACE, Status, judge_volumes, summary
from tests.support.campaign import examples
from tests.support.cloud import FakeCloud

KEYS = TagKeys("AUTO-SNAPSHOT")
NOW = datetime(2026, 3, 4, 10, 2, tzinfo=UTC)  # a Wednesday, two minutes after a slot began
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
POLICIES = {
    "HOURLY": '{"hour": 2}',
    "DAILY": '{"day": 3}',
    "WEEKLY": '{"week": 3}',
    "YEARLY": '{"year": 1}',
    "BOTH": '{"hour": 2, "day": 2}',
    "ATTACHED": '{"day": 3, "only_attached_vols": true}',
    "ZERO": '{"hour": 0, "day": 0}',
    "SOME": '{"hour": 0, "day": 2}',
    "HOOKED": '{"hour": 2, "hook_document": "DOC"}',
    "FAULTY": '{"hour": "2"}',
}
PARSED = parse_policies([Parameter(f"/p/{name}", value) for name, value in POLICIES.items()])


def volume(policy="HOURLY", *, number=1, attached=True, state=None, created=LONG_AGO, key="AUTO-SNAPSHOT"):
    state = state or ("in-use" if attached else "available")
    return Volume(f"vol-{number}", state, {key: policy}, ("i-1",) if attached else (), created)


def snapshot(started, periods="hour", state="completed", *, number=1, of="vol-1", consistency=None, policy="HOURLY"):
    moment = NOW - started if isinstance(started, timedelta) else started
    words = tuple(periods.split())
    return Snapshot(
        f"snap-{number}", of, moment, SnapshotState(state), words, policy, consistency, has_our_description=True
    )


def judge(volumes, snapshots=(), now=NOW, **options):
    return judge_volumes(now, PARSED, volumes, snapshots, KEYS, **options)


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def minutes(number):
    return timedelta(minutes=number)


STANDINGS = [
    # The hour
    ("the last hour's snapshot protects when a new hour has just begun", "HOURLY", [("09:05", "hour")], "protected"),
    ("after two hours without one nothing is overdue yet", "HOURLY", [("07:05", "hour")], "protected"),
    ("after three hours of grace the hour is overdue", "HOURLY", [("06:05", "hour")], "overdue"),
    ("a pending one protects", "HOURLY", [("10:01", "hour", "pending")], "protected"),
    ("a failed one protects nobody", "HOURLY", [("10:01", "hour", "error")], "unprotected"),
    (
        "a failed one does not hide the good one before it",
        "HOURLY",
        [("09:05", "hour"), ("10:01", "hour", "error")],
        "protected",
    ),
    ("what lies in the Recycle Bin protects nobody", "HOURLY", [("09:05", "hour", "recoverable")], "unprotected"),
    # Longer periods
    ("yesterday's serves while today's rule has not fired", "DAILY", [("2026-03-03 00:15", "day")], "protected"),
    ("one missed day is not yet overdue", "DAILY", [("2026-03-02 00:15", "day")], "protected"),
    ("two missed days are overdue", "DAILY", [("2026-03-01 00:15", "day")], "overdue"),
    ("last week's serves until two days into this one", "WEEKLY", [("2026-02-27 00:25", "week")], "overdue"),
    ("this week's serves to the end of the week", "WEEKLY", [("2026-03-02 00:25", "week")], "protected"),
    ("last year's is overdue in March", "YEARLY", [("2025-06-01 00:45", "year")], "overdue"),
    ("this year's is not overdue in March", "YEARLY", [("2026-01-01 00:45", "year")], "protected"),
    # Several periods
    ("one snapshot may serve two periods", "BOTH", [("2026-03-04 09:05", "hour day")], "protected"),
    ("a day without any is overdue beside a good hour", "BOTH", [("09:05", "hour")], "overdue"),
    (
        "an hour that stopped is overdue beside a good day",
        "BOTH",
        [("2026-03-04 00:05", "day"), ("05:05", "hour")],
        "overdue",
    ),
    ("a snapshot kept for another period does not count", "DAILY", [("09:05", "hour")], "unprotected"),
    ("a snapshot of a period that the policy sets to 0 does not count", "SOME", [("09:05", "hour")], "unprotected"),
    ("a policy that keeps none asks for nothing", "ZERO", [("09:05", "hour")], "not due"),
    ("a word of another tool counts for nothing", "HOURLY", [("09:05", "monthly")], "unprotected"),
    ("a snapshot taken under a former policy counts", "DAILY", [("2026-03-04 00:15", "day")], "protected"),
    ("without any snapshot an old volume is unprotected", "DAILY", [], "unprotected"),
]


def row(number, text, periods, state="completed"):
    return snapshot(at(text if " " in text else f"2026-03-04 {text}"), periods, state, number=number, policy="FORMER")


@pytest.mark.parametrize(
    ("policy", "rows", "expected"), [each[1:] for each in STANDINGS], ids=[e[0] for e in STANDINGS]
)
def test_how_a_volume_stands(policy, rows, expected):
    report = judge([volume(policy)], [row(number, *each) for number, each in enumerate(rows)])
    (only,) = report.volumes
    assert only.status == expected
    assert report.is_well == (expected not in ("overdue", "unprotected"))
    assert bool(only.reason) == (expected != "protected")


@pytest.mark.parametrize(
    ("which", "expected", "reason"),
    [
        pytest.param(volume("NOPE"), "unprotected", '"NOPE", which is no policy', id="its tag names no policy"),
        pytest.param(volume("HOURLi"), "unprotected", 'did you mean "HOURLY"?', id="its tag is a typo"),
        pytest.param(volume("FAULTY"), "unprotected", "policy FAULTY is faulty", id="its policy is faulty"),
        pytest.param(volume(key="auto-snapshot"), "unprotected", "the key is AUTO-SNAPSHOT", id="its key is misspelt"),
        pytest.param(volume("ATTACHED", attached=False), "outside policy", "detached", id="it is detached"),
        pytest.param(volume("ATTACHED", created=NOW - minutes(50)), "waiting", "first", id="it was just created"),
        pytest.param(volume(state="error"), "outside policy", "the volume is error", id="its state is error"),
        pytest.param(volume(state="creating", created=NOW), "outside policy", "creating", id="it is being created"),
        pytest.param(volume(created=None), "unprotected", "no usable snapshot", id="nobody knows when it was created"),
        pytest.param(volume(created=NOW - GRACE[Period.HOUR]), "waiting", "first", id="its grace just ends"),
        pytest.param(
            volume(created=NOW - GRACE[Period.HOUR] - minutes(1)), "unprotected", "no usable", id="it is over"
        ),
        pytest.param(volume(key="AUTO-SNAPSHOTS", created=NOW), "waiting", "first", id="its key has an s"),
    ],
)
def test_how_a_volume_without_snapshots_stands_when(which, expected, reason):
    (only,) = judge([which]).volumes
    assert (only.status, reason in only.reason) == (expected, True), only.reason


def test_a_detached_volume_still_shows_its_snapshots():
    """Its policy excludes detached volumes."""
    old = snapshot(timedelta(days=90), "day")
    (only,) = judge([volume("ATTACHED", attached=False)], [old]).volumes
    assert only.status == "outside policy"
    assert only.periods[0].newest == old


@pytest.mark.parametrize("period", Period)
def test_a_period_is_overdue_from_the_end_of_its_grace(period):
    """It is not overdue a moment before."""
    policies = parse_policies([Parameter("/p/P", f'{{"{period}": 1}}')])
    held = snapshot(NOW, period.value)
    ends = slot(period, NOW)[1] + GRACE[period]

    def status(now):
        return judge_volumes(now, policies, [volume("P")], [held], KEYS).volumes[0].status

    assert (status(NOW), status(ends), status(ends + minutes(1))) == ("protected", "protected", "overdue")


def test_the_newest_failed_snapshot_is_named():
    """It is named until a good one follows."""
    failed, good = snapshot(minutes(2), state="error", number=2), snapshot(minutes(60), number=1)
    (only,) = judge([volume()], [failed, good]).volumes
    assert only.warnings == ("snap-2 of 2026-03-04 10:00 failed",)
    later = snapshot(minutes(1), number=3)
    assert judge([volume()], [failed, good, later]).volumes[0].warnings == ()


def test_a_snapshot_pending_for_over_a_day_is_named():
    """Its start time is given."""
    slow = snapshot(timedelta(hours=25), "hour day", "pending")
    (only,) = judge([volume("DAILY")], [slow]).volumes
    assert only.status == "protected"
    assert only.warnings == ("snap-1 is pending since 2026-03-03 09:02",)


@pytest.mark.parametrize(
    ("policy", "consistency", "age", "warned"),
    [
        pytest.param("HOOKED", Consistency.CRASH, 57, True, id="a hook that did not prove it is named"),
        pytest.param("HOOKED", Consistency.CRASH, 10, False, id="its run may still prove it"),
        pytest.param("HOOKED", Consistency.APPLICATION, 57, False, id="a hook that did is not"),
        pytest.param("HOOKED", Consistency.OFFLINE, 57, False, id="nothing ran there"),
        pytest.param("HOURLY", Consistency.CRASH, 57, False, id="no hook was asked for"),
    ],
)
def test_a_crash_consistent_snapshot_under_a_hook_is_a_warning(policy, consistency, age, warned):
    report = judge([volume(policy)], [snapshot(minutes(age), consistency=consistency)])
    (only,) = report.volumes
    assert only.consistency == consistency
    assert report.is_well
    assert [w for w in only.warnings if "DOC did not prove it" in w] == list(only.warnings)
    assert bool(only.warnings) == warned


def test_orphaned_snapshots_are_counted():
    """Their volumes are gone, untagged or misspelt."""
    left = [snapshot(minutes(60), of=each, number=n) for n, each in enumerate(["vol-1", "vol-2", "vol-3", "vol-3"])]
    report = judge([volume(), volume(key="auto-snapshot", number=2)], left)
    assert report.orphaned_snapshots == 3


def test_only_the_requested_policies_and_volumes_are_judged():
    """Typos are reported."""
    fleet = [volume(number=1), volume("DAILY", number=2), volume("NOPE", number=3), volume(number=4)]
    report = judge(fleet, only_policies=("HOURLY",), only_volumes=("vol-1", "vol-3", "vol-9"))
    assert [each.volume_id for each in report.volumes] == ["vol-1", "vol-3"]
    assert report.faults == ("vol-9: asked for, but not found",)
    assert not report.is_well


def test_faults_of_policies_alone_need_attention():
    assert not judge([], faults=["policy FAULTY: ..."]).is_well
    assert judge([]).is_well


VOLUMES = st.builds(
    volume,
    st.sampled_from([*POLICIES, "NOPE"]),
    number=st.integers(1, 9),
    attached=st.booleans(),
    state=st.sampled_from(["in-use", "available", "error"]),
    created=st.sampled_from([None, LONG_AGO, NOW - minutes(5), NOW + minutes(5)]),
    key=st.sampled_from(["AUTO-SNAPSHOT", "AUTO-SNAPSHOTS", "auto-snapshot"]),
)
SNAPSHOTS = st.lists(
    st.builds(
        snapshot,
        st.integers(-60, 60 * 24 * 400).map(minutes),
        st.sets(st.sampled_from([*Period, "other"]), min_size=1).map(" ".join),
        st.sampled_from(list(SnapshotState)),
        number=st.integers(1, 10**6),
        of=st.integers(1, 12).map("vol-{}".format),
        consistency=st.sampled_from([None, *Consistency]),
    ),
    max_size=25,
    unique_by=lambda each: each.id,
)
FLEETS = st.lists(VOLUMES, max_size=9, unique_by=lambda each: each.id)


@given(FLEETS, SNAPSHOTS, st.randoms(use_true_random=False))
def test_the_order_in_which_ec2_lists_does_not_matter(fleet, snapshots, chance):
    shuffled_fleet, shuffled = chance.sample(fleet, len(fleet)), chance.sample(snapshots, len(snapshots))
    assert judge(shuffled_fleet, shuffled) == judge(fleet, snapshots)


@given(FLEETS, SNAPSHOTS)
def test_every_volume_is_counted_once_and_every_problem_says_why(fleet, snapshots):
    report = judge(fleet, snapshots)
    assert [each.volume_id for each in report.volumes] == sorted(each.id for each in fleet)
    assert sum(report.count(status) for status in Status) == len(fleet) == summary(report)["volumes"]
    assert all(each.reason for each in report.volumes if each.status.is_problem)


@given(FLEETS, SNAPSHOTS, st.integers(0, 60 * 24 * 800).map(minutes))
def test_time_alone_never_makes_a_problem_go_away(fleet, snapshots, later):
    before, after = judge(fleet, snapshots), judge(fleet, snapshots, NOW + later)
    for old, new in zip(before.volumes, after.volumes, strict=True):
        assert not old.status.is_problem or new.status.is_problem


@given(FLEETS, SNAPSHOTS)
def test_a_good_snapshot_for_all_periods_ends_every_overdue(fleet, snapshots):
    """The snapshot was started now."""
    fresh = [snapshot(NOW, " ".join(Period), number=10**7 + n, of=each.id) for n, each in enumerate(fleet)]
    report = judge(fleet, [*snapshots, *fresh])
    assert report.count(Status.OVERDUE) == 0
    for each in report.volumes:
        assert each.status is not Status.UNPROTECTED or each.policy in (None, "NOPE", "FAULTY")


@examples(100, 20, 10)
@given(st.integers(0, 60 * 24 * 700).map(lambda number: NOW + minutes(number)))
def test_nothing_is_overdue_after_a_run_of_all_periods(moment):
    """The run was successful."""
    cloud = FakeCloud(policies={"P": '{"hour": 1, "day": 1, "week": 1, "month": 1, "year": 1}'})
    cloud.clock.now = moment
    cloud.volume(1)
    cloud.volume(2, instance="i-1")
    for period in Period:
        cloud.clock.now += minutes(2)  # the rules come ten minutes apart; near midnight two slots may be touched
        assert not cloud.run(period).failures
    report = judge_volumes(
        cloud.clock.now, parse_policies(cloud.read()), cloud.list_volumes(), cloud.list_snapshots(tuple(Period)), KEYS
    )
    assert report.is_well
    assert report.count(Status.PROTECTED) == 2


def test_ten_thousand_volumes_are_judged_volume_by_volume():
    fleet = [volume("BOTH", number=n) for n in range(10_000)]
    held = [
        snapshot(minutes(60 * k), "hour day", number=10 * n + k, of=f"vol-{n}") for n in range(10_000) for k in range(4)
    ]
    random.Random(4).shuffle(held)
    report = judge(fleet, held)
    assert report.count(Status.PROTECTED) == 10_000
