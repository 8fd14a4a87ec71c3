"""The real handler, invoked as Lambda would, on service time; prints the result as JSON.

`python -m tools.bench.invoked '{"factor": 8, "epoch": ..., "seconds": 900, "address": ...}'`, with the environment of
`tests.support.throttled.remote`. What it leaves in Lambda's queue is invoked in turn, at most `invocations` times in
all; or at once, `side_by_side`, in threads of this process: no process and no memory of its own are shown so.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast
from unittest import mock

from tests.support.throttled.clock import ServiceClock, machine_seconds
from tests.support.throttled.remote import Remote

TARGETS_PATH = "/auto-snapshots/targets/"


class Context:
    """As much of Lambda's context object as the handler uses; its time is service time."""

    function_name = "auto-snapshots-bench"
    invoked_function_arn = "arn:aws:lambda:eu-west-1:123456789012:function:auto-snapshots-bench"
    memory_limit_in_mb = 512

    def __init__(self, clock: ServiceClock, seconds: float) -> None:
        self.aws_request_id = str(uuid.uuid4())
        self._clock = clock
        self._ends = clock.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        return max(0, round((self._ends - self._clock.monotonic()) * 1000))


def processor_ticks() -> tuple[int, int]:
    """The whole machine's ticks since it started: busy, and all."""
    fields = [int(ticks) for ticks in Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]]
    idle = fields[3] + fields[4]
    return sum(fields) - idle, sum(fields)


def measured(clock: ServiceClock, remote: Remote, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `work` returns, with what it cost here, at the endpoint and on the machine."""
    busy, ticks = processor_ticks()
    remote.ask("begin")
    (wall, cpu), began = machine_seconds(), clock.monotonic()
    outcome = work()
    seconds = clock.monotonic() - began
    wall_after, cpu_after = machine_seconds()
    stats = remote.ask("stats")
    busy_after, ticks_after = processor_ticks()
    return {
        **stats,
        **outcome,
        "seconds": seconds,
        "client_cpu": (cpu_after - cpu) / (wall_after - wall),
        "endpoint_cpu": stats.pop("cpu") / (wall_after - wall),
        "machine_cpu": (busy_after - busy) / max(ticks_after - ticks, 1),
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    asked = json.loads(sys.argv[1])
    clock = ServiceClock(asked["factor"], asked["epoch"])
    clock.install()
    # Imported late, so that nothing of AWS keeps the machine's clock.
    from lambda_function import handler  # noqa: PLC0415
    from lambda_function.errors import AutoSnapshotsError  # noqa: PLC0415
    from lambda_function.output.log import logger  # noqa: PLC0415

    if asked["side_by_side"]:
        os.environ["TARGETS_PATH"] = TARGETS_PATH
    remote = Remote(asked["address"])
    log, errors = io.StringIO(), list[str]()

    def invoke(event: Any) -> None:
        try:
            handler.lambda_handler(event, cast("Any", Context(clock, asked["seconds"])))
        except AutoSnapshotsError as error:
            errors.append(str(error)[:500])

    def side_by_side() -> dict[str, Any]:
        """As Lambda does, which takes from its queue whatever lies there."""
        threads = [threading.Thread(target=invoke, args=({"period": "hour"},))]
        threads[0].start()
        while True:
            is_busy = any(thread.is_alive() for thread in threads)  # before polling: the last may leave something
            queued = remote.ask("invocations")
            for event in queued:
                threads.append(threading.Thread(target=invoke, args=(event,)))
                threads[-1].start()
            if not is_busy and not queued:
                return {"invoked": len(threads)}
            time.sleep(0.1)

    def invocations() -> dict[str, Any]:
        queue, invoked = [{"period": "hour"}], 0
        while queue and invoked < asked["invocations"]:
            invoke(queue.pop(0))
            invoked += 1
            queue += remote.ask("invocations")
        return {"invoked": invoked}

    with (
        mock.patch.object(handler, "utc_now", clock.now),
        mock.patch.object(cast("Any", logger.registered_handler), "stream", log),
        contextlib.redirect_stdout(log),
    ):
        handler.clients()
        result = measured(clock, remote, side_by_side if asked["side_by_side"] else invocations)
    print(json.dumps({**result, "errors": errors, **_told(log.getvalue())}))


def _told(log: str) -> dict[str, Any]:
    """The sums over all invocations' summaries."""
    summary: dict[str, int] = {}
    for line in log.splitlines():
        told = json.loads(line)
        for name, count in told.get("summary", {}).items():
            summary[name] = summary.get(name, 0) + count
    return {"summary": summary}


if __name__ == "__main__":
    main()
