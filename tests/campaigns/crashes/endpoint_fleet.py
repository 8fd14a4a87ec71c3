"""The fleet on the endpoint, over HTTP; the run that dies is a process of its own (`victim.py`).

A part of the fleet, in which every kind of call is there still. What stands on the endpoint is put back between deaths
and not built anew: only snapshots and tags change.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from lambda_function import app, handler
from lambda_function.errors import RunFailedError
from lambda_function.inputs.policy import Parameter
from lambda_function.model.ec2 import SnapshotState, Volume
from lambda_function.model.request import RunRequest
from lambda_function.model.result import RunReport
from tests.campaigns.crashes.deaths import Gate
from tests.campaigns.crashes.fleet import BY_OTHERS, DAY, DAY_WORDS, HOUR, POLICIES
from tests.campaigns.crashes.schedule import in_one_thread
from tests.campaigns.crashes.shared_clock import SharedClock
from tests.campaigns.crashes.victim import DONE, FAILED, KILLED, SECONDS
from tests.support.cloud import KEYS, Stored, Write
from tests.support.endpoint import Account, Rules, ec2_backend, stored_snapshots
from tests.support.promises import writes_between

PART: tuple[tuple[str | None, str | None, tuple[int, ...]], ...] = (
    ("P", None, (1,)),
    ("N", "i-4", (10, 11)),
    ("M", "i-5", (12,)),
    ("D", None, (13,)),
    ("D", "i-6", (14, 15)),
    (None, "i-6", (16,)),
)
"""Policy, instance, and the numbers of the volumes, as in `fleet.py`."""

OTHER_ACCOUNT = "210987654321"
PENDING_FOR = timedelta(seconds=22)
RULES = {"pending_for": PENDING_FOR, "pending_cap": 5, "create_interval": timedelta(seconds=15)}


class EndpointFleet:
    """What `night.py` and `invariants.py` need of a fleet."""

    def __init__(self, rules: Rules, folder: Path) -> None:
        self.snapshots: dict[str, Stored] = {}
        self.clock = SharedClock(folder / "clock", is_new=True)
        self._calls = folder / "calls"
        self._folder = folder
        self._rules = rules
        self._rules.clock, self._rules.agents.elapsed = self.clock, self.clock.monotonic
        self._rules.agents.busy(200, self.clock())
        self.work = self._rules.agents.instances
        self.policies: dict[str, str | Parameter] = {name: json.dumps(fields) for name, fields in POLICIES.items()}
        self.pending_for, self.hidden_for = PENDING_FOR, timedelta()
        self._account = Account()
        self.volumes: dict[str, Volume] = {}
        self.foreign: set[str] = set()
        self._numbers: dict[int, str] = {}
        self._build()

    def copy_of_snapshots(self) -> dict[str, Stored]:
        self.snapshots = stored_snapshots()
        return self.snapshots

    def state_of(self, stored: Stored) -> SnapshotState:
        is_pending = self.clock() < stored.start_time + self._rules.pending_for
        return SnapshotState.PENDING if is_pending else SnapshotState.COMPLETED

    def is_at_rest(self, volume_id: str) -> bool:
        # No instance is stopped there, and one is hibernated.
        return not self.volumes[volume_id].instance_ids

    def others_are_at_work(self, period: str) -> None:
        """Another tool's snapshot of one volume, seconds before."""
        self._by_hand(self._numbers[BY_OTHERS["day"]], timedelta(seconds=1))

    def attempt(self, period: str, gate: Gate, judge: Callable[[Write], None]) -> RunReport | None:
        """One run: in a process that dies, where that is asked for, otherwise here."""
        before, report = stored_snapshots(), None
        if gate.at:
            self._die(period, gate)
        else:
            report = self._live(period)
        for write in writes_between(before, self.copy_of_snapshots()):
            judge(write)
        return report

    @contextmanager
    def process(self) -> Iterator[None]:
        """The process from which those that die are forked, while this lasts."""
        command = [
            sys.executable,
            "-m",
            "tests.campaigns.crashes.victim",
            str(self._folder / "clock"),
            str(self._calls),
        ]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as self._ready:
            yield
            assert self._ready.stdin is not None
            self._ready.stdin.close()

    def save(self) -> tuple[Any, ...]:
        backend = ec2_backend()
        tags = {each: dict(held) for each, held in backend.tags.items()}
        return self.clock.now, dict(backend.snapshots), tags, set(self.foreign)

    def restore(self, saved: tuple[Any, ...]) -> None:
        backend = ec2_backend()
        self.clock.now, snapshots, tags, foreign = saved
        backend.snapshots.clear()
        backend.snapshots.update(snapshots)
        backend.tags.clear()
        backend.tags.update({each: dict(held) for each, held in tags.items()})
        self.foreign = set(foreign)
        self.work.freezes.clear()
        self._rules.agents.sent.clear()

    def _die(self, period: str, gate: Gate) -> None:
        assert self._ready.stdin is not None
        assert self._ready.stdout is not None
        order = {"period": period, "at": gate.at, "side": gate.side}
        print(json.dumps(order), file=self._ready.stdin, flush=True)
        code = int(self._ready.stdout.readline())
        gate.calls = self._calls.read_text().splitlines()
        expected = KILLED if gate.at <= len(gate.calls) else DONE
        assert code == expected, f"the process ended with {code}"
        assert code != FAILED

    def _live(self, period: str) -> RunReport:
        reports: list[RunReport] = []

        run = app.App.run

        def told(self: app.App, request: RunRequest) -> RunReport:
            reports.append(run(self, request))
            return reports[-1]

        ends = self.clock.monotonic() + SECONDS
        context: Any = SimpleNamespace(
            aws_request_id="request",
            invoked_function_arn="",
            get_remaining_time_in_millis=lambda: round((ends - self.clock.monotonic()) * 1000),
        )
        with (
            mock.patch("lambda_function.handler.utc_now", self.clock),
            mock.patch("lambda_function.app.time", self.clock),
            mock.patch("lambda_function.app.App.run", told),
            in_one_thread("changes last"),
        ):
            try:
                handler.lambda_handler({"period": period}, context)
            except RunFailedError:
                assert reports[-1].failures
        return reports[-1]

    def _build(self) -> None:
        account = self._account
        account.document("DOC", "FilesystemDocument")
        for name, fields in POLICIES.items():
            account.policy(name, json.dumps(fields))
        instances: dict[str, str] = {}
        for policy, instance, numbers in PART:
            if instance is not None and instance not in instances:
                instances[instance] = account.instance()
            for number in numbers:
                self._volume(number, policy, instances.get(instance or ""))
        account.hibernate(instances["i-6"])
        gone = account.volume()
        self.foreign.add(self._snapshot(gone, {KEYS.period: "hour day"}, 3 * HOUR))
        elsewhere = self._snapshot(gone, {KEYS.period: "hour day", KEYS.selection: "P"}, 3 * HOUR)
        ec2_backend().snapshots[elsewhere].owner_id = OTHER_ACCOUNT
        self.foreign.add(elsewhere)
        # Only now do EC2's limits hold: the past was not made in a second.
        for name, value in RULES.items():
            setattr(self._rules, name, value)

    def _volume(self, number: int, policy: str | None, instance: str | None) -> None:
        tags = {KEYS.selection: policy} if policy else {}
        made = self._numbers[number] = self._account.volume(tags, instance)
        self.volumes[made] = Volume(made, "in-use", tags, (instance,) if instance else ())
        self._by_hand(made, 2 * DAY)
        if policy is None:
            self.foreign.add(self._snapshot(made, {KEYS.period: "hour day"}, HOUR))
            return
        # The one that another tool comes first at is the first in turn, before the cap has anything wait.
        newest = DAY + HOUR if number == BY_OTHERS["day"] else DAY
        words = [("day", newest), (DAY_WORDS.get(number, "day"), 2 * DAY)]
        if "hour" in POLICIES[policy]:
            words += [("hour", HOUR), ("hour nightly-tool", 2 * HOUR)]
        for word, age in words:
            oldest = self._snapshot(made, {KEYS.period: word, **tags}, age)
            if number == 10 and age == 2 * DAY:
                self._rules.locks[oldest] = "compliance"

    def _snapshot(self, volume_id: str, tags: Mapping[str, str], age: timedelta) -> str:
        return self._account.snapshot(volume_id, dict(tags), self.clock() - age)

    def _by_hand(self, volume_id: str, age: timedelta) -> None:
        """Another tool's, which copied the volume's tags; made on the endpoint itself, so that no rule refuses it."""
        with mock.patch.multiple(self._rules, create_interval=timedelta(), pending_cap=1000):
            made = self._snapshot(volume_id, {KEYS.selection: "P", "Name": "by hand"}, age)
        self.foreign.add(made)
