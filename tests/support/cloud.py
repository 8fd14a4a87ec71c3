"""EC2 and Parameter Store in memory, behind the same ports as the real edge, with the awkward parts.

Time is simulated; calls can be made to fail before or after they took effect; new snapshots may stay
invisible for a while; and a hook is called at every call boundary, so that two runs can be interleaved.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from lambda_function.deadline import Deadline
from lambda_function.errors import (
    AwsError,
    CreationTooSoonError,
    RequestRejectedError,
    SnapshotNotFoundError,
    SnapshotProtectedError,
    TooManyPendingError,
    VolumeNotFoundError,
    VolumePendingError,
)
from lambda_function.inputs.policy import Parameter
from lambda_function.interruption import Interruption
from lambda_function.model.description import is_our_description
from lambda_function.model.ec2 import Consistency, Instance, Snapshot, SnapshotLock, SnapshotState, Volume
from lambda_function.model.period import Period
from lambda_function.model.request import HookCheckRequest, RunRequest
from lambda_function.model.result import HookCheckReport, RunReport
from lambda_function.model.tags import MAX_TAG_VALUE, TagKeys, copied_tags, parse_periods, policy_named_by
from lambda_function.ports import Silent
from lambda_function.run.context import RunContext
from lambda_function.run.hook_check import check_hooks
from lambda_function.run.runner import run
from tests.support.clock import START, Clock
from tests.support.filters import matches_filter
from tests.support.instance import Instances
from tests.support.ssm import FakeSsm

KEYS = TagKeys("AUTO-SNAPSHOT")
PATH = "/auto-snapshots/policies/"

_CONSISTENCIES = {each.value: each for each in Consistency}


def _let_through(operation: str, target: str) -> None: ...


def _unheard(write: Write) -> None: ...


@dataclass
class Stored:
    """A snapshot as EC2 holds it."""

    id: str
    volume_id: str
    start_time: datetime
    tags: dict[str, str]
    description: str = ""
    failed: bool = False
    state: SnapshotState | None = None
    protected: str | None = None
    lock: SnapshotLock | None = None

    @property
    def words(self) -> tuple[str, ...]:
        """Those of its period tag, read without the code under test."""
        return tuple(self.tags.get(KEYS.period, "").split())

    @property
    def policy(self) -> str | None:
        """The policy that it names, by either spelling of the key."""
        return self.tags.get(KEYS.selection) or self.tags.get(f"{KEYS.selection}S")


class Write(NamedTuple):
    """What is about to be done to a snapshot, or was done of a new one: its period tag's words before and after."""

    stored: Stored
    before: tuple[str, ...]
    after: tuple[str, ...]
    is_create: bool = False
    is_delete: bool = False
    raised: bool = False


