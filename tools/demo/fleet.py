"""The account of the demonstration: a small fleet like real ones, and what happens to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.support.endpoint import Account, Rules, ec2_backend
from tests.support.run_command_endpoint import Reply, Sent

KEY = "AUTO-SNAPSHOT"
PERIOD_KEY = f"{KEY}-PERIOD"

OWN_POLICY = ("ARCHIVE", '{"day": 2, "week": 4, "month": 12, "year": 7}')
"""Beside the template's two: one that a user added, for detached volumes too and with a year."""

HOOK_POLICIES = {
    "ORDERS": '{"hour": 2, "day": 3, "hook_document": "%s"}',
    "WIKI": '{"hour": 2, "hook_document": "%s", "hook_on_failure": "continue"}',
}
"""For volumes that are frozen; %s is the document's name. WIKI's get snapshots even if the hook fails."""


@dataclass
class Member:
    """A volume and what to expect of it. `policy` is None if nothing may ever be created.

    `protected` are snapshots that nobody can delete. `outages` are times in which nothing can be
    created, `unfrozen` those in which its hook fails and a snapshot is created anyway.
    """

    id: str
    name: str
    policy: str | None = None
    why_not: str = ""
    consistency: str = "crash"
    protected: set[str] = field(default_factory=set)
    outages: list[tuple[datetime, datetime]] = field(default_factory=list)
    unfrozen: list[tuple[datetime, datetime]] = field(default_factory=list)
    since: datetime | None = None
    until: datetime | None = None

    def exists(self, moment: datetime) -> bool:
        return (self.since is None or self.since <= moment) and (self.until is None or moment < self.until)

    def is_refused(self, moment: datetime) -> bool:
        return any(begin <= moment < end for begin, end in self.outages)

    def word(self, moment: datetime) -> str:
        """The consistency word that a snapshot created at this moment must have."""
        return "crash" if any(begin <= moment < end for begin, end in self.unfrozen) else self.consistency


@dataclass(frozen=True)
class Happening:
    """Something that others do to the account at one moment; `act` may add to the text that is shown."""

    moment: datetime
    text: str
    act: Callable[[], None]


