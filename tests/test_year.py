"""A year of hours, with failures, pending and failed snapshots, edited policies, volumes that come and go.

After every run the promises of the design are checked on everything EC2 holds.
"""

from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import timedelta

import pytest

from lambda_function.errors import AutoSnapshotsError
from lambda_function.model import Change, ChangeOutcome, Outcome, Period, SnapshotState
from lambda_function.slots import in_slot
from tests.fake_cloud import KEYS, FakeCloud, refused

DAYS = 365


class World:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.cloud = FakeCloud(policies={"P": '{"hour": 2, "day": 3, "week": 2}', "Q": '{"day": 2, "month": 1}'})
        self.cloud.pending_for = timedelta(minutes=20)
        self.numbers = iter(range(1, 10_000))
        for _ in range(3):
            self.new_volume()
        self.foreign = {s.id: replace(s, tags=dict(s.tags)) for s in [self.new_foreign() for _ in range(3)]}
        self.cloud.before = self.maybe_fail
        self.cloud.after = self.maybe_lose_the_answer
        self.failing = 0.0
        self.runs = self.failed_runs = self.deleted = 0

    def new_volume(self):
        number = next(self.numbers)
        instance = self.random.choice([None, "i-1", "i-2"])
        self.cloud.volume(number, self.random.choice("PPQ"), instance)

    def new_foreign(self):
        volume = self.random.choice(list(self.cloud.volumes.values()))
        foreign = self.cloud.snapshot(volume, "", timedelta(days=self.random.randrange(900)))
        foreign.tags = {"AUTO-SNAPSHOT": "P", "Name": "by hand"}
        return foreign

    def maybe_fail(self, operation, target):
        if self.random.random() < self.failing:
            raise refused(operation, "InternalError")

    def maybe_lose_the_answer(self, operation, target):
        if self.random.random() < self.failing / 3:
            raise refused(operation, "ReadTimeoutError")

    def live(self):
        """What happens between two runs."""
        chance = self.random.random
        self.failing = 0.03 if chance() < 0.3 else 0.0
        cloud = self.cloud
        for stored in cloud.snapshots.values():
            age = cloud.clock.now - stored.start_time
            if stored.id not in self.foreign and age < timedelta(minutes=70) and chance() < 0.02:
                stored.failed = True
        if chance() < 0.004 and len(cloud.volumes) < 6:
            self.new_volume()
        if chance() < 0.003 and len(cloud.volumes) > 2:
            gone = self.random.choice(list(cloud.volumes.values()))
            del cloud.volumes[gone.id]
            for name, instance in cloud.instances.items():
                left = instance.volume_ids - {gone.id}
                cloud.instances[name] = type(instance)(name, instance.state, None, left)
        if chance() < 0.02:
            counts = {p.value: self.random.randrange(4) for p in Period if chance() < 0.6}
            broken = {"hour": "2"} if chance() < 0.1 else {}
            cloud.policies[self.random.choice("PQ")] = json.dumps({**counts, **broken})
        cloud.pending_for = timedelta(minutes=self.random.choice([0, 5, 20, 90, 200]))

    def step(self, period):
        self.live()
        before = {each: replace(stored, tags=dict(stored.tags)) for each, stored in self.cloud.snapshots.items()}
        states = {s.id: self.cloud.state_of(s) for s in before.values()}
        try:
            report = self.cloud.run(period)
        except AutoSnapshotsError:
            self.failed_runs += 1
            assert self.cloud.snapshots == before, "a run that could not read wrote something"
            return
        self.runs += 1
        self.failed_runs += bool(report.failures)
        self.check(period, before, states, report)

    def check(self, period, before, states, report):
        cloud = self.cloud
        now = cloud.snapshots
        for each, foreign in self.foreign.items():
            assert now[each] == foreign
        deleted = before.keys() - now.keys()
        self.deleted += len(deleted)
        explained = {c.snapshot_id: c for c in report.changes if c.change is Change.DELETE}
        for each in deleted:
            assert explained[each].outcome in (ChangeOutcome.DONE, ChangeOutcome.FAILED)  # failed: its answer was lost
            assert explained[each].reason
            assert states[each] in (SnapshotState.COMPLETED, SnapshotState.ERROR)
            assert before[each].tags[KEYS.period] == period.value, "another keeper lost its snapshot"
        for each in before.keys() & now.keys():
            gone = set(before[each].tags.get(KEYS.period, "").split()) - set(
                now[each].tags.get(KEYS.period, "").split()
            )
            assert gone <= {period.value}, "a run took another period's word"
        for each in now.keys() - before.keys():
            assert now[each].tags[KEYS.period] == period.value
        for result in report.volumes:
            self.check_volume(period, before, states, result)

    def check_volume(self, period, before, states, result):
        cloud = self.cloud
        mine_before = [
            s for s in before.values() if s.volume_id == result.volume_id and period in s.tags.get(KEYS.period, "")
        ]
        mine = cloud.of(result.volume_id, period)
        if result.outcome in (Outcome.FAULTY_POLICY, Outcome.OUTSIDE, Outcome.UNKNOWN_POLICY):
            assert {s.id for s in mine} == {s.id for s in mine_before}
            return
        count = json.loads(str(cloud.policies[result.policy])).get(period.value)
        if count is None:
            assert {s.id for s in mine} == {s.id for s in mine_before}
            return
        completed_before = [s for s in mine_before if states[s.id] is SnapshotState.COMPLETED]
        if count > 0 and completed_before:
            newest = max(completed_before, key=lambda s: (s.start_time, s.id))
            completed = [s for s in mine if cloud.state_of(s) is SnapshotState.COMPLETED]
            assert completed, "no completed one is left where the policy keeps some"
            assert max(s.start_time for s in completed) >= newest.start_time
        if result.outcome in (Outcome.CREATED, Outcome.SHARED, Outcome.ALREADY_DONE):
            good = [s for s in mine if cloud.state_of(s).is_good]
            assert any(in_slot(period, cloud.clock.now, s.start_time) for s in good), "done, but there is none"
        if result.outcome is Outcome.FAILED:
            assert {s.id for s in mine_before} <= {s.id for s in mine}, "pruned in spite of a failure"


