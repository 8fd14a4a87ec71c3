"""One account with everything around it, lived through hour by hour."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import NamedTuple

from tests.campaigns.long_run.cloud import LongCloud
from tests.campaigns.long_run.faults import Faults
from tests.campaigns.long_run.fleet import Fleet
from tests.campaigns.long_run.promises import Oracle
from tests.campaigns.long_run.rules import Lambda
from tests.support.clock import Clock

BEGINS = datetime(2026, 12, 15, tzinfo=UTC)
"""Week 53 and a year's end are two weeks away; the leap day is in the second year."""


class Memory(NamedTuple):
    """Blocks that Python has allocated, and the snapshots that the account holds."""

    blocks: int
    snapshots: int


class SteadyClock(Clock):
    """Never goes back, whichever threads sleep at the same time."""

    def __init__(self, now: datetime) -> None:
        super().__init__(now)
        self._lock = threading.Lock()

    def sleep(self, seconds: float) -> None:
        with self._lock:
            super().sleep(seconds)


class World:
    """Faults come at a share of `rate` of all calls; with `changes` the account's people are at work meanwhile."""

    def __init__(self, seed: int, rate: float, *, changes: bool = True) -> None:
        random = Random(seed)
        self.seed = seed
        self.cloud = LongCloud(
            clock=SteadyClock(BEGINS), create_interval=timedelta(seconds=15), pending_cap=100, per_volume_cap=5
        )
        self.cloud.ssm.limit_sends(5, 3)
        self.instances = self.cloud.ssm.instances
        self.fleet = Fleet(random, self.cloud)
        self.faults = Faults(random, rate, self.cloud, self.instances, self.fleet.lose_volume)
        self.oracle = Oracle(self.cloud, self.fleet)
        self.service = Lambda(random, self.cloud, self.faults, self.oracle, forces=changes)
        self._changes = changes
        self._hour = BEGINS

    def live(self, days: int) -> None:
        """So many days, each promise held on the way."""
        for _ in range(days * 24):
            self.cloud.clock.now = max(self.cloud.clock.now, self._hour)
            self.cloud.settle()
            if self._changes:
                self.fleet.live()
            self.oracle.expect(self.service.fire(self._hour))
            self.service.deliver(self.fleet.between_runs if self._changes else lambda: None)
            self.oracle.settle_slots()
            self._hour += timedelta(hours=1)
            assert not self.oracle.violations, f"seed {self.seed}:\n" + "\n".join(self.oracle.violations)

    def memory(self) -> Memory:
        """What is held now."""
        gc.collect()
        return Memory(sys.getallocatedblocks(), len(self.cloud.snapshots))

    def figures(self) -> Iterator[str]:
        """What has happened, counted."""
        yield f"seed {self.seed}: {(self._hour - BEGINS).days} days, {len(self.cloud.volumes)} volumes"
        for name, counter in (
            ("runs", self.service.runs),
            (f"calls: {self.faults.calls.total()}", self.faults.calls),
            (f"faults: {self.faults.injected.total()}", self.faults.injected),
            ("writes and slots", self.oracle.counts),
            ("meanwhile", self.fleet.events),
        ):
            yield f"{name}: " + ", ".join(f"{count} {what}" for what, count in counter.most_common())
