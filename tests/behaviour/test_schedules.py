"""A day and a night of the template's rules: what fails after its run is replaced the same night, and only then."""

from __future__ import annotations

from datetime import timedelta

import pytest

from lambda_function.model.period import Period
from tests.support.clock import START
from tests.support.cloud import FakeCloud, Write
from tools.demo.template import read_template

MIDNIGHT = START.replace(hour=0, minute=0)
RULES = read_template().rules


def live_a_day(cloud: FakeCloud) -> None:
    """Run at each firing of each rule, as the template's default schedules have it."""
    for minute in range(24 * 60):
        moment = MIDNIGHT + timedelta(minutes=minute)
        for rule in RULES:
            if rule.fires(moment):
                cloud.clock.now = moment
                cloud.run(rule.period)


@pytest.mark.parametrize(
    ("policy", "failing", "creates"),
    [
        pytest.param('{"day": 2}', 0, ["00:15"], id="a good one is not repeated"),
        pytest.param('{"day": 2}', 1, ["00:15", "03:15"], id="one that turns error after its run is replaced"),
        pytest.param('{"day": 2}', 2, ["00:15", "03:15", "06:15"], id="so is the second one"),
        pytest.param('{"day": 2}', 9, ["00:15", "03:15", "06:15"], id="the third is left to the next night"),
        pytest.param('{"week": 2}', 9, ["00:25"], id="a weekly one is left to the next night"),
    ],
)
def test_a_failed_daily_snapshot_is_replaced_at_night(policy, failing, creates):
    cloud = FakeCloud(policies={"P": policy}, pending_for=timedelta(minutes=5))
    cloud.volume(1)
    made: list[str] = []

    def fail(write: Write) -> None:
        if write.is_create:
            made.append(f"{cloud.clock.now:%H:%M}")
            write.stored.failed = len(made) <= failing

    cloud.on_write = fail
    live_a_day(cloud)
    assert made == creates


def test_a_failed_shared_snapshot_is_replaced_by_sharing():
    """The daily run at 03:15 joins the hourly snapshot of 03:05, so the volume is not frozen for it."""
    cloud = FakeCloud(policies={"P": '{"hour": 24, "day": 2}'}, pending_for=timedelta(minutes=15))
    volume = cloud.volume(1)
    cloud.on_write = lambda write: setattr(write.stored, "failed", write.stored.start_time == START)
    live_a_day(cloud)
    good = [stored for stored in cloud.of(volume, "day") if not stored.failed]
    assert [stored.start_time for stored in good] == [START + timedelta(hours=3)]


def test_no_rule_but_the_hourly_one_fires_by_day():
    """A hook that failed at night must not freeze its instance while people work with it."""
    by_night = [rule for rule in RULES if rule.period != Period.HOUR]
    assert all(hour < 7 for rule in by_night for hour in rule.hours)
