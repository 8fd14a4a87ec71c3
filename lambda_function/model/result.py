"""What a run decided and did: one value per volume, snapshot change and freeze, and the report that holds them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from lambda_function.model.ec2 import Consistency
from lambda_function.model.request import RunRequest


@dataclass(frozen=True)
class Dispatch:
    """The result of an event for all targets: the places whose runs were started, and why others were not."""

    request: RunRequest
    started: tuple[str, ...]
    target_faults: tuple[str, ...] = ()


class Outcome(StrEnum):
    """The result for one volume in a run; DEFERRED when time ran out."""

    CREATED = "created"
    SHARED = "shared"
    ALREADY_DONE = "already done"
    NOT_DUE = "not due"
    OUTSIDE = "outside policy"
    UNKNOWN_POLICY = "unknown policy"
    FAULTY_POLICY = "faulty policy"
    VOLUME_GONE = "volume gone"
    FAILED = "failed"
    DEFERRED = "deferred"
    WOULD_CREATE = "would create"
    WOULD_SHARE = "would share"


class Change(StrEnum):
    """What is to happen to a snapshot; KEEP occurs only in a dry run's plan."""

    KEEP = "keep"
    JOIN = "join"
    RELEASE = "release"
    DELETE = "delete"


class ChangeOutcome(StrEnum):
    """The result of a change."""

    DONE = "done"
    PLANNED = "planned"
    REFUSED = "refused"
    GONE = "already gone"
    CHANGED_SINCE = "changed since"
    DEFERRED = "deferred"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class VolumeResult:
    """One line of the report: a volume, the decision, its reason, and the slot's snapshot."""

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
    """One freeze: its instances, problem (None if none), duration and journal.

    `freeze_ms` is how long the instance stood still: as its document measured it, from the first lock or freeze to the
    last thaw, else from the end of pre to the end of post.
    """

    instance_ids: tuple[str, ...]
    policy: str
    problem: str | None
    freeze_ms: int | None = None
    steps: tuple[str, ...] = ()


@dataclass(frozen=True)
class HookCheckReport:
    """One result per freeze that a run could make, and the faults of policies."""

    hooks: tuple[HookResult, ...]
    faults: tuple[str, ...] = ()

    @property
    def failures(self) -> tuple[str, ...]:
        """Faults, then each freeze that is not ready and why."""
        unready = [hook for hook in self.hooks if hook.problem]
        return (
            *self.faults,
            *(f"{', '.join(hook.instance_ids)}, policy {hook.policy}: {hook.problem}" for hook in unready),
        )


@dataclass(frozen=True)
class RunReport:
    """All a run decided and did. `failures` and `deferred` are empty exactly when everything due was done.

    `deferred` is what the run had no time for, or did not begin because it was interrupted; `is_continued` means that
    another run continues with it.
    `unrepeatable_failures` are the failures that a repeated run would not find again.

    `misspelt_tags` is the number of volumes whose tag only resembles the key. Of the volumes with snapshots for the
    period, `newest_age_seconds` is the greatest age of a volume's newest good one.
    """

    request: RunRequest
    volumes: tuple[VolumeResult, ...] = ()
    changes: tuple[ChangeResult, ...] = ()
    failures: tuple[str, ...] = ()
    unrepeatable_failures: tuple[str, ...] = ()
    deferred: tuple[str, ...] = ()
    is_continued: bool = False
    warnings: tuple[str, ...] = ()
    hooks: tuple[HookResult, ...] = ()
    failed_snapshots: tuple[str, ...] = ()
    orphaned_snapshots: int = 0
    misspelt_tags: int = 0
    newest_age_seconds: float | None = None
    duration_seconds: float = field(default=0.0, compare=False)
    is_interrupted: bool = False

    def count(self, *outcomes: Outcome) -> int:
        """Number of volumes with one of these outcomes."""
        return sum(result.outcome in outcomes for result in self.volumes)

    def count_changes(self, change: Change, *outcomes: ChangeOutcome) -> int:
        """Number of snapshot changes of this kind with one of these outcomes."""
        return sum(result.change is change and result.outcome in outcomes for result in self.changes)
