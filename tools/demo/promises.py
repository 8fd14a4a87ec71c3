"""What every volume must have in the end, worked out beside the software under test and not by it."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tools.demo.fleet import KEY, PERIOD_KEY, Fleet, Member
from tools.demo.runs import Invocation

PERIODS = ("hour", "day", "week", "month", "year")

_SLOT = {"hour": "%Y-%m-%d %H", "day": "%Y-%m-%d", "week": "%G-W%V", "month": "%Y-%m", "year": "%Y"}


@dataclass(frozen=True)
class Holding:
    """What a volume has for one period; `promised` is N, None where the period is not its policy's."""

    promised: int | None
    count: int
    newest: datetime | None


@dataclass(frozen=True)
class Retention:
    """One volume in the end; `broken` says which promises were not kept, `newest` is its consistency word."""

    name: str
    policy: str
    holdings: dict[str, Holding]
    broken: tuple[str, ...]
    notes: tuple[str, ...]
    newest: str = ""


class Ledger:
    """Notes each run's opportunities as they come, and judges in the end."""

    def __init__(self, fleet: Fleet, policies: dict[str, str]) -> None:
        self._fleet = fleet
        self._policies: dict[str, dict[str, Any]] = {name: json.loads(value) for name, value in policies.items()}
        self._due: dict[tuple[str, str], set[str]] = defaultdict(set)
        self._last_run: dict[str, datetime] = {}
        self._last_created: dict[str, datetime] = {}
        self._before = {snapshot["SnapshotId"]: snapshot["Tags"] for snapshot in fleet.account.snapshots()}
        self.broken: list[str] = []

    def remember(self) -> None:
        """Note the tags of what has become untouchable meanwhile."""
        for snapshot in self._fleet.account.snapshots():
            if snapshot["SnapshotId"] in self._fleet.untouchable:
                self._before.setdefault(snapshot["SnapshotId"], snapshot["Tags"])

    def note(self, run: Invocation) -> None:
        """The slots that this run had to serve, and whether its failures are exactly the expected ones."""
        self._last_run[run.period] = run.moment
        refused = set()
        for member in self._fleet.members:
            if not self._count(member, run.period) or not member.exists(run.moment):
                continue
            slot = (run.moment.strftime(_SLOT[run.period])) not in self._due[member.id, run.period]
            if member.is_refused(run.moment):
                refused |= {member.id} if slot else set()
            else:
                self._due[member.id, run.period].add(run.moment.strftime(_SLOT[run.period]))
        failed = {line["volume_id"] for line in run.volumes if line["outcome"] == "failed"}
        where = f"{run.moment:%d %H:%M} {run.period}"
        self.broken += [f"{where}: {fault}" for fault in run.faults]
        for volume_id in (line["volume_id"] for line in run.volumes if line["outcome"] == "created"):
            before = self._last_created.get(volume_id)
            if before is not None and run.moment - before < timedelta(hours=1):
                self.broken.append(f"{where}: {self._fleet.name_of(volume_id)}: not shared, two within an hour")
            self._last_created[volume_id] = run.moment
        self._note_freezes(run, where)
        if failed != refused:
            names = [sorted(map(self._fleet.name_of, ids)) for ids in (failed, refused)]
            self.broken.append(f"{where}: failed {names[0]}, expected {names[1]}")

    def _note_freezes(self, run: Invocation, where: str) -> None:
        """Each pre has its post, nothing stays frozen, and each word is the one that was earned."""
        agents = self._fleet.rules.agents
        if agents.frozen:
            self.broken.append(f"{where}: left frozen: {sorted(agents.frozen)}")
        stages = {"pre-script": set[str](), "post-script": set[str]()}
        for sent in agents.sent:
            stages[sent.stage].add(sent.parameters["executionId"])
        if stages["pre-script"] != stages["post-script"]:
            self.broken.append(f"{where}: a pre without its post, or a post without its pre")
        members = {member.id: member for member in self._fleet.members}
        for line in run.volumes:
            if line["outcome"] == "created" and line["consistency"] != members[line["volume_id"]].word(run.moment):
                self.broken.append(f"{where}: {members[line['volume_id']].name} was called {line['consistency']}")

    def apply_retention(self) -> list[Retention]:
        """One verdict per volume; promises about snapshots of no volume go to `broken`."""
        for volume_id, period, started in self._fleet.lost:
            self._due[volume_id, period].discard(started.strftime(_SLOT[period]))
        found = self._fleet.account.snapshots()
        present = {snapshot["SnapshotId"]: snapshot["Tags"] for snapshot in found}
        for snapshot_id, what in self._fleet.untouchable.items():
            if present.get(snapshot_id) != self._before[snapshot_id]:
                self.broken.append(f"{snapshot_id} ({what}) was touched")
        return [
            self._judge(member, [snapshot for snapshot in found if snapshot["VolumeId"] == member.id])
            for member in self._fleet.members
        ]

    def _count(self, member: Member, period: str) -> int | None:
        count: int | None = self._policies[member.policy].get(period) if member.policy else None
        return count

    def _judge(self, member: Member, found: list[dict[str, Any]]) -> Retention:
        ours = [s for s in found if PERIOD_KEY in s["Tags"] and s["SnapshotId"] not in self._fleet.untouchable]
        if member.policy is None:
            broken = ("has snapshots of ours",) if ours else ()
            return Retention(member.name, "", {}, broken, (f"untouched: {member.why_not}",))
        if member.until is not None:
            left = sum(what.startswith("of leaver") for what in self._fleet.untouchable.values())
            return Retention(member.name, member.policy, {}, (), (f"gone; its {left} are kept",))
        faults: list[str] = []
        notes: list[str] = []
        holdings = {}
        for period in PERIODS:
            bearing = [s for s in ours if period in s["Tags"][PERIOD_KEY].split() and s["State"] != "error"]
            holdings[period] = self._holding(member, period, bearing, faults, notes)
        notes += self._other_notes(member, ours, faults)
        newest = max(ours, key=lambda snapshot: snapshot["StartTime"], default=None)
        word = newest["Tags"].get(f"{KEY}-CONSISTENCY", "none") if newest else ""
        return Retention(member.name, member.policy, holdings, tuple(faults), tuple(notes), word)

    def _holding(
        self, member: Member, period: str, bearing: list[dict[str, Any]], faults: list[str], notes: list[str]
    ) -> Holding:
        promised = self._count(member, period)
        free = [snapshot for snapshot in bearing if snapshot["SnapshotId"] not in member.protected]
        newest = max((snapshot["StartTime"] for snapshot in free), default=None)
        holding = Holding(promised, len(free), newest)
        slots = self._due[member.id, period]
        expected = min(promised or 0, member.seeds[period] + len(slots))
        if promised is None:
            expected = member.seeds[period]
        one_waits = promised == 1 and newest == self._last_run.get(period) and len(free) == 2
        if len(free) != expected and not one_waits:
            faults.append(f"{period}: has {len(free)}, should have {expected}")
        if promised and slots and (newest is None or newest.strftime(_SLOT[period]) not in max(slots)):
            faults.append(f"{period}: newest is {newest}, should be in {max(slots)}")
        if one_waits:
            notes.append(f"{period}: the older goes in the next run")
        return holding

    def _other_notes(self, member: Member, ours: list[dict[str, Any]], faults: list[str]) -> list[str]:
        by_age = sorted(ours, key=lambda snapshot: snapshot["StartTime"])
        word = member.word(self._last_created.get(member.id, self._fleet.start))
        if by_age and by_age[-1]["Tags"].get(f"{KEY}-CONSISTENCY") != word:
            faults.append(f"the newest is not {word}")
        if any(snapshot["State"] == "error" for snapshot in ours):
            faults.append("a failed snapshot is still there")
        held = sum(snapshot["SnapshotId"] in member.protected for snapshot in ours)
        if held != len(member.protected):
            faults.append("a protected snapshot is gone")
        return [f"{held} more is protected"] if held else []
