"""Invokes the real handler as Lambda would, at a simulated moment, and reads its structured log."""

from __future__ import annotations

import contextlib
import io
import json
import re
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast
from unittest import mock

from lambda_function import handler
from lambda_function.errors import AutoSnapshotsError
from lambda_function.model.ec2 import Consistency
from lambda_function.model.period import Period
from lambda_function.model.request import RunRequest
from lambda_function.model.result import (
    Change,
    ChangeOutcome,
    ChangeResult,
    HookResult,
    Outcome,
    RunReport,
    VolumeResult,
)
from lambda_function.output.log import logger
from lambda_function.output.metrics import COUNTS


@dataclass
class Clock:
    """Simulated time: the handler's clock, the endpoint's and the simulated agents'.

    As the handler's `time` it passes only while a thread sleeps; parallel sleeps overlap.
    """

    now: datetime
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self) -> datetime:
        return self.now

    def monotonic(self) -> float:
        return self.now.timestamp()

    def sleep(self, seconds: float) -> None:
        until = self.now + timedelta(seconds=seconds)
        time.sleep(0.005)  # so that other threads start their sleep too
        with self._lock:
            self.now = max(self.now, until)


@dataclass
class Invocation:
    """One invocation's output: its log lines by kind, and its answer or error."""

    moment: datetime
    period: str
    again: bool = False
    volumes: list[dict[str, Any]] = field(default_factory=list)
    changes: list[dict[str, Any]] = field(default_factory=list)
    hooks: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    summary: dict[str, int] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    answer: dict[str, Any] | None = None
    error: str | None = None

    @property
    def logged_failures(self) -> list[str]:
        lines = [line for line in (*self.volumes, *self.changes) if line["outcome"] == "failed"]
        return [*self.failures, *(f"{line['volume_id']}: {line['reason']}" for line in lines)]

    @property
    def report(self) -> RunReport:
        """The run's report, as far as the log has it."""
        unknown = (line["volume_id"] for line in self.volumes if line["outcome"] == Outcome.UNKNOWN_POLICY)
        return RunReport(
            RunRequest(Period(self.period), self.moment),
            volumes=tuple(
                VolumeResult(
                    line["volume_id"],
                    line.get("policy"),
                    Outcome(line["outcome"]),
                    line["reason"],
                    line.get("snapshot_id"),
                    Consistency(line["consistency"]) if "consistency" in line else None,
                    tuple(line.get("warnings", ())),
                )
                for line in self.volumes
            ),
            changes=tuple(
                ChangeResult(
                    line["snapshot_id"],
                    line["volume_id"],
                    Change(line["change"]),
                    ChangeOutcome(line["outcome"]),
                    line["reason"],
                )
                for line in self.changes
            ),
            failures=tuple(self.logged_failures),
            warnings=(*self.warnings, *unknown),
            hooks=tuple(
                HookResult(
                    tuple(line["instance_ids"]), line["policy"], line.get("problem"), steps=tuple(line.get("steps", ()))
                )
                for line in self.hooks
            ),
            failed_snapshots=tuple(re.findall(r"snap-[0-9a-f]+", " ".join(self.warnings))),
        )

    @property
    def faults(self) -> list[str]:
        """Contradictions between answer, error, log and metrics; there must be none."""
        found = []
        if not self.summary:
            return [f"no summary in the log: {self.error}"]
        failures = self.logged_failures
        if (self.answer is None) != bool(failures):
            found.append(f"failures {failures}, but error {self.error}")
        if len(failures) != self.summary["failed"]:
            found.append(f"{len(failures)} failures in the log, {self.summary['failed']} in the summary")
        counted = {name: count for name, count in self.summary.items() if count}
        if self.answer is not None and self.answer["summary"] != counted:
            found.append("answer and log differ")
        for metric, count in COUNTS.items():
            if self.metrics.get(metric, [0]) != [self.summary[count]]:
                found.append(f"the metric {metric} says {self.metrics.get(metric)}, the log {self.summary[count]}")
        if self.metrics.get("RunsCompleted") != [1]:
            found.append("no metric says that the run was completed")
        return found


class Context:
    """As much of Lambda's context object as the handler uses, with the template's time-out ahead."""

    def __init__(self) -> None:
        self.aws_request_id = str(uuid.uuid4())

    def get_remaining_time_in_millis(self) -> int:
        return 900_000


@contextmanager
def deployed(clock: Clock) -> Iterator[Counter[str]]:
    """The handler under a simulated clock, with new clients; yields the count of its HTTP calls by API name."""
    calls: Counter[str] = Counter()

    def count(event_name: str, **_: Any) -> None:
        calls[event_name.rsplit(".", 1)[-1]] += 1

    handler.clients.cache_clear()
    with mock.patch("lambda_function.handler.utc_now", clock), mock.patch("lambda_function.app.time", clock):
        built = handler.clients()
        for client in (built.reading, built.creating, built.changing, built.ssm, *vars(built.for_hooks).values()):
            client.meta.events.register("before-send", count)
        try:
            yield calls
        finally:
            handler.clients.cache_clear()


def invoke(event: dict[str, Any], moment: datetime, again: bool = False) -> Invocation:
    """One invocation; its captured output and log become the result."""
    result = Invocation(moment, event["period"], again)
    output = io.StringIO()
    handling = cast("Any", logger.registered_handler)
    before = handling.setStream(output)
    try:
        with contextlib.redirect_stdout(output):
            result.answer = handler.lambda_handler(event, cast("Any", Context()))
    except AutoSnapshotsError as error:
        result.error = str(error)
    finally:
        handling.setStream(before)
    for line in output.getvalue().splitlines():
        _read(json.loads(line), result)
    return result


def _read(line: dict[str, Any], result: Invocation) -> None:
    if "_aws" in line:
        result.metrics |= line
    elif line["message"] == "volume":
        result.volumes.append(line)
    elif line["message"] == "hook":
        result.hooks.append(line)
    elif line["message"] == "snapshot":
        result.changes.append(line)
    elif "summary" in line:
        result.summary = line["summary"]
    elif line["level"] == "WARNING":
        result.warnings.append(line["message"])
    elif line["level"] == "ERROR":
        result.failures.append(line["message"])
