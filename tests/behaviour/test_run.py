"""Whole runs against EC2 in memory: what the seed and the design promise."""

from __future__ import annotations

from datetime import timedelta

import pytest

from lambda_function.errors import AwsError, ConfigurationError
from lambda_function.inputs.policy import Parameter
from lambda_function.model.ec2 import SnapshotState
from lambda_function.model.period import Period
from lambda_function.model.result import Outcome
from tests.support.cloud import KEYS, FakeCloud, refused

HOURS = [timedelta(hours=n) for n in range(10)]


@pytest.fixture
def cloud():
    return FakeCloud(policies={"P": '{"hour": 2}'})


def outcomes(report):
    return {result.volume_id: result.outcome.value for result in report.volumes}


def test_a_tagged_volume_gets_a_snapshot_and_loses_the_surplus(cloud):
    volume = cloud.volume(1, Name="db")
    for age in HOURS[1:4]:
        cloud.snapshot(volume, "hour", age)
    report = cloud.run("hour")
    assert outcomes(report) == {volume.id: "created"}
    assert [s.start_time for s in cloud.of(volume)] == [cloud.clock.now - HOURS[1], cloud.clock.now]
    tags = cloud.of(volume)[-1].tags
    assert tags == {
        "AUTO-SNAPSHOT": "P",
        "Name": "db",
        "AUTO-SNAPSHOT-PERIOD": "hour",
        "AUTO-SNAPSHOT-CONSISTENCY": "offline",
        "AUTO-SNAPSHOT-SET": tags["AUTO-SNAPSHOT-SET"],
    }
    assert not report.failures