class Fleet:
    """Builds the account by API calls; only start times, the AMI's mark and the error state are set inside moto."""

    def __init__(self, rules: Rules, start: datetime) -> None:
        self.account = Account()
        self.rules = rules
        self.start = start
        self.members: list[Member] = []
        self.untouchable: dict[str, str] = {}
        self.happenings: list[Happening] = []
        self._selected()
        self._protected()
        self._unselected()
        self._foreign()
        self._troubles()
        self._hooked()

    def name_of(self, volume_id: str) -> str:
        return next((member.name for member in self.members if member.id == volume_id), volume_id)

    def _add(self, name: str, tags: dict[str, str] | None = None, instance: str | None = None, **rest: Any) -> Member:
        volume = self.account.volume({"Name": name, **(tags or {})}, instance)
        return self._adopt(volume, name, **rest)

    def _adopt(self, volume: str, name: str, **rest: Any) -> Member:
        member = Member(volume, name, **rest)
        self.members.append(member)
        return member

    def _selected(self) -> None:
        web = self.account.instance()
        root = self.account.root_of(web)
        self.account.tag(root, {"Name": "web root", KEY: "CRITICAL"})
        self.web = self._adopt(root, "web root", policy="CRITICAL")

        self.database = self.account.instance()
        root = self.account.root_of(self.database)
        self.account.tag(root, {"Name": "db root", KEY: "CRITICAL"})
        self._adopt(root, "db root", policy="CRITICAL")
        for name in ("db data", "db log"):
            self._add(name, {KEY: "CRITICAL"}, self.database, policy="CRITICAL")
        self._add("db scratch", None, self.database, why_not="no tag")

        stopped = self.account.instance()
        self._add("batch (stopped)", {KEY: "MEH"}, stopped, policy="MEH", consistency="offline")
        self.account.ec2.stop_instances(InstanceIds=[stopped])

        self._add("archive (detached)", {KEY: "ARCHIVE"}, policy="ARCHIVE", consistency="offline")
        self._add("key with S", {f"{KEY}S": "CRITICAL"}, web, policy="CRITICAL")

        old = self._add("from cron script", {KEY: "CRITICAL"}, self.account.instance(), policy="CRITICAL")
        for period, ages in {
            "hour": [timedelta(hours=n) for n in (1, 2, 3, 4)],
            "day": [timedelta(days=n, hours=-2) for n in range(1, 8)],
            "week": [timedelta(days=7 * n, hours=-1) for n in (2, 3, 4)],
            "month": [timedelta(days=31 * n) for n in (1, 2)],
        }.items():
            for age in ages:
                self.account.snapshot(old.id, {PERIOD_KEY: period}, self.start - age)

    def _protected(self) -> None:
        """Our snapshots, far beyond N, that EC2 refuses to delete."""
        tags = {KEY: "CRITICAL", PERIOD_KEY: "hour"}
        instance = self.account.instance()
        golden = self._add("golden (AMI)", {KEY: "CRITICAL"}, instance, policy="CRITICAL")
        used = self.account.snapshot(golden.id, tags, self.start - timedelta(days=9))
        image = self.account.ec2.create_image(InstanceId=instance, Name="golden")["ImageId"]
        ec2_backend().snapshots[used].from_ami = image
        golden.protected.add(used)
        vault = self._add("vault (locked)", {KEY: "CRITICAL"}, self.account.instance(), policy="CRITICAL")
        locked = self.account.snapshot(vault.id, tags, self.start - timedelta(days=8))
        self.rules.locks[locked] = "governance"
        vault.protected.add(locked)

    def _unselected(self) -> None:
        instance = self.account.instance()
        self._add("detached", {KEY: "CRITICAL"}, why_not="not attached")
        self._add("typo in value", {KEY: "CRITCAL"}, instance, why_not="no such policy")
        self._add("typo in key", {"Auto-Snapshot": "CRITICAL"}, instance, why_not="no such key")
        self._add("untagged", None, instance, why_not="no tag")

    def _foreign(self) -> None:
        """Snapshots that no run may ever touch."""
        week = self.start - timedelta(days=7)
        manual = self.account.snapshot(self.web.id, {"Name": "before the migration"}, week)
        self.untouchable[manual] = "manual, of web root"
        copied = self.account.snapshot(self.web.id, {KEY: "CRITICAL", "CreatedBy": "another tool"}, week)
        self.untouchable[copied] = "another tool's, with the volume's tags copied"
        gone = self.account.volume({KEY: "CRITICAL"})
        orphan = self.account.snapshot(gone, {PERIOD_KEY: "hour"}, week)
        self.account.ec2.delete_volume(VolumeId=gone)
        self.untouchable[orphan] = "cron script's, of a volume long deleted"

    def _troubles(self) -> None:
        def at(day: int, hour: int, minute: int = 0) -> datetime:
            return self.start + timedelta(days=day, hours=hour, minutes=minute)

        def plan(moment: datetime, text: str, act: Callable[[], Any]) -> None:
            self.happenings.append(Happening(moment, text, act))

        flaky = self._add("flaky key", {KEY: "CRITICAL"}, self.account.instance(), policy="CRITICAL")
        for begin, end in ((at(0, 9), at(0, 12)), (at(1, 0), at(1, 1))):
            flaky.outages.append((begin, end))
            plan(begin, "the key of 'flaky key' is disabled", lambda: self.rules.failing_volumes.add(flaky.id))
            plan(end, "the key of 'flaky key' is enabled again", lambda: self.rules.failing_volumes.discard(flaky.id))

        plan(at(0, 5, 9), "the snapshot of 'web root' begun at 05:05 turns to state error", self._break_newest)
        plan(at(1, 10, 30), "a new volume is attached and tagged: 'newcomer'", lambda: self._arrive(at(1, 10, 30)))
        host = self.account.instance()
        leaver = self._add("leaver", {KEY: "CRITICAL"}, host, policy="CRITICAL")
        leave = at(1, 14, 20)
        plan(leave, "the volume 'leaver' is detached and deleted", lambda: self._leave(leaver, host, leave))

    def _hooked(self) -> None:
        """Two instances with hooks: one whose freeze fails for two hours, one whose agent stops for good."""
        agents = self.rules.agents
        shop = self.account.instance()
        root = self.account.root_of(shop)
        self.account.tag(root, {"Name": "shop root", KEY: "CRITICAL"})
        self._adopt(root, "shop root", policy="CRITICAL")
        begin, end = self.start + timedelta(hours=6), self.start + timedelta(hours=8)
        for name in ("shop data", "shop log"):
            self._add(name, {KEY: "ORDERS"}, shop, policy="ORDERS", consistency="application", outages=[(begin, end)])
        wiki = self.account.instance()
        stop = self.start + timedelta(hours=4, minutes=30)
        self._add(
            "wiki data",
            {KEY: "WIKI"},
            wiki,
            policy="WIKI",
            consistency="application",
            unfrozen=[(stop, datetime.max.replace(tzinfo=UTC))],
        )

        def behave(command: Sent) -> Reply:
            return agents.well_behaved(command, 0.15 if command.stage == "pre-script" else 0.1)

        def fail(command: Sent) -> Reply:
            if command.stage != "pre-script":
                return behave(command)
            return Reply(201, error="auto-snapshots: device 259:1: fsfreeze: Input/output error\n", seconds=0.4)

        def shop_script(script: Callable[[Sent], Reply]) -> Callable[[], None]:
            return lambda: agents.scripts.update({shop: script})

        agents.scripts.update({shop: behave, wiki: behave})
        self.happenings += [
            Happening(
                stop,
                "the SSM agent of 'wiki data' stops; its policy continues without",
                lambda: agents.offline.add(wiki),
            ),
            Happening(
                begin, "the freeze of 'shop data' and 'shop log' begins to fail; their policy skips", shop_script(fail)
            ),
            Happening(end, "the freeze of 'shop data' and 'shop log' works again", shop_script(behave)),
        ]

    def _break_newest(self) -> None:
        newest = self.account.snapshots(self.web.id)[-1]
        ec2_backend().snapshots[newest["SnapshotId"]].status = "error"

    def _arrive(self, moment: datetime) -> None:
        self._add("newcomer", {KEY: "CRITICAL"}, self.account.instance(), policy="CRITICAL", since=moment)

    def _leave(self, leaver: Member, instance: str, moment: datetime) -> None:
        leaver.until = moment
        self.account.ec2.detach_volume(VolumeId=leaver.id, InstanceId=instance)
        self.account.ec2.delete_volume(VolumeId=leaver.id)
        for snapshot in self.account.snapshots(leaver.id):
            self.untouchable[snapshot["SnapshotId"]] = "of leaver, a volume deleted meanwhile"
