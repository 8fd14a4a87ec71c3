"""Two hundred volumes with policies as users have them, and what becomes of them from hour to hour."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random

from lambda_function.model.ec2 import SnapshotLock, SnapshotState, Volume
from tests.campaigns.long_run.cloud import LongCloud, of_policy
from tests.support.cloud import KEYS, Stored

PERIODS = ("hour", "day", "week", "month", "year")
DAYS = {"hour": 1 / 24, "day": 1, "week": 7, "month": 31, "year": 366}
HOUR = timedelta(hours=1)
SIZE = 200


@dataclass(frozen=True)
class Promise:
    """What a policy promises, said beside the code under test; `counts` has the periods that it mentions."""

    counts: dict[str, int] = field(default_factory=dict)
    attached_only: bool = False
    hooked: bool = False
    lenient: bool = False

    def text(self) -> str:
        """The policy as its user writes it."""
        hook = {"hook_document": "DOC", "hook_on_failure": "continue" if self.lenient else "skip"}
        return json.dumps({**self.counts, "only_attached_vols": self.attached_only, **(hook if self.hooked else {})})


POLICIES = {
    "HOURLY": Promise({"hour": 12, "day": 7, "week": 4, "month": 12, "year": 3}),
    "ORDERS": Promise({"hour": 6, "day": 7, "week": 5, "month": 6}, hooked=True),
    "FILES": Promise({"day": 14, "week": 8, "month": 12, "year": 2}, hooked=True, lenient=True),
    "DAILY": Promise({"day": 7, "week": 4, "month": 6, "year": 1}),
    "WEEKLY": Promise({"week": 8, "month": 12, "year": 3}),
    "ARCHIVE": Promise({"month": 24, "year": 7}),
    "ATTACHED": Promise({"day": 5, "hour": 0}, attached_only=True),
    "EDITED": Promise({"hour": 2, "day": 3, "week": 2}),
}

SHARES = {
    "HOURLY": 12,
    "ORDERS": 12,
    "FILES": 30,
    "DAILY": 78,
    "WEEKLY": 30,
    "ARCHIVE": 15,
    "ATTACHED": 15,
    "EDITED": 8,
}


class Fleet:
    """The account's volumes and instances; `promises` and `broken` are what its policies say now."""

    def __init__(self, random: Random, cloud: LongCloud) -> None:
        self._random = random
        self._cloud = cloud
        self._number = 0
        self.promises = dict(POLICIES)
        self.broken: set[str] = set()
        self._repairs: list[tuple[int, Callable[[], object]]] = []
        self._hour = 0
        self._due: dict[str, list[tuple[str, int]]] = {}
        self._astray: list[tuple[str, Volume]] | None = None
        self._hands = itertools.count()
        self.events: Counter[str] = Counter()
        self.foreign: dict[str, Stored] = {}
        for name, promise in POLICIES.items():
            cloud.policies[name] = promise.text()
        for name, share in SHARES.items():
            for position in range(share):
                self._new_volume(name, position)
        self._seed_history()

    # What is there

    def due(self, period: str) -> list[tuple[str, int]]:
        """The volumes for which the period is their policy's business, with N."""
        if period not in self._due:
            found = ((each, self.count(each, period)) for each in self._cloud.volumes)
            self._due[period] = [(each, count) for each, count in found if count is not None]
        return self._due[period]

    def count(self, volume_id: str, period: str) -> int | None:
        """N, or None where nothing may be created or deleted."""
        volume = self._cloud.volumes.get(volume_id)
        name = of_policy(volume) if volume else None
        if volume is None or name not in self.promises or name in self.broken:
            return None
        promise = self.promises[name]
        return None if promise.attached_only and volume.state == "available" else promise.counts.get(period)

    def astray(self) -> list[tuple[str, Volume]]:
        """The volumes whose tag names no policy, or only resembles the key."""
        if self._astray is None:
            known = self.promises.keys() - {each for each in self.broken if each not in self._cloud.policies}
            self._astray = [
                (each, volume)
                for each, volume in self._cloud.volumes.items()
                if "auto-snapshot" in volume.tags or of_policy(volume) not in (None, *known)
            ]
        return self._astray

    def _changed(self) -> None:
        self._due.clear()
        self._astray = None

    def policy_of(self, volume_id: str) -> str | None:
        """The policy that the volume's tags name now."""
        volume = self._cloud.volumes.get(volume_id)
        return of_policy(volume) if volume else None

    def lose_volume(self, target: str) -> None:
        """Somebody deletes a volume now; of an instance one of its selected ones."""
        cloud = self._cloud
        if target in cloud.instances:
            target = min((each for each in cloud.instances[target].volume_ids if each in cloud.volumes), default="")
        volume = cloud.volumes.pop(target, None)
        if volume is not None:
            for instance_id in volume.instance_ids:
                instance = cloud.instances[instance_id]
                cloud.instances[instance_id] = replace(instance, volume_ids=instance.volume_ids - {target})
            self._changed()
            self.events["volumes deleted"] += 1

    # Its life

    def live(self) -> None:
        """What happens in the hour between two runs."""
        self._hour += 1
        for at, repair in [each for each in self._repairs if each[0] <= self._hour]:
            self._repairs.remove((at, repair))
            repair()
            self._changed()
        cloud, chance = self._cloud, self._random.random
        slow = chance() < 0.03
        cloud.pends = timedelta(minutes=self._random.uniform(20, 90) if slow else self._random.uniform(0.5, 6))
        cloud.hidden_for = timedelta(seconds=90 if chance() < 0.02 else 0)
        if len(cloud.volumes) < SIZE and chance() < 0.2:
            self._new_volume(self._some_policy(), self._random.randrange(100))
        for probability, happening in (
            (0.003, self._delete_one),
            (0.01, self._retag),
            (0.01, self._detach_or_attach),
            (0.02, self._stop),
            (0.02, self._edit),
            (0.001, self._break),
            (0.003, self._protect),
            (0.002, self._take_agent_down),
            (0.003, self._copy_by_hand),
            (0.005, self._restore),
            (0.02, self._copy_with_tags),
            (0.005, self._spoil),
            (0.003, self._break_hook),
            (0.01, self._crowd),
            (0.005, self._tidy_up),
        ):
            if chance() < probability:
                self.events[happening.__name__.strip("_").replace("_", " ")] += 1
                happening()
                self._changed()

    def between_runs(self) -> None:
        """What happens between two runs of one hour: now and then somebody chooses another policy for a volume."""
        if self._random.random() < 0.02:
            self._retag()
            self._changed()

    def _later(self, hours: int, repair: Callable[[], object]) -> None:
        self._repairs.append((self._hour + hours, repair))

    def _some_policy(self) -> str:
        return self._random.choices(list(SHARES), list(SHARES.values()))[0]

    def _some_volume(self) -> Volume:
        return self._random.choice(list(self._cloud.volumes.values()))

    def _new_volume(self, policy: str, position: int) -> None:
        self._number += 1
        promise = POLICIES[policy]
        alone = not promise.hooked and position % 3 == 0
        instance = None if alone else f"i-{policy.lower()}-{position // 3 % 12}"
        self._cloud.volume(self._number, policy, instance, Name=f"disk {self._number}")
        self._changed()

    def _delete_one(self) -> None:
        self.lose_volume(self._some_volume().id)

    def _retag(self) -> None:
        volume = self._some_volume()
        others = {key: value for key, value in volume.tags.items() if key.upper() != KEYS.selection}
        kind = self._random.random()
        if kind < 0.7:
            tags = {KEYS.selection: self._some_policy()}
        else:
            tags = {KEYS.selection: "DIALY"} if kind < 0.8 else {"auto-snapshot": "DAILY"} if kind < 0.9 else {}
            self._later(self._random.randrange(1, 200), lambda: self._mend_tag(volume.id))
        self._cloud.volumes[volume.id] = replace(volume, tags={**others, **tags})

    def _mend_tag(self, volume_id: str) -> None:
        volume = self._cloud.volumes.get(volume_id)
        if volume is not None:
            others = {key: value for key, value in volume.tags.items() if key != "auto-snapshot"}
            self._cloud.volumes[volume_id] = replace(volume, tags={**others, KEYS.selection: self._some_policy()})

    def _detach_or_attach(self) -> None:
        volume = self._some_volume()
        if not volume.is_attached and self._random.random() < 0.3:
            self._cloud.attach(volume)  # to a Fargate task
            self._later(self._random.randrange(1, 300), lambda: self._attach(volume.id, None))
            return
        self._attach(volume.id, None if volume.instance_ids else self._random.choice(list(self._cloud.instances)))
        if volume.instance_ids:
            self._later(self._random.randrange(1, 300), lambda: self._attach(volume.id, volume.instance_ids[0]))

    def _attach(self, volume_id: str, instance_id: str | None) -> None:
        volume, instances = self._cloud.volumes.get(volume_id), self._cloud.instances
        if volume is None:
            return
        for each in volume.instance_ids:
            instances[each] = replace(instances[each], volume_ids=instances[each].volume_ids - {volume_id})
        if instance_id is not None:
            there = instances[instance_id]
            instances[instance_id] = replace(there, volume_ids=there.volume_ids | {volume_id})
        attached, state = ((instance_id,), "in-use") if instance_id else ((), "available")
        self._cloud.volumes[volume_id] = replace(volume, instance_ids=attached, state=state)

    def _stop(self) -> None:
        instance_id = self._random.choice(list(self._cloud.instances))
        self._cloud.put_into(instance_id, self._random.choice(("stopped", "stopped", "hibernated")))
        self._later(self._random.randrange(1, 100), lambda: self._cloud.put_into(instance_id, "running"))

    def _edit(self) -> None:
        counts = {period: self._random.randrange(5) for period in PERIODS if self._random.random() < 0.6}
        self.promises["EDITED"] = Promise(counts or {"day": 1}, attached_only=self._random.random() < 0.2)
        self._write("EDITED")

    def _write(self, name: str) -> None:
        if name not in self.broken:
            self._cloud.policies[name] = self.promises[name].text()

    def _break(self) -> None:
        name = self._random.choice([each for each in POLICIES if each not in self.broken])
        self.broken.add(name)
        faulty = self._random.choice(('{"hour": "2"}', "{", '{"days": 3}', None))
        if faulty is None:
            del self._cloud.policies[name]
        else:
            self._cloud.policies[name] = faulty

        def mend() -> None:
            self.broken.remove(name)
            self._write(name)

        self._later(self._random.randrange(2, 30), mend)

    def _protect(self) -> None:
        stored = self._random.choice(list(self._cloud.snapshots.values()))
        by, what = self._random.choice((("protected", "used by an AMI"), ("lock", SnapshotLock("governance"))))
        setattr(stored, by, what)
        self._later(self._random.randrange(1, 2000), lambda: setattr(stored, by, None))

    def _take_agent_down(self) -> None:
        instance_id = self._random.choice(list(self._cloud.instances))
        self._cloud.ssm.offline[instance_id] = "has no agent that SSM can reach"
        self._later(self._random.randrange(1, 8), lambda: self._cloud.ssm.offline.pop(instance_id, ""))

    def _spoil(self) -> None:
        """A volume's key is disabled for some days."""
        volume = self._some_volume()
        self._cloud.bad_volumes.add(volume.id)
        self._later(self._random.randrange(1, 100), lambda: self._cloud.bad_volumes.discard(volume.id))

    def _crowd(self) -> None:
        """Another tool's snapshots are pending for some hours."""
        self._cloud.pending_of_others = self._random.randrange(40, 96)
        self._later(self._random.randrange(1, 4), lambda: setattr(self._cloud, "pending_of_others", 0))

    def _break_hook(self) -> None:
        """For longer than a policy keeps anything."""
        instance_id = self._random.choice(
            [each for each in self._cloud.instances if "orders" in each or "files" in each]
        )
        broken = self._cloud.ssm.instances.broken
        broken.add(instance_id)
        self._later(self._random.randrange(10, 500), lambda: broken.discard(instance_id))

    # Snapshots that are not ours, and ours of before

    def _restore(self) -> None:
        """A volume comes back with its snapshot's tags; weeks later somebody clears that up, the other tool's first."""
        stored = self._random.choice([each for each in self._cloud.snapshots.values() if KEYS.period in each.tags])
        self._number += 1
        volume = self._cloud.volume(self._number, None, None, **stored.tags)

        def clear_up() -> None:
            for copy in (each for each in self.foreign.values() if each.volume_id == volume.id):
                for key in KEYS.written & copy.tags.keys():
                    self._cloud.untag(copy, key)
            there = self._cloud.volumes.get(volume.id)
            if there is not None:
                tags = {key: value for key, value in there.tags.items() if key not in KEYS.written}
                self._cloud.volumes[volume.id] = replace(there, tags=tags)

        self._later(self._random.randrange(1, 700), clear_up)

    def _copy_with_tags(self) -> None:
        """Data Lifecycle Manager takes some volume with its tags, or another tool one that was restored."""
        restored = [each for each in self._cloud.volumes.values() if KEYS.period in each.tags]
        by_dlm = self._random.random() < 0.3 or not restored
        volume = self._some_volume() if by_dlm else self._random.choice(restored)
        tags = {"aws:dlm:lifecycle-policy-id": "policy-1", KEYS.period: "hour day"} if by_dlm else {}
        self._add_foreign(volume, {**volume.tags, **tags})

    def _copy_by_hand(self) -> None:
        self._add_foreign(self._some_volume(), {"Name": "by hand", KEYS.selection: "DAILY"})

    def _add_foreign(self, volume: Volume, tags: dict[str, str]) -> None:
        stored = Stored(f"snap-hand{next(self._hands):04}", volume.id, self._cloud.clock.now, tags)
        stored.state = SnapshotState.COMPLETED
        self._cloud._add(stored)
        self.foreign[stored.id] = stored

    def _tidy_up(self) -> None:
        """A person deletes the oldest snapshots made by hand, and those of volumes that are long gone."""
        for each in list(self.foreign)[:-40]:
            self._cloud.remove(self.foreign.pop(each))
        long_ago = self._cloud.clock.now - timedelta(days=30)
        for stored in list(self._cloud.snapshots.values()):
            selected = (
                of_policy(self._cloud.volumes[stored.volume_id]) if stored.volume_id in self._cloud.volumes else None
            )
            if selected is None and stored.start_time < long_ago and stored.id not in self.foreign:
                self._cloud.remove(stored)

    def _seed_history(self) -> None:
        """The fleet has been looked after for years: each period has its N, but for the slot to come."""
        for volume in list(self._cloud.volumes.values()):
            name = of_policy(volume) or ""
            for period, count in self.promises[name].counts.items():
                for position in range(1, count + 1):
                    age = timedelta(days=position * DAYS[period], minutes=self._random.randrange(30))
                    self._cloud.snapshot(volume, period, age, policy=name, state=SnapshotState.COMPLETED)
        for volume in list(self._cloud.volumes.values())[:5]:
            # The cron script's, which name no policy.
            self._cloud.snapshot(volume, "hour", HOUR * 20, policy=None, state=SnapshotState.COMPLETED)
            self._copy_by_hand()
