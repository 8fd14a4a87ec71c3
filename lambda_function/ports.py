"""What a run needs from the world outside, as protocols; `ebs.py` and `parameter_store.py` fulfil them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from lambda_function.model import ChangeResult, Instance, Period, Snapshot, Volume, VolumeResult
from lambda_function.policy import Parameter


class PolicySource(Protocol):
    """Where policies are kept."""

    def read(self) -> list[Parameter]:
        """All policy parameters. Raises AwsError when the listing could not be completed."""


class Ebs(Protocol):
    """EC2's volumes, instances and snapshots. Every method raises AwsError or a subclass of it."""

    def list_volumes(self, volume_ids: Sequence[str] = ()) -> list[Volume]:
        """All volumes with a tag that selects, or nearly does; only those named, where any are."""

    def list_snapshots(self, periods: Collection[Period], volume_ids: Sequence[str] = ()) -> list[Snapshot]:
        """All snapshots of this account kept for one of `periods`; only of those volumes, where any are named."""

    def list_instances(self, instance_ids: Collection[str]) -> list[Instance]:
        """Those of the named instances that exist."""

    def read_snapshots(self, snapshot_ids: Sequence[str]) -> dict[str, Snapshot]:
        """The present state of at most 200 snapshots, by id; those gone or no longer ours are missing."""

    def count_pending(self) -> int:
        """Number of this account's pending snapshots in the Region, whoever started them."""

    def create_snapshot(self, volume_id: str, description: str, tags: Mapping[str, str]) -> Snapshot:
        """Start a snapshot of one volume."""

    def create_snapshots(
        self,
        instance_id: str,
        exclude_boot: bool,
        exclude_data: Sequence[str],
        description: str,
        tags: Mapping[str, str],
    ) -> list[Snapshot]:
        """Start snapshots of an instance's volumes at one instant, each with its volume's tags and `tags`."""

    def set_keepers(self, snapshot_id: str, keepers: Collection[str]) -> None:
        """Write the period tag."""

    def delete_snapshot(self, snapshot_id: str) -> None:
        """Delete one snapshot."""


class Observer(Protocol):
    """Hears of each decision when it is final, from one thread."""

    def stage(self, name: str, total: int) -> None:
        """A stage of `total` steps begins."""

    def advance(self, steps: int = 1) -> None:
        """Steps of the present stage are over."""

    def volume(self, result: VolumeResult) -> None:
        """A volume's outcome."""

    def change(self, result: ChangeResult) -> None:
        """A snapshot's change."""


class Silent:
    """An observer for callers that only want the report."""

    def stage(self, name: str, total: int) -> None: ...

    def advance(self, steps: int = 1) -> None: ...

    def volume(self, result: VolumeResult) -> None: ...

    def change(self, result: ChangeResult) -> None: ...
