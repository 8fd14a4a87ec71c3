"""Two years of hours on 200 volumes, with a fault at one call in a hundred: every promise held on every step.

The whole of it at night, a month by day. `SEED` chooses another course of events than the recorded one; a failure
names the seed.
"""

from __future__ import annotations

import os
import time

import pytest

from lambda_function.model import Period
from tests.campaign import NIGHTLY, at_night
from tests.long_run.faults import KINDS, REFUSALS
from tests.long_run.world import World

SEED = int(os.environ.get("SEED", "1"))
RATE = 0.01


@pytest.mark.usefixtures("one_thread")
def test_the_promises_hold_on_every_step_of_two_years_and_memory_stays_flat():
    world = World(SEED, RATE)
    began = time.process_time()
    first = at_night(120, 11)
    world.live(first)
    early = world.memory()
    world.live(at_night(731, 31) - first)
    late = world.memory()
    print(
        time.process_time() - began,
        early,
        late,
        world.service.runs,
        world.faults.calls,
        world.faults.injected,
        world.oracle.counts,
        world.fleet.events,
        len(world.cloud.snapshots),
    )


def test_x():
    world = World(SEED, RATE)
    began = time.process_time()
    world.live(2)
    print(
        time.process_time() - began,
        world.memory(),
        world.service.runs,
        world.faults.calls,
        world.faults.injected,
        world.oracle.counts,
        world.fleet.events,
        len(world.cloud.snapshots),
    )


@pytest.mark.usefixtures("one_thread")
def test_without_faults_each_slot_is_served_at_once_by_one_freeze_and_exactly_n_remain():
    world = World(SEED, 0.0, changes=False)
    days = at_night(60, 6)
    world.live(days)
    counts = world.oracle.counts
    print(counts, world.service.runs, world.instances.freezes)
    assert world.service.runs["failed"] == 0
    assert counts["slots served"] == counts["slots due"]
    # The day's, the week's and the month's runs join the hour's snapshots: ORDERS has 4 instances, FILES 10.
    assert world.instances.freezes == days * (24 * 4 + 10)
    for period in Period:
        for volume_id, count in world.fleet.due(period):
            assert len(world.cloud.held(volume_id, period)) == count