@pytest.mark.parametrize(("period", "count"), [("hour", 2), ("day", 5), ("week", 52), ("month", 1), ("year", 3)])
def test_the_last_n_are_left(period, count):
    cloud = FakeCloud(policies={"P": f'{{"{period}": {count}}}'})
    volume = cloud.volume(1)
    for n in range(1, 60):
        cloud.snapshot(volume, period, timedelta(days=366 * n))
    cloud.run(period)
    ages = [(cloud.clock.now - s.start_time).days // 366 for s in cloud.of(volume)]
    assert ages == list(range(count - 1, -1, -1))


def test_zero_creates_none_and_deletes_what_exists():
    cloud = FakeCloud(policies={"P": '{"month": 0, "day": 1}'})
    volume = cloud.volume(1)
    cloud.snapshot(volume, "month", HOURS[3])
    shared = cloud.snapshot(volume, "day month", HOURS[2])
    report = cloud.run("month")
    assert cloud.of(volume) == [shared]
    assert shared.tags[KEYS.period] == "day"
    assert (report.count(Outcome.CREATED), report.count(Outcome.NOT_DUE)) == (0, 1)


def test_a_period_that_the_policy_does_not_mention_is_left_alone(cloud):
    volume = cloud.volume(1)
    old = cloud.snapshot(volume, "week", timedelta(days=900))
    report = cloud.run("week")
    assert cloud.of(volume) == [old]
    assert cloud.writes() == []
    assert outcomes(report) == {volume.id: "not due"}


def test_running_twice_in_a_slot_adds_nothing(cloud):
    for n in range(3):
        cloud.volume(n)
    cloud.run("hour")
    writes = cloud.writes()
    report = cloud.run("hour")
    assert cloud.writes() == writes
    assert set(outcomes(report).values()) == {"already done"}


def test_a_repeated_run_redoes_only_what_is_missing(cloud):
    good, bad = cloud.volume(1), cloud.volume(2)

    def fail(operation, target):
        if target == bad.id:
            raise refused(operation)

    cloud.before = fail
    first = cloud.run("hour")
    cloud.before = lambda operation, target: None
    second = cloud.run("hour")
    assert outcomes(first) == {good.id: "created", bad.id: "failed"}
    assert outcomes(second) == {good.id: "already done", bad.id: "created"}
    assert len(first.failures) == 1
    assert bad.id in first.failures[0]


def test_force_adds_a_snapshot_to_a_slot_that_is_done(cloud):
    """It pushes no other slot out, and goes with its own."""
    volume = cloud.volume(1)
    before = cloud.snapshot(volume, "hour", timedelta(hours=1))
    for _ in range(4):
        cloud.clock.now += timedelta(minutes=1)
        cloud.run("hour", force=True)
    assert len(cloud.of(volume)) == 5
    assert before.id in cloud.snapshots
    for kept in (5, 2):
        cloud.clock.now += timedelta(hours=1)
        cloud.run("hour")
        assert len(cloud.of(volume)) == kept


def test_the_first_night_of_a_month_needs_one_snapshot():
    """All periods share it."""
    cloud = FakeCloud(policies={"P": '{"hour": 24, "day": 7, "week": 4, "month": 12, "year": 3}'})
    volume = cloud.volume(1)
    for period in Period:
        cloud.run(period)
        cloud.clock.now += timedelta(minutes=10)
    (only,) = cloud.of(volume)
    assert only.tags[KEYS.period] == "hour day week month year"
    assert cloud.calls("CreateSnapshot") == 1


def test_a_shared_snapshot_stays_until_its_last_period_releases():
    cloud = FakeCloud(policies={"P": '{"hour": 1, "day": 1}'})
    volume = cloud.volume(1)
    cloud.run("hour")
    cloud.clock.now += timedelta(minutes=10)
    cloud.run("day")
    (shared,) = cloud.of(volume)
    cloud.clock.now += timedelta(minutes=50)
    cloud.run("hour")
    assert shared.tags[KEYS.period] == "day"
    cloud.clock.now += timedelta(days=1)
    cloud.run("day")
    assert shared.id not in cloud.snapshots


def test_any_number_of_policies_is_served():
    cloud = FakeCloud(policies={f"P{n}": '{"hour": 1}' for n in range(300)})
    for n in range(300):
        cloud.volume(n, f"P{n}")
    assert cloud.run("hour").count(Outcome.CREATED) == 300


def test_nothing_without_our_key_is_touched(cloud):
    """The old script's snapshots have the key, and count."""
    volume = cloud.volume(1)
    old = [cloud.snapshot(volume, "hour", age, policy=None) for age in HOURS[1:4]]
    foreign = cloud.snapshot(volume, "hour", HOURS[5])
    foreign.tags = {"AUTO-SNAPSHOT": "P", "made-by": "someone"}
    before = dict(foreign.tags)
    cloud.run("hour")
    assert [s.id for s in cloud.of(volume)[:2]] == [foreign.id, old[0].id]
    assert foreign.tags == before
    assert len(cloud.of(volume)) == 3


def test_a_word_that_is_no_period_of_ours_keeps_its_snapshot(cloud):
    volume = cloud.volume(1)
    other = cloud.snapshot(volume, "hour fortnight", HOURS[9])
    for age in HOURS[1:3]:
        cloud.snapshot(volume, "hour", age)
    cloud.run("hour")
    assert other.tags[KEYS.period] == "fortnight"
    cloud.clock.now += HOURS[1]
    cloud.run("hour")
    assert other.id in cloud.snapshots


def test_volumes_of_one_instance_are_taken_in_one_call(cloud):
    """So they are taken at one instant."""
    volumes = [cloud.volume(n, instance="i-1") for n in (1, 2, 3)]
    cloud.volume(4, None, instance="i-1")
    report = cloud.run("hour")
    assert cloud.calls("CreateSnapshots") == 1
    assert cloud.calls("CreateSnapshot") == 0
    assert {s.volume_id for s in cloud.snapshots.values()} == {v.id for v in volumes}
    assert all(r.consistency == "crash" for r in report.volumes)


def test_a_faulty_policy_harms_no_other_and_costs_no_snapshot():
    cloud = FakeCloud(policies={"P": '{"hour": 1}', "BAD": '{"hour": "1"}'})
    good, bad = cloud.volume(1), cloud.volume(2, "BAD")
    kept = [cloud.snapshot(bad, "hour", age, policy="BAD") for age in HOURS[1:5]]
    report = cloud.run("hour")
    assert outcomes(report) == {good.id: "created", bad.id: "faulty policy"}
    assert cloud.of(bad) == kept[::-1]
    assert report.failures == (
        '/auto-snapshots/policies/BAD: field "hour": "1": must be an integer, 0 or more, or leave it out',
    )


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        ({}, "no policy under /auto-snapshots/policies/"),
        ({"P": "{}"}, "no policy is valid:\n- /auto-snapshots/policies/P: names no period"),
        ({"P": Parameter("/auto-snapshots/policies/P", error="no key", secure=True)}, "no key"),
    ],
)
def test_without_a_readable_policy_nothing_is_created_or_deleted(policies, expected):
    cloud = FakeCloud(policies=policies)
    cloud.snapshot(cloud.volume(1), "hour", HOURS[9])
    with pytest.raises(ConfigurationError, match=expected):
        cloud.run("hour")
    assert cloud.writes() == []


