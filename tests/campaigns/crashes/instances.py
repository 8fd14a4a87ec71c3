"""The document on the instances: one freeze each, answers that are kept, and the automatic thaw.

What the shipped documents do, as far as it can be told from outside: a pre that finds another's freeze ends with
204, a repeated stage gives its first answer again, a pre that comes after its post refuses, and whatever is still
frozen after twice `timeoutSeconds` is thawed without anybody asking.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple


class Answer(NamedTuple):
    """How a stage ended, and what it printed."""

    exit_code: int
    output: str = ""


@dataclass
class Freeze:
    """One freeze of one instance; `until` and `ended_by` are None while it lasts."""

    instance_id: str
    execution_id: str
    volume_ids: frozenset[str]
    since: datetime
    deadline: datetime
    until: datetime | None = None
    ended_by: str | None = None

    @property
    def is_proof(self) -> bool:
        return self.ended_by == "post"

    def covers(self, volume_id: str, moment: datetime) -> bool:
        return volume_id in self.volume_ids and self.since <= moment <= (self.until or moment)


class Instances:
    """All instances of the fleet; `freezes` is the history."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._posted: dict[str, Answer] = {}
        self.freezes: list[Freeze] = []

    def frozen(self) -> list[Freeze]:
        """Those that last, after the automatic thaw has done what was due by now."""
        for each in self.freezes:
            if each.until is None and self._now() >= each.deadline:
                each.until, each.ended_by = each.deadline, "automatic thaw"
        return [each for each in self.freezes if each.until is None]

    def run(self, instance_id: str, parameters: Mapping[str, str]) -> Answer:
        if parameters["command"] == "pre-script":
            return self._pre(instance_id, parameters)
        return self._post(instance_id, parameters["executionId"])

    def _pre(self, instance_id: str, parameters: Mapping[str, str]) -> Answer:
        execution_id, now = parameters["executionId"], self._now()
        if now.timestamp() > int(parameters["notAfter"]) or execution_id in self._posted:
            return Answer(201)
        volume_ids = parameters["volumeIds"].split(",")
        claim = f"auto-snapshots: frozen {' '.join(volume_ids)}\n"
        for held in self.frozen():
            if held.instance_id == instance_id:
                return Answer(0, claim) if held.execution_id == execution_id else Answer(204)
        deadline = now + timedelta(seconds=2 * int(parameters["timeoutSeconds"]))
        self.freezes.append(Freeze(instance_id, execution_id, frozenset(volume_ids), now, deadline))
        return Answer(0, claim)

    def _post(self, instance_id: str, execution_id: str) -> Answer:
        frozen = self.frozen()
        if execution_id not in self._posted:
            self._posted[execution_id] = self._thaw(frozen, instance_id, execution_id)
        return self._posted[execution_id]

    def _thaw(self, frozen: list[Freeze], instance_id: str, execution_id: str) -> Answer:
        for held in frozen:
            if (held.instance_id, held.execution_id) == (instance_id, execution_id):
                held.until, held.ended_by = self._now(), "post"
                milliseconds = round((held.until - held.since).total_seconds() * 1000)
                return Answer(0, f"auto-snapshots: held-ms {milliseconds}\nauto-snapshots: held yes\n")
        was_frozen = any(each.execution_id == execution_id for each in self.freezes)
        return Answer(203 if was_frozen else 205, "auto-snapshots: held no\n")
