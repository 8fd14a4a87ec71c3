"""Instances with a document, as far as it can be told from outside: one freeze each, and an automatic thaw.

A pre that finds another's freeze ends with 204, one that comes after its post or too late with 201, a post with 203
where the freeze had ended and with 205 where there was none; a repeated stage gives its first answer again, and what
is still frozen after twice `timeoutSeconds` is thawed without anybody asking.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

HANGS = 100_000.0
REMEMBERED = 200
"""Freezes, and answers of post: more than any run has, and few enough for years."""


class Answer(NamedTuple):
    """How a stage ended, what it printed, and how long it took."""

    exit_code: int = 0
    output: str = ""
    error: str = ""
    seconds: float = 1.0


@dataclass
class Freeze:
    """One freeze of one instance; `until` and `ended_by` are None while it lasts, `has_post` however its post went."""

    instance_id: str
    execution_id: str
    volume_ids: frozenset[str]
    since: datetime
    deadline: datetime
    until: datetime | None = None
    ended_by: str | None = None
    has_post: bool = False

    def proves(self, volume_id: str, moment: datetime) -> bool:
        """Whether a post has confirmed that the volume was frozen at this moment."""
        is_within = self.until is not None and self.since <= moment <= self.until
        return self.ended_by == "post" and volume_id in self.volume_ids and is_within


class Instances:
    """All of them, thawed at first. `fault` is what becomes of the next stage: "script fails", "script hangs" or
    "thaws early"; on those that are `broken` every pre-script fails.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._posted: dict[str, Answer] = {}
        self.freezes: deque[Freeze] = deque(maxlen=REMEMBERED)
        self.fault: str | None = None
        self.broken: set[str] = set()
        self.count = 0

    def frozen(self) -> list[Freeze]:
        """The freezes that last, after the automatic thaw has done what was due by now."""
        for freeze in self.freezes:
            if freeze.until is None and self._now() >= freeze.deadline:
                freeze.until, freeze.ended_by = freeze.deadline, "automatic thaw"
        return [freeze for freeze in self.freezes if freeze.until is None]

    def run(
        self, instance_id: str, parameters: Mapping[str, str], seconds: float = 1.0, at: datetime | None = None
    ) -> Answer:
        """One stage, begun now or at another moment; what it freezes is frozen at its end."""
        fault, self.fault = self.fault, None
        begins = at or self._now()
        if parameters["command"] == "pre-script":
            answer = self._pre(instance_id, parameters, fault, begins + timedelta(seconds=seconds))
        elif parameters["command"] == "post-script":
            answer = self._post(instance_id, parameters["executionId"], fault, begins)
        else:
            answer = Answer(output="auto-snapshots: ready\n")
        return answer._replace(seconds=HANGS if fault == "script hangs" else seconds)

    def _pre(self, instance_id: str, parameters: Mapping[str, str], fault: str | None, ends: datetime) -> Answer:
        execution_id = parameters["executionId"]
        is_late = 0 < int(parameters.get("notAfter", "0")) < self._now().timestamp()
        if is_late or execution_id in self._posted:
            return Answer(201)
        if fault == "script fails" or instance_id in self.broken:
            return Answer(1, "no such database\n")
        volume_ids = parameters.get("volumeIds", "").split(",")
        claim = Answer(output=f"auto-snapshots: frozen {' '.join(volume_ids)}\n")
        for held in self.frozen():
            if held.instance_id == instance_id:
                is_its_own = held.execution_id == execution_id
                return claim if is_its_own else Answer(204, error=f"the freeze of {held.execution_id} is held\n")
        limit = timedelta(seconds=2 * int(parameters.get("timeoutSeconds", "60")))
        deadline = ends if fault == "thaws early" else ends + limit
        self.freezes.append(Freeze(instance_id, execution_id, frozenset(volume_ids), ends, deadline))
        self.count += 1
        return claim

    def _post(self, instance_id: str, execution_id: str, fault: str | None, begins: datetime) -> Answer:
        self.frozen()
        own = [freeze for freeze in self.freezes if freeze.execution_id == execution_id]
        for freeze in own:
            freeze.has_post = True
        if fault == "script fails":
            return Answer(1, "could not thaw\n")
        if execution_id not in self._posted and fault != "script hangs":
            self._posted[execution_id] = self._thaw([f for f in own if f.instance_id == instance_id], begins)
            if len(self._posted) > REMEMBERED:
                del self._posted[next(iter(self._posted))]
        return self._posted.get(execution_id, Answer())

    def _thaw(self, own: list[Freeze], begins: datetime) -> Answer:
        for freeze in own:
            if freeze.until is None:
                freeze.until, freeze.ended_by = begins, "post"
                held_ms = round((begins - freeze.since).total_seconds() * 1000)
                return Answer(output=f"auto-snapshots: held-ms {held_ms}\nauto-snapshots: held yes\n")
        what = "nothing is frozen any more" if own else "nothing is frozen for this executionId"
        return Answer(203 if own else 205, "auto-snapshots: held no\n", f"{what}\n")
