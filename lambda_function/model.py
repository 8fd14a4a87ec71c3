"""The values everything else speaks in: what EC2 holds, what a run was asked, what it did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Period(StrEnum):
    """How often a snapshot is due. Members stand in order, shortest first."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"

    @property
    def rank(self) -> int:
        """Position by length: 0 for the hour, 4 for the year."""
        return _RANKS[self]

    def up_to(self) -> tuple[Period, ...]:
        """This period and all shorter ones, shortest first."""
        return tuple(Period)[: self.rank + 1]


_RANKS = {period: rank for rank, period in enumerate(Period)}


class SnapshotState(StrEnum):
    """EC2's snapshot states, and OTHER for one that this release does not know."""

    PENDING = "pending"
    COMPLETED = "completed"
    ERROR = "error"
    RECOVERABLE = "recoverable"
    RECOVERING = "recovering"
    OTHER = "other"

    @property
    def is_good(self) -> bool:
        """True for a snapshot that is usable, or on its way to be."""
        return self in _GOOD


_GOOD = frozenset((SnapshotState.PENDING, SnapshotState.COMPLETED, SnapshotState.RECOVERING))


class Consistency(StrEnum):
    """What a restore of the snapshot will find; the value of the `-CONSISTENCY` tag."""

    APPLICATION = "application"
    CRASH = "crash"
    OFFLINE = "offline"


@dataclass(frozen=True, slots=True)
class Volume:
    """An EBS volume that carries the selection tag, or a near miss of it.

    `instance_ids` are the instances it is attached to: none, one, or several for Multi-Attach. `create_time` is
    None where EC2 did not say.
    """

    id: str
    state: str
    tags: Mapping[str, str]
    instance_ids: tuple[str, ...] = ()
    create_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance with all the volumes attached to it, ours or not, and their device names."""

    id: str
    state: str
    root_volume_id: str | None
    volume_ids: frozenset[str]
    devices: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot of this account that bears our key.

    `keepers` are the words of its period tag in canonical order, those of other tools included;
    `policy` is the value of its copied selection tag and `consistency` that of its own tag; both are None on
    snapshots of the old cron script.
    """

    id: str
    volume_id: str
    start_time: datetime
    state: SnapshotState
    keepers: tuple[str, ...]
    policy: str | None = None
    consistency: Consistency | None = None


@dataclass(frozen=True)
class Stray:
    """A snapshot that a set's create made although nobody asked for it, and how that came about."""

    snapshot: Snapshot
    reason: str


@dataclass(frozen=True, slots=True)
class Target:
    """An account's Region that the function serves beside its own, and the role that lets it."""

    account: str
    region: str
    role: str
    external_id: str | None = None

    @property
    def name(self) -> str:
        """As events and reports call it."""
        return place_name(self.account, self.region)


def place_name(account: str, region: str) -> str:
    """An account's Region in one word."""
    return f"{account}/{region}"


@dataclass(frozen=True)
class RunRequest:
    """What one run is asked to do; `time` is the moment for which the plan is made (UTC).

    `continuation` is 0 for an event from outside, and counts the runs that handed on what they had no time for.
    `target` names the account and Region to serve; None for the function's own. `unserved` are the faults that kept
    other targets from being started, for this run to tell.
    """

    period: Period
    time: datetime
    dry_run: bool = False
    force: bool = False
    policies: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    continuation: int = 0
    target: str | None = None
    unserved: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dispatch:
    """What came of an event that was given on: the places whose runs were started, and in words the others."""

    request: RunRequest
    started: tuple[str, ...]
    unserved: tuple[str, ...] = ()


@dataclass(frozen=True)
class HookCheckRequest:
    """What one check of hooks is asked to cover; empty means all. `target` is as in `RunRequest`."""

    policies: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    target: str | None = None


class Outcome(StrEnum):
    """What became of one volume in a run; LEFT for want of time."""

    CREATED = "created"
    SHARED = "shared"
    ALREADY_DONE = "already done"
    NOT_DUE = "not due"
    OUTSIDE = "outside policy"
    UNKNOWN_POLICY = "unknown policy"
    FAULTY_POLICY = "faulty policy"
    VOLUME_GONE = "volume gone"
    FAILED = "failed"
    LEFT = "left"
    WOULD_CREATE = "would create"
    WOULD_SHARE = "would share"


class Change(StrEnum):
    """What is to happen to a snapshot: KEEP stands in the plan of a dry run only."""

    KEEP = "keep"
    JOIN = "join"
    RELEASE = "release"
    DELETE = "delete"


class ChangeOutcome(StrEnum):
    """What became of a change."""

    DONE = "done"
    PLANNED = "planned"
    REFUSED = "refused"
    GONE = "already gone"
    LEFT = "changed meanwhile"
    NO_TIME = "left"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class VolumeResult:
    """One line of the report: a volume, what was decided, why, and the snapshot that serves the slot."""

    volume_id: str
    policy: str | None
    outcome: Outcome
    reason: str
    snapshot_id: str | None = None
    consistency: Consistency | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ChangeResult:
    """One line of the report: a snapshot deleted or retagged (or not), and why."""

    snapshot_id: str
    volume_id: str
    change: Change
    outcome: ChangeOutcome
    reason: str


@dataclass(frozen=True)
class HookResult:
    """One freeze: on which instances, what went wrong (None: nothing), how long, and its journal.

    `freeze_ms` is from the end of pre to the sending of post as the function saw it, `held_ms` what the
    document measured on the instance.
    """

    instance_ids: tuple[str, ...]
    policy: str
    problem: str | None
    freeze_ms: int | None = None
    held_ms: int | None = None
    steps: tuple[str, ...] = ()


@dataclass(frozen=True)
class HookCheckReport:
    """One result per freeze that a run could make, and the faults of policies."""

    hooks: tuple[HookResult, ...]
    faults: tuple[str, ...] = ()

    @property
    def failures(self) -> tuple[str, ...]:
        """Faults, and what is not ready and why."""
        unready = [hook for hook in self.hooks if hook.problem]
        return (*self.faults, *(f"{', '.join(h.instance_ids)}, policy {h.policy}: {h.problem}" for h in unready))


@dataclass(frozen=True)
class RunReport:
    """All a run decided and did. `failures` and `left` are empty exactly when everything due was done.

    `left` is what time did not suffice for; `is_handed_on` says that another run goes on with it. `told_once` are those
    of the failures that a repetition of the run would not find again.

    `misspelt_tags` is the number of volumes whose tag only resembles the key. `newest_age_seconds` is, of the
    volumes that have snapshots for the period, the greatest age of a volume's newest good one.
    """

    request: RunRequest
    volumes: tuple[VolumeResult, ...] = ()
    changes: tuple[ChangeResult, ...] = ()
    failures: tuple[str, ...] = ()
    told_once: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    is_handed_on: bool = False
    warnings: tuple[str, ...] = ()
    hooks: tuple[HookResult, ...] = ()
    failed_snapshots: tuple[str, ...] = ()
    orphaned_snapshots: int = 0
    misspelt_tags: int = 0
    newest_age_seconds: float | None = None
    duration_seconds: float = field(default=0.0, compare=False)

    def count(self, *outcomes: Outcome) -> int:
        """Number of volumes with one of these outcomes."""
        return sum(result.outcome in outcomes for result in self.volumes)

    def count_changes(self, change: Change, *outcomes: ChangeOutcome) -> int:
        """Number of snapshot changes of this kind with one of these outcomes."""
        return sum(result.change is change and result.outcome in outcomes for result in self.changes)
