"""What runs on the instances: a document that freezes, with a thaw of its own, and scripts that fail."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from tests.support.clock import Clock
from tests.support.ssm import Reply

HANGS = 100_000.0
ANOTHERS, THAWED, NOT_FROZEN = 204, 203, 205


@dataclass
class Freeze:
    """`until` is when the instance thaws by itself; `ended` is None where no post has thawed it.

    `has_post` says that a post came, however it went.
    """

    execution_id: str
    at: datetime
    until: datetime
    ended: datetime | None = None
    has_post: bool = False


class Instances:
    """`fault` is what becomes of the script sent next: "script fails", "script hangs" or "thaws early"."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.frozen: dict[str, Freeze] = {}
        self.past: dict[str, deque[Freeze]] = {}
        self.failed_posts: set[str] = set()
        self.fault: str | None = None
        self.freezes = 0

    def still_frozen(self) -> dict[str, Freeze]:
        """Those that nothing has thawed yet."""
        now = self._clock.now
        return {each: freeze for each, freeze in self.frozen.items() if now < freeze.until}

    def run(self, instance_id: str, parameters: Mapping[str, list[str]]) -> Reply:
        """The script, as FakeSsm calls it."""
        fault, self.fault = self.fault, None
        if parameters["command"][0] == "pre-script":
            return self._pre(instance_id, parameters, fault)
        return self._post(instance_id, parameters["executionId"][0], fault)

    def _pre(self, instance_id: str, parameters: Mapping[str, list[str]], fault: str | None) -> Reply:
        if fault == "script fails":
            return Reply(exit_code=1, output="no such database\n")
        if instance_id in self.still_frozen():
            return Reply(exit_code=ANOTHERS)
        timeout = timedelta(seconds=int(parameters["timeoutSeconds"][0]))
        at = self._clock.now + timedelta(seconds=1.5)
        until = at if fault == "thaws early" else at + 2 * timeout
        freeze = Freeze(parameters["executionId"][0], at, until)
        self.frozen[instance_id] = freeze
        self.past.setdefault(instance_id, deque(maxlen=4)).append(freeze)
        self.freezes += 1
        if fault == "script hangs":
            return Reply(seconds=HANGS)
        return Reply(output=f"auto-snapshots: frozen {parameters['volumeIds'][0].replace(',', ' ')}\n")

    def _post(self, instance_id: str, execution_id: str, fault: str | None) -> Reply:
        freeze = self.frozen.get(instance_id)
        if freeze is not None and freeze.execution_id == execution_id:
            freeze.has_post = True
        if fault == "script fails":
            self.failed_posts.add(instance_id)
            return Reply(exit_code=1, output="could not thaw\n")
        if fault == "script hangs":
            return Reply(seconds=HANGS)
        if freeze is None or freeze.execution_id != execution_id:
            return Reply(exit_code=NOT_FROZEN)
        del self.frozen[instance_id]
        # One whose failure was not seen is sent again; what counts is the last.
        self.failed_posts.discard(instance_id)
        if self._clock.now >= freeze.until:
            return Reply(exit_code=THAWED, output="auto-snapshots: held no\n")
        freeze.ended = self._clock.now
        return Reply(output="auto-snapshots: held-ms 1234\nauto-snapshots: held yes\n")
