"""Walks that cannot be completed, or change while they are walked: known as such, and nothing pruned on them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_function.errors import AwsError
from lambda_function.model.period import Period, RetentionRule
from lambda_function.plan.retention import apply_retention
from tests.support.faults import answer, error, lost_answer, reset, throttled, through, truncated_answer
from tests.unit.plan.test_retention import counts, of, states
from tests.wire.unfriendly import KEYS, unfriendly_world

HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def whole():
    with unfriendly_world() as world:
        yield world


@pytest.fixture
def world(whole):
    return whole.renew()


@pytest.fixture
def fleet(world):
    """Four volumes, each with snapshots to let go, on an endpoint whose pages hold two; more policies than a page."""
    for number in range(11):
        world.account.policy(f"P{number or ''}", '{"hour": 2}')
    world.rules.max_page = 2
    volumes = [world.account.volume({KEYS.selection: "P"}) for _ in range(4)]
    for volume in volumes:
        for hours in (1, 2, 3, 4):
            world.snapshot(volume, "hour", hours * HOUR)
    return volumes


EXPIRED = [
    pytest.param(error("InvalidNextToken"), id="the token expires"),
    pytest.param(error("InvalidParameterValue"), id="the token is not known any more"),
    pytest.param(throttled, id="throttled for good"),
    pytest.param(reset, id="reset for good"),
    pytest.param(lost_answer, id="no answer for good"),
    pytest.param(truncated_answer, id="half an answer"),
    pytest.param(answer("<html/>"), id="a page of somebody else"),
    pytest.param(error("InternalError", 500), id="internal errors for good"),
]


@pytest.mark.parametrize("fault", EXPIRED)
@pytest.mark.parametrize(
    ("operation", "pages"), [("GetParametersByPath", 1), ("DescribeVolumes", 1), ("DescribeSnapshots", 7)]
)
def test_a_listing_that_breaks_on_a_later_page_ends_the_run(world, fleet, operation, pages, fault):
    """Nothing has been written by then."""
    before = world.ids()
    world.faults.on(operation, fault, after=pages)
    run = world.invoke({"period": "hour"})
    assert isinstance(run.error, AwsError)
    assert run.error.operation == operation
    assert run.writes == []
    assert world.ids() == before


@pytest.mark.parametrize("fault", EXPIRED)
def test_a_recheck_that_breaks_deletes_nothing(world, fleet, fault):
    """Every deletion is a failure by name."""
    world.rules.max_page = 1000
    world.faults.in_turn("DescribeSnapshots", through, through, fault)
    run = world.invoke({"period": "hour"})
    assert run.deleted == set()
    assert "4 created, 0 shared, 0 already done, 0 deleted, 12 FAILED" in run.text
    assert run.text.count("DescribeSnapshots: ") >= 11, "each is named, up to the length of the message"


def test_storms_that_pass_cost_nothing_but_time(world, fleet):
    for operation in (
        "GetParametersByPath",
        "DescribeVolumes",
        "DescribeSnapshots",
        "CreateSnapshot",
        "DeleteSnapshot",
    ):
        world.faults.on(operation, throttled, after=1, times=3)
    run = world.invoke({"period": "hour"})
    assert run.error is None
    assert run.text.startswith('{"message": "hour: 4 created, 0 shared, 0 already done, 12 deleted"')


def test_a_listing_that_shrinks_between_pages_loses_nothing(world, fleet):
    """The endpoint's tokens are positions, so a deletion before the position makes the next page skip one."""
    listed = [each.id for each in world.backend.snapshots.values() if not each.from_ami]

    def somebody_deletes(request):
        world.account.ec2.delete_snapshot(SnapshotId=listed[0])

    world.faults.in_turn("DescribeSnapshots", through, somebody_deletes, through)
    world.invoke({"period": "hour"})
    assert all(len(world.of(volume)) >= 2 for volume in fleet)
    world.clock.now += HOUR
    world.invoke({"period": "hour"})
    assert [len(world.of(volume)) for volume in fleet] == [2] * 4


def test_a_listing_that_grows_between_pages_takes_each_once(world, fleet):
    """One that appears before the position makes the next page begin with the last one's end."""

    def somebody_adds(request):
        made = world.snapshot(fleet[0], "hour", 9 * HOUR)
        world.backend.snapshots = {made: world.backend.snapshots.pop(made), **world.backend.snapshots}

    world.faults.in_turn("DescribeSnapshots", through, somebody_adds, through)
    run = world.invoke({"period": "hour"})
    assert run.error is None
    assert all(len(world.of(volume)) >= 2 for volume in fleet)
    assert len(run.deleted) == 12


@given(counts, states, st.data())
def test_an_incomplete_listing_makes_no_kept_snapshot_go(count, letters, data):
    """Whatever it lacks, retention releases nothing that the whole listing keeps."""
    everything = of(letters)
    listed = [each for each in everything if data.draw(st.booleans())]
    kept = {
        verdict.snapshot.id
        for verdict in apply_retention(RetentionRule(Period.HOUR, count), everything)
        if verdict.keep
    }
    let_go = {
        verdict.snapshot.id
        for verdict in apply_retention(RetentionRule(Period.HOUR, count), listed)
        if not verdict.keep
    }
    assert not kept & let_go