@pytest.mark.usefixtures("one_thread")
def test_the_promises_hold_after_every_run_of_a_year():
    world = World(seed=1)
    for _ in range(DAYS):
        for hour in range(24):
            world.step(Period.HOUR)
            if hour == 0:
                for period in (Period.DAY, Period.WEEK, Period.MONTH, Period.YEAR):
                    world.cloud.clock.now += timedelta(minutes=10)
                    world.step(period)
                world.cloud.clock.now -= timedelta(minutes=40)
            # A step's sleeping moves the clock; the next rule fires on the hour all the same.
            moment = world.cloud.clock.now + timedelta(hours=1)
            world.cloud.clock.now = moment.replace(minute=5, second=0, microsecond=0)
    # The simulation is only worth something if all of this really happened.
    assert world.runs > 8_000
    assert world.failed_runs > 300
    assert world.deleted > 3_000


@pytest.mark.usefixtures("one_thread")
def test_in_a_quiet_year_every_slot_has_its_snapshot_and_exactly_n_remain():
    cloud = FakeCloud(policies={"P": '{"hour": 2, "day": 5, "week": 52, "month": 0, "year": 1}'})
    volume = cloud.volume(1)
    for day in range(DAYS):
        for hour in range(0, 24, 6):
            cloud.clock.now = cloud.clock.now.replace(hour=hour, minute=5)
            assert not cloud.run("hour").failures
            if hour == 0:
                for period in ("day", "week", "month", "year"):
                    cloud.clock.now += timedelta(minutes=10)
                    assert not cloud.run(period).failures
        kept = {period.value: len(cloud.of(volume, period)) for period in Period}
        assert kept["hour"] == 2
        assert kept["day"] == min(day + 1, 5)
        assert kept["week"] == min(day // 7 + 1, 52)
        assert kept["month"] == 0
        assert kept["year"] == 1
        cloud.clock.now += timedelta(days=1)
    # One freeze and one snapshot serve the day, the week and the year at midnight.
    assert cloud.calls("CreateSnapshot") == DAYS * 4
