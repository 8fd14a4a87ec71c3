"""The throttled endpoint's process: `python -m tests.support.throttled '{"factor": 8, ...}'`; prints its address.

It ends when its standard input does, so that no benchmark that dies leaves one behind.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import sys
import time
from datetime import timedelta
from typing import Any

from moto.backends import get_backend

from tests.support.endpoint import Rules, ec2_backend, endpoint
from tests.support.run_command_endpoint import Agents, Reply, Sent
from tests.support.throttled.buckets import Buckets
from tests.support.throttled.clock import ServiceClock
from tests.support.throttled.fleet import PLAIN, POLICY, Fleet, build
from tests.support.throttled.layer import Latency, Layer, before_moto
from tests.support.throttled.remote import Setting


class _Endpoint:
    """moto's server, its rules and the layer before it, made from one setting."""

    def __init__(self, setting: Setting, clock: ServiceClock) -> None:
        self.agents = Agents(round_trip=setting.round_trip, elapsed=clock.monotonic)
        self._stage_seconds = setting.stage_seconds
        self.rules = Rules(
            clock=clock.now,
            pending_for=timedelta(seconds=setting.pending_seconds),
            pending_cap=setting.pending_cap or sys.maxsize,
            create_interval=timedelta(seconds=15),
            agents=self.agents,
        )
        self._buckets = (lambda: Buckets(clock.monotonic, setting.others)) if setting.limited else lambda: None
        self.layer = Layer(None, Latency(0, 0, 0), clock)
        self._latency = Latency(setting.write_seconds, setting.read_seconds, setting.refusal_seconds)
        self.layer.controls |= {"begin": self.begin, "stats": self.stats}
        self._began = 0.0

    def build(self, fleet: Fleet) -> None:
        """While nothing is limited and no time is lost."""
        build(fleet, self.rules)
        self.layer.broken = fleet.broken
        if self._stage_seconds:
            for reservation in ec2_backend().reservations.values():
                self.agents.scripts |= {each.id: self._slowly for each in reservation.instances}

    def _slowly(self, command: Sent) -> Reply:
        return self.agents.well_behaved(command, self._stage_seconds)

    def begin(self, _: Any) -> Any:
        """From now on calls are limited, take time and are counted."""
        self.layer.buckets = self._buckets()
        self.layer.latency = self._latency
        self.layer.counts.clear()
        self.agents.sent.clear()
        self.agents.calls.clear()
        self._began = time.process_time()
        self._older = {each.id for each in self._snapshots()}
        return {}

    def stats(self, _: Any) -> Any:
        snapshots = [each for each in self._snapshots() if self._is_ours(each)]
        by_volume: dict[str, int] = {}
        for each in snapshots:
            if each.id not in self._older:
                by_volume[each.volume.id] = by_volume.get(each.volume.id, 0) + 1
        return {
            **self.layer.counts.as_json(),
            "cpu": time.process_time() - self._began,
            "new_by_count": {str(n): list(by_volume.values()).count(n) for n in set(by_volume.values())},
            "held": len(snapshots),
            "windows": self._windows(),
        }

    def _snapshots(self) -> list[Any]:
        backends = [backend for regions in get_backend("ec2").values() for backend in regions.values()]
        return [each for backend in backends for each in backend.snapshots.values()]

    def _is_ours(self, snapshot: Any) -> bool:
        return any(tag["value"] in (POLICY, PLAIN) for tag in snapshot.get_tags())

    def _windows(self) -> list[float]:
        """Seconds from a freeze done to its thaw begun, as each instance sees it."""
        done = {each.instance_id: each.ends for each in self.agents.sent if each.stage == "pre-script"}
        thaws = (each for each in self.agents.sent if each.stage == "post-script")
        return [round(each.begins - done.get(each.instance_id, math.nan), 3) for each in thaws]


def main() -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    setting = Setting(**json.loads(sys.argv[1]))
    clock = ServiceClock(setting.factor, setting.epoch)
    made = _Endpoint(setting, clock)
    with before_moto(made.layer), endpoint(made.rules) as (address, _):
        made.build(Fleet(**json.loads(sys.argv[2])))
        print(json.dumps({"address": address}), flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            sys.stdin.read()


if __name__ == "__main__":
    main()