def test_a_snapshot_with_a_full_period_tag_is_not_joined(cloud):
    cloud.policies["P"] = '{"hour": 1, "day": 1}'
    volume = cloud.volume(1)
    cloud.snapshot(volume, "hour " + "x" * 248, timedelta(minutes=2))
    report = cloud.run("day")
    assert report.failures == ()
    assert report.volumes[0].outcome is Outcome.CREATED
    assert [stored.tags[KEYS.period].split()[0] for stored in cloud.of(volume)] == ["hour", "day"]


def test_a_request_for_an_unknown_policy_fails_before_any_work(cloud):
    cloud.volume(1)
    with pytest.raises(ConfigurationError, match='policy "PP" does not exist; did you mean "P"'):
        cloud.run("hour", policies=("PP",))
    assert cloud.calls("DescribeVolumes") == 0


def test_twenty_unknown_policies_are_named_and_the_rest_counted(cloud):
    """The request names a hundred."""
    with pytest.raises(ConfigurationError, match=r'policy "N19" does not exist.*; and 80 more do not') as raised:
        cloud.run("hour", policies=tuple(f"N{number}" for number in range(100)))
    assert "N20" not in str(raised.value)


@pytest.mark.parametrize("operation", ["GetParametersByPath", "DescribeVolumes", "DescribeSnapshots"])
def test_an_incomplete_listing_ends_the_run_before_any_write(cloud, operation):
    cloud.snapshot(cloud.volume(1), "hour", HOURS[9])

    def fail(called, target):
        if called == operation:
            raise refused(called)

    cloud.before = fail
    with pytest.raises(AwsError):
        cloud.run("hour")
    assert cloud.writes() == []


def test_snapshots_are_taken_if_instances_cannot_be_described(cloud):
    """The run fails all the same."""
    volumes = [cloud.volume(n, instance="i-1") for n in (1, 2)]

    def fail(called, target):
        if called == "DescribeInstances":
            raise refused(called)

    cloud.before = fail
    report = cloud.run("hour")
    assert outcomes(report) == {v.id: "created" for v in volumes}
    assert all(r.consistency == "crash" for r in report.volumes)
    assert "instances could not be described" in report.failures[0]


def test_a_volume_with_a_failure_is_not_pruned_in_this_run(cloud):
    volume = cloud.volume(1)
    kept = [cloud.snapshot(volume, "hour", age) for age in HOURS[1:6]]

    def fail(called, target):
        if called == "CreateSnapshot":
            raise refused(called)

    cloud.before = fail
    report = cloud.run("hour")
    assert cloud.of(volume) == kept[::-1]
    assert report.changes == ()
    assert len(report.failures) == 1


def test_refused_deletions_are_reported_with_their_reason(cloud):
    """They fail nothing."""
    volume = cloud.volume(1)
    cloud.snapshot(volume, "hour", HOURS[3], protected="currently in use by ami-1")
    cloud.snapshot(volume, "hour", HOURS[2])
    report = cloud.run("hour")
    (change,) = report.changes
    assert change.outcome == "refused"
    assert "currently in use by ami-1" in change.reason
    assert report.failures == ()


def test_a_failed_deletion_is_a_failure_and_stops_no_other(cloud):
    volume = cloud.volume(1)
    stuck, gone = cloud.snapshot(volume, "hour", HOURS[4]), cloud.snapshot(volume, "hour", HOURS[3])
    cloud.snapshot(volume, "hour", HOURS[1])

    def fail(called, target):
        if target == stuck.id:
            raise refused(called)

    cloud.before = fail
    report = cloud.run("hour")
    assert stuck.id in cloud.snapshots
    assert gone.id not in cloud.snapshots
    assert len(report.failures) == 1
    assert stuck.id in report.failures[0]


def test_a_failed_snapshot_makes_its_slot_due_again(cloud):
    """It stays until a newer one is completed, so that its volume is taken by itself until then."""
    volume = cloud.volume(1)
    failed = cloud.snapshot(volume, "hour", timedelta(minutes=2), failed=True)
    cloud.pending_for = timedelta(minutes=10)
    failed.start_time -= timedelta(minutes=0)
    failed.state = SnapshotState.ERROR
    report = cloud.run("hour")
    assert outcomes(report) == {volume.id: "created"}
    assert report.failed_snapshots == (failed.id,)
    assert failed.id in cloud.snapshots
    cloud.clock.now += timedelta(hours=1)
    cloud.run("hour")
    assert failed.id not in cloud.snapshots


