"""`python -m tests.campaigns.crashes.victim CLOCK CALLS`: a function's process that ends at a given call.

It does so again and again.

A process that is ready to run (all loaded, clients built, no connection open) takes orders from standard input, one a
line: `{"period": "day", "at": 7, "side": "before"}`. For each it forks a child, in which the handler runs the event
until its seventh request is about to be sent, or was answered (`after`); there the child ends by `os._exit`, so that
nothing in it runs any more. Each request is noted in the file CALLS before it is sent. The child's exit code is the
answer.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from botocore.client import BaseClient

from lambda_function import handler
from lambda_function.aws.clients import Clients
from lambda_function.errors import RunFailedError
from tests.campaigns.crashes.schedule import in_one_thread
from tests.campaigns.crashes.shared_clock import SharedClock

DONE, FAILED, KILLED = 0, 1, 9
SECONDS = 900


class _Deadly:
    """Listens to all clients; counts attempts as they are sent."""

    def __init__(self, calls: Path, at: int, side: str) -> None:
        self._calls = os.open(calls, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        self._at, self._side = at, side
        self._count = 0

    def listen(self, clients: Clients) -> None:
        for each in vars(clients).values():
            if isinstance(each, BaseClient):
                each.meta.events.register_last("before-send", self._before)
                each.meta.events.register_last("response-received", self._after)

    def _before(self, event_name: str, **_: Any) -> None:
        self._count += 1
        os.write(self._calls, f"{event_name.rsplit('.', 1)[-1]}\n".encode())
        if (self._count, self._side) == (self._at, "before"):
            os._exit(KILLED)

    def _after(self, **_: Any) -> None:
        if (self._count, self._side) == (self._at, "after"):
            os._exit(KILLED)


def _live(order: dict[str, Any], calls: Path, clock: SharedClock) -> int:
    _Deadly(calls, order["at"], order["side"]).listen(handler.clients())
    ends = clock.monotonic() + SECONDS
    context: Any = SimpleNamespace(
        aws_request_id="request",
        invoked_function_arn="",
        get_remaining_time_in_millis=lambda: round((ends - clock.monotonic()) * 1000),
    )
    try:
        handler.lambda_handler({"period": order["period"]}, context)
    except RunFailedError:
        return FAILED
    return DONE


def _serve(clock: SharedClock, calls: Path) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # where the function's log goes
    handler.clients()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            code = 2
            try:
                code = _live(json.loads(line), calls, clock)
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), file=answers, flush=True)


if __name__ == "__main__":
    ticking = SharedClock(Path(sys.argv[1]))
    with (
        mock.patch("lambda_function.handler.utc_now", ticking),
        mock.patch("lambda_function.app.time", ticking),
        mock.patch("lambda_function.aws.rate_limit.BURST", 1e9),
        in_one_thread("changes last"),
    ):
        _serve(ticking, Path(sys.argv[2]))
