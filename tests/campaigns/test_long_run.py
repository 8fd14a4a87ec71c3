"""Two years of hours on 200 volumes, with a fault at one call in a hundred: every promise is held on every step.

The whole of it at night, a month by day, ten days as a sample. `SEED` chooses another course of events than the
recorded one; a failure names its seed, and the same seed repeats it. `-s -n 0` shows the figures.
"""

from __future__ import annotations

import logging
import os
import time

import pytest

from lambda_function.model.period import Period
from tests.campaigns.long_run.faults import ANY, KINDS
from tests.campaigns.long_run.world import World
from tests.support.campaign import NIGHTLY, sized
from tests.support.promises import SLOT

pytestmark = pytest.mark.campaign

SEED = int(os.environ.get("SEED", "1"))
RATE = 0.01

GROWTH = 0.03
"""Of the blocks that Python holds, how many more there may be in the end; a report kept per run would be twentyfold."""

BLOCKS_OF_A_SNAPSHOT = 30


@pytest.fixture(autouse=True)
def unheard():
    """What is logged in two years would be kept by pytest, and counted as growth."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.usefixtures("one_thread")
def test_every_promise_holds_on_every_step_of_two_years():
    """Memory stays flat."""
    world = World(SEED, RATE)
    began = time.process_time()
    first = sized(100, 11, 4)
    world.live(first)
    early = world.memory()
    world.live(sized(731, 31, 10) - first)
    late = world.memory()
    print("\n".join(world.figures()), f"\n{time.process_time() - began:.0f} s of processor time; {early}, {late}")

    more_snapshots = max(0, late.snapshots - early.snapshots)
    assert late.blocks < early.blocks * (1 + GROWTH) + more_snapshots * BLOCKS_OF_A_SNAPSHOT
    # It is only worth something if all of this really happened.
    faults = world.faults
    assert faults.injected.total() > 0.8 * RATE * faults.calls.total()
    wanted = {*ANY, *(kind for kinds in KINDS.values() for kind in kinds)}
    assert not (wanted - faults.injected.keys() if NIGHTLY else {*ANY, "answer lost"} - faults.injected.keys())
    # Five events of a thousand come twice; a month may have none.
    seldom = ["duplicates"] if NIGHTLY else []
    assert min(world.service.runs[each] for each in ("died", "continuations", "repetitions", *seldom)) > 0
    counts = world.oracle.counts
    assert counts["slots served"] > 0.95 * counts["slots due"]
    assert min(counts[each] for each in ("created", "joined", "released", "deleted", "application-consistent")) > sized(
        1000, 1000, 300
    )


def test_every_promise_holds_with_the_threads_of_lambda():
    world = World(SEED, RATE)
    world.live(sized(30, 2, 1))
    assert world.faults.injected.total() > 20


@pytest.mark.usefixtures("one_thread")
def test_every_slot_is_served_at_once_without_faults():
    """One freeze serves it, and exactly N slots remain."""
    world = World(SEED, 0.0, changes=False)
    days = sized(60, 4, 2)
    world.live(days)
    counts = world.oracle.counts
    assert world.service.runs["failed"] == 0
    assert counts["slots served"] == counts["slots due"] > 0
    # The longer periods join the hour's and the daily snapshots: ORDERS has 4 instances, FILES has 10.
    assert world.instances.count == days * (24 * 4 + 10)
    for period in Period:
        for volume_id, count in world.fleet.due(period):
            assert len({SLOT[period](stored.start_time) for stored in world.cloud.held(volume_id, period)}) == count