def test_a_typo_in_a_tag_is_reported_by_id_and_fails_nothing(cloud):
    cloud.volume(1, "p")
    report = cloud.run("hour")
    assert report.failures == ()
    assert report.count(Outcome.UNKNOWN_POLICY) == 1
    assert 'vol-00000001: its tag names "p", which is no policy; did you mean "P"?' in report.warnings


def test_a_volume_asked_for_that_is_not_there_fails_the_run(cloud):
    report = cloud.run("hour", volumes=("vol-00000007",))
    assert report.failures == ("vol-00000007: asked for, but no such tagged volume",)


def test_a_dry_run_shows_the_whole_plan_and_writes_nothing(cloud):
    volume = cloud.volume(1)
    for age in HOURS[1:4]:
        cloud.snapshot(volume, "hour", age)
    report = cloud.run("hour", dry_run=True)
    assert cloud.writes() == []
    assert outcomes(report) == {volume.id: "would create"}
    assert [(c.change.value, c.outcome.value) for c in report.changes] == [
        ("keep", "planned"),  # the new one
        ("keep", "planned"),
        ("delete", "planned"),
        ("delete", "planned"),
    ]


def test_a_dry_run_predicts_what_the_run_then_does():
    cloud = FakeCloud(policies={"P": '{"hour": 2, "day": 1}'}, pending_for=timedelta(minutes=3))
    for n in range(4):
        volume = cloud.volume(n)
        for age in HOURS[1:5]:
            cloud.snapshot(volume, "hour day", age)
    planned = cloud.run("hour", dry_run=True)
    done = cloud.run("hour")

    def decided(report):
        return {(c.snapshot_id, c.change) for c in report.changes if c.change != "keep"}

    assert decided(planned) == decided(done)
    assert len(decided(done)) == 12


def test_snapshots_of_deleted_volumes_are_kept_and_counted(cloud):
    cloud.volume(1)
    for age in HOURS[2:6]:
        cloud.snapshot("vol-gone", "hour", age)
    report = cloud.run("hour")
    assert report.orphaned_snapshots == 4
    assert len(cloud.of("vol-gone")) == 4


@pytest.mark.usefixtures("one_thread")  # how many a look takes depends on how far the creates are, else
def test_a_large_run_rechecks_200_snapshots_a_call(cloud):
    """It makes no further call per volume."""
    for n in range(450):
        volume = cloud.volume(n)
        for age in HOURS[2:5]:
            cloud.snapshot(volume, "hour", age)
    cloud.run("hour")
    assert cloud.calls("CreateSnapshot") == 450
    assert cloud.calls("DeleteSnapshot") == 900
    looks = [entry for entry in cloud.journal if entry == ("DescribeSnapshots", "recheck")]
    assert len(looks) == 5  # 900 deletions, 200 a call
    assert cloud.calls("DescribeSnapshots") == 7
    assert cloud.calls("DescribeLockedSnapshots") == 5
    assert len(cloud.journal) == 4 + 450 + 900 + 5 + 5


def test_a_snapshot_started_after_its_hour_is_reported(cloud):
    """Its hour has none."""
    volume = cloud.volume(2)
    old = [cloud.snapshot(volume, "hour", timedelta(hours=age)) for age in (3, 2, 1)]
    cloud.clock.now = cloud.clock.now.replace(minute=59, second=58)
    cloud.before = lambda operation, target: cloud.clock.sleep(1)
    report = cloud.run("hour")
    (made,) = [each for each in cloud.of(volume) if each not in old]
    assert made.start_time.hour == 1
    reason = f"{made.id} was started when the hour was over: it is the next one's, and this one has none"
    assert f"{volume.id}: {reason}" in report.failures
    assert f"{volume.id}: {reason}" in report.unrepeatable_failures, "no other run would find it"
    assert [each for each in cloud.of(volume) if each in old] == old, "a volume with a failure is not pruned"


def test_a_run_out_of_time_begins_nothing_and_names_the_rest(cloud):
    for n in range(5):
        cloud.volume(n)
    report = cloud.run("hour", seconds=30)
    assert cloud.writes() == []
    assert report.failures == ()
    assert len(report.deferred) == 5
    assert "30 s left" in report.deferred[0]
