"""What a run needs from outside, as protocols; the package `aws` implements them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from lambda_function.inputs.policy import Parameter
from lambda_function.model.ec2 import Consistency, Instance, Snapshot, SnapshotLock, Volume
from lambda_function.model.period import Period
from lambda_function.model.result import ChangeResult, HookResult, VolumeResult


class PolicySource(Protocol):
    """Where policies are stored."""

    def read(self) -> list[Parameter]:
        """All policy parameters. Raises AwsError if the listing fails."""


@dataclass(frozen=True)
class HookDocument:
    """A checked Command document: its resolved version, declared parameters and platforms."""

    name: str
    version: str
    parameters: frozenset[str]
    platforms: frozenset[str] = frozenset()


# Lines the agent appends, which say no more than the exit code.
_IDLE = re.compile(r"failed to run commands: exit status \d+|^-+ERROR-+$")


@dataclass(frozen=True)
class CommandOutcome:
    """How a command ended on one instance. `status` is SSM's, or ours if SSM gave none.

    `complete` is False if its output could not be read whole, which then proves nothing.
    """

    status: str
    exit_code: int | None
    output: str = ""
    error: str = ""
    complete: bool = True

    @property
    def succeeded(self) -> bool:
        return self.status == "Success"

    @property
    def is_verdict(self) -> bool:
        """Whether the document itself ran to its end, so that a retry would change nothing."""
        return self.succeeded or (self.status == "Failed" and (self.exit_code or 0) > 0)

    @property
    def explanation(self) -> str:
        """Exit code and the last line of output, if any."""
        said = [line for line in (self.error or self.output).splitlines() if line.strip() and not _IDLE.search(line)]
        last = said[-1] if said else ""
        code = f"exit {self.exit_code}" if self.exit_code not in (None, 0, -1) else ""
        is_of_interest = not (self.succeeded and self.complete)
        return ": ".join(part for part in (code, last.strip()[:300] if is_of_interest else "") if part)

    def __str__(self) -> str:
        return f"{self.status} ({self.explanation})" if self.explanation else self.status


class Commands(Protocol):
    """SSM Run Command. Every method raises AwsError or a subclass of it."""

    def describe_document(self, name: str) -> HookDocument:
        """The document, checked to be a Command document. Raises HookError if it is missing or another kind."""

    def unreachable(self, instance_ids: Collection[str]) -> dict[str, str]:
        """Those of the instances that SSM cannot reach now, with the reason."""

    def platforms(self) -> Mapping[str, str]:
        """`Linux`, `Windows` or `MacOS` of the instances that were looked up, if SSM reported it."""

    def check_access(self) -> None:
        """Poll once. Raises AccessRefusedError if the end of a command could never be seen."""

    def warm_up(self, connections: int) -> None:
        """Open so many connections for commands while nothing is frozen yet; failures are left to the commands."""

    def admitted(self, instances: int, wait: Callable[[float], None]) -> AbstractContextManager[None]:
        """Wait until so many instances can be frozen and thawed within SSM's rate limit; keep room for their thaws.

        `wait` sleeps that many seconds. What it raises ends the waiting.
        """

    def send(
        self,
        document: HookDocument,
        instance_id: str,
        parameters: Mapping[str, list[str]],
        *,
        admitted: bool = False,
        until: float | None = None,
    ) -> str:
        """Send one command and return its id. NoAnswerError: it may still have been sent.

        A command refused for its rate is sent again until `until` (on the deadline's elapsed clock), or while time
        lasts; one that is `admitted` is not: ThrottledError.
        """

    def wait(self, command_id: str, instance_id: str, until: float) -> CommandOutcome | None:
        """The outcome, or None if it has not ended by `until` (on the deadline's elapsed clock).

        Raises AwsError if the final poll fails, and AccessRefusedError at once.
        """

    def cancel(self, command_id: str, instance_id: str) -> None:
        """Ask for cancellation; no guarantee."""


class Ebs(Protocol):
    """EC2's volumes, instances and snapshots. Every method raises AwsError or a subclass of it."""

    def list_volumes(self, volume_ids: Sequence[str] = ()) -> list[Volume]:
        """All volumes with a tag that selects, or nearly does; only the named ones, if any are named."""

    def list_snapshots(self, periods: Collection[Period], volume_ids: Sequence[str] = ()) -> list[Snapshot]:
        """All snapshots of this account kept for one of `periods`; only of the named volumes, if any are named."""

    def list_failed(self, volume_ids: Sequence[str] = ()) -> list[Snapshot]:
        """Those of our snapshots in state `error`, for whatever period; only of the named volumes, if any are named."""

    def list_instances(self, instance_ids: Collection[str]) -> list[Instance]:
        """Those of the named instances that exist."""

    def list_proved_sets(self, set_ids: Collection[str]) -> set[str]:
        """Those of the named sets (tag `-SET`) of which a snapshot of this account is `application`."""

    def read_snapshots(self, snapshot_ids: Sequence[str]) -> dict[str, Snapshot]:
        """The present state of at most 200 snapshots, by id; those deleted or no longer ours are missing."""

    def read_locks(self, snapshot_ids: Sequence[str]) -> dict[str, SnapshotLock]:
        """The locks of at most 200 snapshots, by id; those that are not locked are missing.

        Raises SnapshotNotFoundError if one of them is gone.
        """

    def count_pending(self) -> int:
        """Number of this account's pending snapshots in the Region, whoever started them."""

    def create_snapshot(
        self, volume_id: str, description: str, tags: Mapping[str, str], *, urgent: bool = False
    ) -> Snapshot:
        """Start a snapshot of one volume; `urgent` while something is frozen, so that it does not wait."""

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
        """Start snapshots of an instance's volumes at one instant, each with its volume's tags and `tags`."""

    def warm_up(self, connections: int) -> None:
        """Open so many connections for urgent creates while nothing is frozen yet; failures are left to the creates."""

    def creates_held(self, singles: int, sets: int, wait: Callable[[float], None]) -> AbstractContextManager[None]:
        """Wait until EC2's rate limit leaves room for so many creates of each kind, and keep it for urgent ones.

        `wait` as in `Commands.admitted`.
        """

    def set_periods(self, snapshot_id: str, periods: Collection[str]) -> None:
        """Write the period tag."""

    def set_consistency(self, snapshot_ids: Collection[str], consistency: Consistency) -> None:
        """Write the consistency tag of these snapshots, in one call."""

    def delete_snapshot(self, snapshot_id: str) -> None:
        """Delete one snapshot."""


class Observer(Protocol):
    """Receives each decision when it is final, from one thread."""

    def stage(self, name: str, total: int) -> None:
        """A stage of `total` steps begins."""

    def advance(self, steps: int = 1) -> None:
        """Steps of the current stage are done."""

    def volume(self, result: VolumeResult) -> None:
        """A volume's outcome."""

    def change(self, result: ChangeResult) -> None:
        """A snapshot's change."""

    def hook(self, result: HookResult) -> None:
        """A finished freeze."""

    def warning(self, text: str) -> None:
        """Something a person should know that belongs to no planned volume."""

    def failure(self, text: str) -> None:
        """A failure that belongs to no planned volume."""


class Silent:
    """An observer for callers that only want the report."""

    def stage(self, name: str, total: int) -> None: ...

    def advance(self, steps: int = 1) -> None: ...

    def volume(self, result: VolumeResult) -> None: ...

    def change(self, result: ChangeResult) -> None: ...

    def hook(self, result: HookResult) -> None: ...

    def warning(self, text: str) -> None: ...

    def failure(self, text: str) -> None: ...