@dataclass
class FakeCloud:
    """`before` and `after` are called with operation and id at every call; what they raise, the call raises.

    `on_write` hears of every write when it takes effect. `ends` is when Lambda stops the run, `interruption` what a
    signal would. A snapshot of one of `bad_volumes` ends in `error`, and so does the whole set that it is in;
    `slow_volumes` are st1 or sc1, of which only one snapshot may be pending or in `error`.
    """

    clock: Clock = field(default_factory=Clock)
    pending_for: timedelta = timedelta()
    hidden_for: timedelta = timedelta()
    create_interval: timedelta = timedelta()
    pending_cap: int = 10_000
    per_volume_cap: int = 5
    bad_volumes: set[str] = field(default_factory=set)
    slow_volumes: set[str] = field(default_factory=set)
    before: Callable[[str, str], None] = _let_through
    after: Callable[[str, str], None] = _let_through
    on_write: Callable[[Write], None] = _unheard
    ends: datetime = START
    interruption: Interruption = field(default_factory=Interruption)
    policies: dict[str, str | Parameter] = field(default_factory=dict)
    volumes: dict[str, Volume] = field(default_factory=dict)
    instances: dict[str, Instance] = field(default_factory=dict)
    snapshots: dict[str, Stored] = field(default_factory=dict)
    journal: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ssm = FakeSsm(self.clock)
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()

    # What a person does

    def volume(self, number: int, policy: str | None = "P", instance: str | None = None, **more: str) -> Volume:
        """`vol-000…number`, tagged with the policy, attached where an instance is named."""
        tags = {**({KEYS.selection: policy} if policy is not None else {}), **more}
        made = Volume(
            f"vol-{number:08x}",
            "in-use" if instance else "available",
            tags,
            (instance,) if instance else (),
        )
        self.volumes[made.id] = made
        if instance:
            known = self.instances.get(instance) or Instance(instance, "running", None, frozenset())
            self.instances[instance] = replace(known, volume_ids=known.volume_ids | {made.id})
        return made

    def put_into(self, instance_id: str, state: str) -> None:
        """Somebody starts, stops or hibernates an instance."""
        self.instances[instance_id] = replace(self.instances[instance_id], state=state)

    def attach(self, volume: Volume, *instance_ids: str) -> None:
        """Somebody attaches it to these, and to no others; without any, to a Fargate task, which has no instance."""
        self.volumes[volume.id] = replace(volume, state="in-use", instance_ids=instance_ids)
        for each in instance_ids:
            known = self.instances.get(each) or Instance(each, "running", None, frozenset())
            self.instances[each] = replace(known, volume_ids=known.volume_ids | {volume.id})

    def snapshot(self, volume: Volume | str, periods: str, age: timedelta = timedelta(), **fields: object) -> Stored:
        """One that is there already; `policy=None` for the cron script's."""
        volume_id = volume if isinstance(volume, str) else volume.id
        policy = fields.pop("policy", "P")
        tags = {KEYS.period: periods, **({KEYS.selection: str(policy)} if policy else {})}
        for key, name in ((KEYS.consistency, "consistency"), (KEYS.set, "set_id")):
            if name in fields:
                tags[key] = str(fields.pop(name))
        ours = f"Hourly snapshot of volume {volume_id}, policy {policy}" if policy else ""
        stored = Stored(self._next_id(), volume_id, self.clock.now - age, tags, ours)
        for name, value in fields.items():
            setattr(stored, name, value)
        self._add(stored)
        return stored

    def run(self, period: Period | str = Period.HOUR, *, seconds: float = 900, **fields: object) -> RunReport:
        """One run now."""
        fields.setdefault("time", self.clock.now)
        request = RunRequest(period=Period(period), **fields)  # type: ignore[arg-type]
        return run(request, self._context(seconds))

    def check_hooks(self, *, seconds: float = 900, **fields: Any) -> HookCheckReport:
        return check_hooks(HookCheckRequest(**fields), self._context(seconds))

    def _context(self, seconds: float) -> RunContext:
        self.ends = ends = self.clock.now + timedelta(seconds=seconds)

        def time_left() -> float:
            return (min(self.ends, ends) - self.clock.now).total_seconds()

        return RunContext(
            policies=self,
            ebs=self,
            keys=KEYS,
            policies_path=PATH,
            commands=self.ssm,
            deadline=Deadline(
                time_left, self.clock.sleep, self.clock.elapsed, lambda: self.clock.now, self.interruption
            ),
            observer=Silent(),
        )

    @property
    def work(self) -> Instances:
        """What runs on the instances."""
        return self.ssm.instances

    def copy_of_snapshots(self) -> dict[str, Stored]:
        return {each: replace(stored, tags=dict(stored.tags)) for each, stored in self.snapshots.items()}

    def of(self, volume: Volume | str, period: str | None = None) -> list[Stored]:
        """A volume's snapshots, oldest first; those a period keeps, where one is named."""
        volume_id = volume if isinstance(volume, str) else volume.id
        mine = list(self._of_volume(volume_id))
        if period is not None:
            mine = [s for s in mine if period in parse_periods(s.tags.get(KEYS.period, ""))]
        return sorted(mine, key=lambda s: (s.start_time, s.id))

    def calls(self, *operations: str) -> int:
        return sum(operation in operations for operation, _ in self.journal)

    def writes(self) -> list[tuple[str, str]]:
        return [entry for entry in self.journal if entry[0].startswith(("Create", "Delete"))]

    def state_of(self, stored: Stored) -> SnapshotState:
        if stored.state is not None:
            return stored.state
        if self.clock.now < stored.start_time + self.pending_for:
            return SnapshotState.PENDING
        return SnapshotState.ERROR if stored.failed else SnapshotState.COMPLETED

    def is_at_rest(self, volume_id: str) -> bool:
        """Whether nothing can be writing to it: detached, or each of its instances stopped; or it is gone."""
        volume = self.volumes.get(volume_id)
        states = {self.instances[each].state for each in volume.instance_ids} if volume else set()
        return volume is None or volume.state == "available" or states == {"stopped"}

    # The ports

    def read(self) -> list[Parameter]:
        with self._call("GetParametersByPath", ""):
            return [
                value if isinstance(value, Parameter) else Parameter(PATH + name, value)
                for name, value in self.policies.items()
            ]

    def list_volumes(self, volume_ids: Sequence[str] = ()) -> list[Volume]:
        searched = KEYS.searched()
        with self._call("DescribeVolumes", ""):
            return [
                volume
                for volume in self.volumes.values()
                if (not volume_ids or volume.id in volume_ids)
                and any(matches_filter(key, searched) for key in volume.tags)
            ]

    def list_snapshots(self, periods: Collection[Period], volume_ids: Sequence[str] = ()) -> list[Snapshot]:
        with self._call("DescribeSnapshots", ""):
            return [
                self._seen(stored)
                for stored in self._bearing(periods)
                if _is_of_no_tool(stored.tags)
                and self._visible(stored)
                and (not volume_ids or stored.volume_id in volume_ids)
            ]

    def list_failed(self, volume_ids: Sequence[str] = ()) -> list[Snapshot]:
        with self._call("DescribeSnapshots", "failed"):
            return [
                self._seen(stored)
                for stored in self._failed()
                if _is_of_no_tool(stored.tags)
                and self._visible(stored)
                and (not volume_ids or stored.volume_id in volume_ids)
            ]

    def list_proved_sets(self, set_ids: Collection[str]) -> set[str]:
        with self._call("DescribeSnapshots", "proof"):
            found = [s.tags for s in self.snapshots.values() if s.tags.get(KEYS.consistency) == "application"]
            return {tags[KEYS.set] for tags in found if tags.get(KEYS.set) in set_ids}

    def read_snapshots(self, snapshot_ids: Sequence[str]) -> dict[str, Snapshot]:
        assert len(snapshot_ids) <= 200
        with self._call("DescribeSnapshots", "recheck"):
            return {
                each: self._seen(self.snapshots[each])
                for each in snapshot_ids
                if each in self.snapshots
                and KEYS.period in self.snapshots[each].tags
                and _is_of_no_tool(self.snapshots[each].tags)
            }

    def read_locks(self, snapshot_ids: Sequence[str]) -> dict[str, SnapshotLock]:
        """One id that is not there fails the whole call."""
        assert 0 < len(snapshot_ids) <= 200
        with self._call("DescribeLockedSnapshots", ""):
            gone = [each for each in snapshot_ids if each not in self.snapshots]
            if gone:
                raise SnapshotNotFoundError("DescribeLockedSnapshots", "InvalidSnapshot.NotFound", ", ".join(gone))
            return {each: lock for each in snapshot_ids if (lock := self.snapshots[each].lock)}

    def list_instances(self, instance_ids: Collection[str]) -> list[Instance]:
        with self._call("DescribeInstances", ""):
            return [self.instances[each] for each in instance_ids if each in self.instances]

    def count_pending(self) -> int:
        with self._call("DescribeSnapshots", "pending"):
            return self._pending()

    def create_snapshot(
        self, volume_id: str, description: str, tags: Mapping[str, str], *, urgent: bool = False
    ) -> Snapshot:
        with self._call("CreateSnapshot", volume_id):
            if volume_id not in self.volumes:
                raise VolumeNotFoundError("CreateSnapshot", "InvalidVolume.NotFound", volume_id)
            self._check_limits("CreateSnapshot", [volume_id])
            return self._create(volume_id, description, tags, fails=volume_id in self.bad_volumes)

    def create_snapshots(
        self,
        instance_id: str,
        exclude_boot: bool,
        exclude_data: Sequence[str],
        description: str,
        tags: Mapping[str, str],
        *,
        urgent: bool = False,
    ) -> list[Snapshot]:
        with self._call("CreateSnapshots", instance_id):
            instance = self.instances[instance_id]
            excluded = {*exclude_data, *([instance.root_volume_id] if exclude_boot else [])}
            chosen = sorted(instance.volume_ids - excluded)
            self._check_limits("CreateSnapshots", chosen)
            made = []
            for volume_id in chosen:
                copied = copied_tags(self.volumes[volume_id].tags, KEYS) if volume_id in self.volumes else {}
                fails = not self.bad_volumes.isdisjoint(chosen)
                made.append(self._create(volume_id, description, {**copied, **tags}, fails=fails))
            return made

    def warm_up(self, connections: int) -> None: ...

    def creates_held(self, singles: int, sets: int, wait: Callable[[float], None]) -> AbstractContextManager[None]:
        return nullcontext()

    def set_periods(self, snapshot_id: str, periods: Collection[str]) -> None:
        with self._call("CreateTags", snapshot_id):
            if snapshot_id not in self.snapshots:
                raise SnapshotNotFoundError("CreateTags", "InvalidSnapshot.NotFound", snapshot_id)
            if len(" ".join(periods)) > MAX_TAG_VALUE:
                raise RequestRejectedError(
                    "CreateTags", "InvalidParameterValue", "Tag value exceeds the maximum length"
                )
            stored = self.snapshots[snapshot_id]
            self.on_write(Write(stored, stored.words, tuple(periods)))
            self._retag(stored, KEYS.period, " ".join(periods))

    def set_consistency(self, snapshot_ids: Collection[str], consistency: Consistency) -> None:
        with self._call("CreateTags", ",".join(sorted(snapshot_ids))):
            missing = [each for each in snapshot_ids if each not in self.snapshots]
            if missing:
                raise SnapshotNotFoundError("CreateTags", "InvalidSnapshot.NotFound", ", ".join(missing))
            for stored in (self.snapshots[each] for each in snapshot_ids):
                is_raised = consistency is Consistency.APPLICATION
                self.on_write(Write(stored, stored.words, stored.words, raised=is_raised))
                self._retag(stored, KEYS.consistency, consistency.value)

    def delete_snapshot(self, snapshot_id: str) -> None:
        with self._call("DeleteSnapshot", snapshot_id):
            if snapshot_id not in self.snapshots:
                raise SnapshotNotFoundError("DeleteSnapshot", "InvalidSnapshot.NotFound", snapshot_id)
            stored = self.snapshots[snapshot_id]
            if stored.protected:
                raise SnapshotProtectedError("DeleteSnapshot", "InvalidSnapshot.InUse", stored.protected)
            if stored.lock:
                raise SnapshotProtectedError("DeleteSnapshot", "SnapshotLocked", f"The snapshot {stored.id} is locked.")
            self.on_write(Write(stored, stored.words, (), is_delete=True))
            self._drop(stored)

    # Behind the ports

    def _call(self, operation: str, target: str) -> _Call:
        return _Call(self, operation, target)

    def _create(self, volume_id: str, description: str, tags: Mapping[str, str], *, fails: bool = False) -> Snapshot:
        assert KEYS.period in tags, "a snapshot was created without our key"
        assert len(tags) <= 50
        stored = Stored(self._next_id(), volume_id, self.clock.now, dict(tags), description, fails)
        self._add(stored)
        self.on_write(Write(stored, (), stored.words, is_create=True))
        return self._seen(stored)

    def _check_limits(self, operation: str, volume_ids: Sequence[str]) -> None:
        for volume_id in volume_ids:
            mine = list(self._of_volume(volume_id))
            if any(abs(self.clock.now - s.start_time) < self.create_interval for s in mine):
                raise CreationTooSoonError(operation, "SnapshotCreationPerVolumeRateExceeded", "too soon")
            cap = 1 if volume_id in self.slow_volumes else self.per_volume_cap
            if sum(self.state_of(s) in (SnapshotState.PENDING, SnapshotState.ERROR) for s in mine) >= cap:
                raise VolumePendingError(operation, "ConcurrentSnapshotLimitExceeded", "too many for this volume")
        if self._pending() + len(volume_ids) > self.pending_cap:
            raise TooManyPendingError(operation, "PendingSnapshotLimitExceeded", "too many")

    # How snapshots are held: a subclass may keep an index of them.

    def _add(self, stored: Stored) -> None:
        self.snapshots[stored.id] = stored

    def _retag(self, stored: Stored, key: str, value: str) -> None:
        stored.tags[key] = value

    def _drop(self, stored: Stored) -> None:
        del self.snapshots[stored.id]

    def _of_volume(self, volume_id: str) -> Iterable[Stored]:
        return (stored for stored in self.snapshots.values() if stored.volume_id == volume_id)

    def _bearing(self, periods: Collection[Period]) -> Iterable[Stored]:
        words = [period.value for period in periods]
        for stored in self.snapshots.values():
            value = stored.tags.get(KEYS.period, "")
            if any(word in value for word in words):
                yield stored

    def _failed(self) -> Iterable[Stored]:
        everything = self.snapshots.values()
        return [s for s in everything if KEYS.period in s.tags and self.state_of(s) is SnapshotState.ERROR]

    def _pending(self) -> int:
        return sum(self.state_of(stored) is SnapshotState.PENDING for stored in self.snapshots.values())

    def _visible(self, stored: Stored) -> bool:
        return stored.start_time + self.hidden_for <= self.clock.now

    def _seen(self, stored: Stored) -> Snapshot:
        return Snapshot(
            stored.id,
            stored.volume_id,
            stored.start_time,
            self.state_of(stored),
            parse_periods(stored.tags.get(KEYS.period, "")),
            policy_named_by(stored.tags, KEYS),
            _CONSISTENCIES.get(stored.tags.get(KEYS.consistency, "")),
            stored.tags.get(KEYS.set),
            is_our_description(stored.description, stored.volume_id),
        )

    def _next_id(self) -> str:
        return f"snap-{next(self._numbers):08x}"


class _Call:
    """One call: noted, then let through one at a time, with the hooks before and after it."""

    def __init__(self, cloud: FakeCloud, operation: str, target: str) -> None:
        self._cloud, self._operation, self._target = cloud, operation, target

    def __enter__(self) -> None:
        self._cloud.before(self._operation, self._target)
        self._cloud._lock.acquire()
        self._cloud.journal.append((self._operation, self._target))

    def __exit__(self, kind: object, *_: object) -> None:
        self._cloud._lock.release()
        if kind is None:
            self._cloud.after(self._operation, self._target)


def _is_of_no_tool(tags: Mapping[str, str]) -> bool:
    """Not one of Data Lifecycle Manager or AWS Backup, which say so in tags that nobody else can set."""
    return not any(key.startswith(("aws:dlm:", "aws:backup:")) for key in tags)


def refused(operation: str, code: str = "UnauthorizedOperation") -> AwsError:
    return AwsError(operation, code, "no")
