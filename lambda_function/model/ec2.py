"""What EC2 holds: volumes, instances, snapshots and their states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


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
        """True for a snapshot that is usable or will be."""
        return self in _GOOD


_GOOD = frozenset((SnapshotState.PENDING, SnapshotState.COMPLETED, SnapshotState.RECOVERING))


class Consistency(StrEnum):
    """What a restore of the snapshot will find; the value of the `-CONSISTENCY` tag."""

    APPLICATION = "application"
    CRASH = "crash"
    OFFLINE = "offline"


IN_USE = "in-use"
STOPPED = "stopped"
HIBERNATED = "hibernated"
"""EC2 calls a hibernated instance `stopped` too, but its memory holds what its file systems have not written."""


@dataclass(frozen=True, slots=True)
class Volume:
    """An EBS volume that carries the selection tag, or a near miss of it.

    `instance_ids` are the instances it is attached to: none, one, or several for Multi-Attach. `create_time` is
    None if EC2 did not report it, and so is `type` (`gp3`, `st1` and so on).
    """

    id: str
    state: str
    tags: Mapping[str, str]
    instance_ids: tuple[str, ...] = ()
    create_time: datetime | None = None
    type: str | None = None

    @property
    def takes_one_snapshot(self) -> bool:
        """Whether only one of its snapshots may be pending or failed; of other types five (EBS user guide, quotas)."""
        return self.type in ("st1", "sc1")

    @property
    def is_attached(self) -> bool:
        """Also to what is no instance of the account, such as a Fargate task."""
        return bool(self.instance_ids) or self.state == IN_USE


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance with all the volumes attached to it, ours or not, and their device names.

    `state` is EC2's, or HIBERNATED.
    """

    id: str
    state: str
    root_volume_id: str | None
    volume_ids: frozenset[str]
    devices: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot of this account that has our period tag.

    `periods` are the words of its period tag in canonical order, including other tools' words;
    `policy` is the value of its copied selection tag, `consistency` and `set_id` those of its own tags; all are None
    on snapshots of the old cron script. `has_our_description` tells it from one of another tool that copied our tags.
    """

    id: str
    volume_id: str
    start_time: datetime
    state: SnapshotState
    periods: tuple[str, ...]
    policy: str | None = None
    consistency: Consistency | None = None
    set_id: str | None = None
    has_our_description: bool = True


@dataclass(frozen=True)
class SnapshotLock:
    """What keeps EC2 from deleting a snapshot, whoever asks: its mode, and the moment at which it ends, if known.

    A snapshot that was locked while pending has no such moment until it is completed.
    """

    mode: str
    until: datetime | None = None

    def __str__(self) -> str:
        until = f" until {self.until:%Y-%m-%d %H:%M} UTC" if self.until else ""
        return f"locked in {self.mode} mode{until}"


@dataclass(frozen=True)
class UnrequestedSnapshot:
    """A snapshot that a set's create made although no run requested it, and the reason."""

    snapshot: Snapshot
    reason: str
