"""EventBridge's rules and Lambda's service: each event at least once, a failed one again after one and two minutes."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random
from typing import Any

from lambda_function.errors import AutoSnapshotsError
from lambda_function.inputs.event import parse_event
from lambda_function.model.request import RunRequest
from lambda_function.model.result import RunReport
from lambda_function.run.continuation import continue_or_conclude
from lambda_function.run.runner import run
from tests.campaigns.long_run.cloud import LongCloud
from tests.campaigns.long_run.faults import Died, Faults
from tests.campaigns.long_run.promises import Oracle

RETRIES = (timedelta(minutes=1), timedelta(minutes=2))
DUPLICATES = 0.005
LIMIT = 900
FIRES = {"hour": range(24), "day": (0, 3, 6), **dict.fromkeys(("week", "month", "year"), (0,))}
FORCED = 0.01


class Lambda:
    """Runs events one after another, as their time comes."""

    def __init__(self, random: Random, cloud: LongCloud, faults: Faults, oracle: Oracle, *, forces: bool) -> None:
        self._random = random
        self._cloud = cloud
        self._faults = faults
        self._oracle = oracle
        self._forces = forces
        self._queue: list[tuple[datetime, int, dict[str, Any], int]] = []
        self._numbers = itertools.count()
        self.runs: Counter[str] = Counter()

    def fire(self, hour: datetime) -> list[str]:
        """The template's schedules for this hour, and now and then a forced run; the periods that are fired."""
        fired = []
        for position, (period, hours) in enumerate(FIRES.items()):
            if hour.hour not in hours:
                continue
            fired.append(period)
            at = hour + timedelta(minutes=5 + 10 * position, seconds=self._random.uniform(0, 20))
            self._put(at, {"period": period})
            if self._random.random() < DUPLICATES:
                self.runs["duplicates"] += 1
                self._put(at + timedelta(seconds=self._random.choice((0, 1, 5, 60, 300))), {"period": period})
        if self._forces and self._random.random() < FORCED:
            period = self._random.choice(list(FIRES))
            self.runs["forced"] += 1
            self._put(hour + timedelta(minutes=56), {"period": period, "force": True})
        return fired

    def deliver(self, between_runs: Callable[[], None]) -> None:
        """All that is queued, what comes of it included."""
        while self._queue:
            between_runs()
            at, _, event, attempt = heapq.heappop(self._queue)
            self._cloud.clock.now = max(self._cloud.clock.now, at)
            is_failed = self._invoke(event)
            self.runs["invocations"] += 1
            self.runs["failed"] += is_failed
            if is_failed and attempt < len(RETRIES):
                self.runs["repetitions"] += 1
                self._put(self._cloud.clock.now + RETRIES[attempt], event, attempt + 1)

    def _put(self, at: datetime, event: dict[str, Any], attempt: int = 0) -> None:
        heapq.heappush(self._queue, (at, next(self._numbers), event, attempt))

    def _invoke_again(self, event: dict[str, Any]) -> None:
        self._faults.before("Invoke", event["period"])
        self.runs["continuations"] += 1
        self._put(self._cloud.clock.now + timedelta(seconds=1), event)
        self._faults.after("Invoke", event["period"])

    def _invoke(self, event: dict[str, Any]) -> bool:
        """One invocation, as the handler does it; whether it failed."""
        cloud, oracle = self._cloud, self._oracle
        self._faults.begin()
        cloud.settle()
        oracle.begin(event["period"], makes_anyway=event.get("force", False))
        report: RunReport | None = None
        try:
            request = parse_event(event, cloud.clock.now)
            assert isinstance(request, RunRequest)
            context = cloud._context(LIMIT)
            report = run(request, context)
            report = continue_or_conclude(report, event, cloud.clock.now, self._invoke_again)
        except Died:
            self.runs["died"] += 1
            report = None
            cloud.clock.now = min(cloud.clock.now + timedelta(seconds=self._random.uniform(0, 30)), cloud.ends)
        except AutoSnapshotsError:
            self.runs["could not read"] += 1
            oracle.nothing_was_done()
        cloud.settle()
        cloud.journal.clear()
        cloud.ssm.sent.clear()
        is_failed = report is None or bool(report.failures and not report.is_continued)
        oracle.end(report, is_failed=is_failed, faults=self._faults.of_this_run)
        return is_failed
