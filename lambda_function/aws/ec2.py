"""EC2's volumes, instances and snapshots: AWS's dictionaries become model values here.

Every listing sends a page size (without `MaxResults` EC2 builds one giant page) and drops items repeated on two pages.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any

from lambda_function.aws.clients import Clients
from lambda_function.aws.connections import open_connections
from lambda_function.aws.errors import translated
from lambda_function.model.description import is_our_description
from lambda_function.model.ec2 import (
    HIBERNATED,
    STOPPED,
    Consistency,
    Instance,
    Snapshot,
    SnapshotLock,
    SnapshotState,
    Volume,
)
from lambda_function.model.period import Period
from lambda_function.model.tags import TagKeys, format_periods, is_ours, parse_periods, policy_named_by

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import FilterTypeDef, TagTypeDef

VOLUMES_PAGE = 500
SNAPSHOTS_PAGE = 1000
INSTANCES_PAGE = 1000
FILTER_VALUES = 200
"""Maximum values in all filters of a call; more give FilterLimitExceeded."""
_EXPIRED = "expired"
_STATES = {state.value: state for state in SnapshotState}
_CONSISTENCIES = {consistency.value: consistency for consistency in Consistency}


@dataclass(frozen=True)
class Ec2Ebs:
    """The Ebs port."""

    clients: Clients
    keys: TagKeys

    def warm_up(self, connections: int) -> None:
        open_connections(self.clients.for_hooks.urgent, connections)

    def creates_held(self, singles: int, sets: int, wait: Callable[[float], None]) -> AbstractContextManager[None]:
        return self.clients.rate_limits.creates_held(singles, sets, wait)

    def list_volumes(self, volume_ids: Sequence[str] = ()) -> list[Volume]:
        filters: list[FilterTypeDef] = [{"Name": "tag-key", "Values": list(self.keys.searched())}]
        found: dict[str, Volume] = {}
        for chunk in _chunks(volume_ids, FILTER_VALUES - len(self.keys.searched())) if volume_ids else [()]:
            narrowed = [*filters, _filter("volume-id", chunk)] if chunk else filters
            pages = self.clients.reading.get_paginator("describe_volumes").paginate(
                Filters=narrowed, PaginationConfig={"PageSize": VOLUMES_PAGE}
            )
            with translated("DescribeVolumes"):
                for page in pages:
                    found.update((raw["VolumeId"], _volume(raw)) for raw in page["Volumes"])
        return list(found.values())

    def list_snapshots(self, periods: Collection[Period], volume_ids: Sequence[str] = ()) -> list[Snapshot]:
        return self._snapshots_of(
            volume_ids, [_filter(f"tag:{self.keys.period}", [f"*{period}*" for period in periods])]
        )

    def list_failed(self, volume_ids: Sequence[str] = ()) -> list[Snapshot]:
        return self._snapshots_of(volume_ids, [_filter("status", ["error"]), _filter("tag-key", [self.keys.period])])

    def list_proved_sets(self, set_ids: Collection[str]) -> set[str]:
        proof = _filter(f"tag:{self.keys.consistency}", [Consistency.APPLICATION.value])
        found: set[str | None] = set()
        for chunk in _chunks(sorted(set_ids), FILTER_VALUES - 1):
            found.update(
                snapshot.set_id for snapshot in self._snapshots([proof, _filter(f"tag:{self.keys.set}", chunk)])
            )
        return {set_id for set_id in set_ids if set_id in found}

    def read_snapshots(self, snapshot_ids: Sequence[str]) -> dict[str, Snapshot]:
        # A filter instead of SnapshotIds: one deleted id would fail the whole call.
        found = self._snapshots([_filter("snapshot-id", snapshot_ids)])
        return {snapshot.id: snapshot for snapshot in found}

    def read_locks(self, snapshot_ids: Sequence[str]) -> dict[str, SnapshotLock]:
        # By id, since the only filter is the lock's state. Ids and a page size exclude each other in EC2.
        with translated("DescribeLockedSnapshots"):
            answer = self.clients.reading.describe_locked_snapshots(SnapshotIds=list(snapshot_ids))
            locks = {raw["SnapshotId"]: _lock(raw) for raw in answer["Snapshots"]}
        return {snapshot_id: lock for snapshot_id, lock in locks.items() if lock is not None}

    def list_instances(self, instance_ids: Collection[str]) -> list[Instance]:
        found: dict[str, Instance] = {}
        for chunk in _chunks(sorted(instance_ids), FILTER_VALUES):
            pages = self.clients.reading.get_paginator("describe_instances").paginate(
                Filters=[_filter("instance-id", chunk)], PaginationConfig={"PageSize": INSTANCES_PAGE}
            )
            with translated("DescribeInstances"):
                for page in pages:
                    for reservation in page["Reservations"]:
                        found.update((raw["InstanceId"], _instance(raw)) for raw in reservation["Instances"])
        return list(found.values())

    def count_pending(self) -> int:
        pages = self.clients.reading.get_paginator("describe_snapshots").paginate(
            OwnerIds=["self"],
            Filters=[_filter("status", ["pending"])],
            PaginationConfig={"PageSize": SNAPSHOTS_PAGE},
        )
        with translated("DescribeSnapshots"):
            return sum(len(page["Snapshots"]) for page in pages)

    def create_snapshot(
        self, volume_id: str, description: str, tags: Mapping[str, str], *, urgent: bool = False
    ) -> Snapshot:
        client = self.clients.for_hooks.urgent if urgent else self.clients.creating
        with translated("CreateSnapshot"):
            raw = client.create_snapshot(
                VolumeId=volume_id,
                Description=description,
                TagSpecifications=[{"ResourceType": "snapshot", "Tags": _as_list(tags)}],
            )
            return _snapshot(raw, tags, self.keys)

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
        client = self.clients.for_hooks.urgent if urgent else self.clients.creating
        specification: dict[str, Any] = {"InstanceId": instance_id, "ExcludeBootVolume": exclude_boot}
        if exclude_data:
            specification["ExcludeDataVolumeIds"] = list(exclude_data)
        with translated("CreateSnapshots"):
            answer = client.create_snapshots(
                InstanceSpecification=specification,  # type: ignore[arg-type]  # built in two steps
                Description=description,
                CopyTagsFromSource="volume",
                TagSpecifications=[{"ResourceType": "snapshot", "Tags": _as_list(tags)}],
            )
            return [_snapshot(raw, tags, self.keys) for raw in answer["Snapshots"]]

    def set_periods(self, snapshot_id: str, periods: Collection[str]) -> None:
        with translated("CreateTags"):
            self.clients.changing.create_tags(
                Resources=[snapshot_id], Tags=[{"Key": self.keys.period, "Value": format_periods(periods)}]
            )

    def set_consistency(self, snapshot_ids: Collection[str], consistency: Consistency) -> None:
        with translated("CreateTags"):
            self.clients.changing.create_tags(
                Resources=sorted(snapshot_ids), Tags=[{"Key": self.keys.consistency, "Value": consistency.value}]
            )

    def delete_snapshot(self, snapshot_id: str) -> None:
        with translated("DeleteSnapshot"):
            self.clients.changing.delete_snapshot(SnapshotId=snapshot_id)

    def _snapshots_of(self, volume_ids: Sequence[str], filters: list[FilterTypeDef]) -> list[Snapshot]:
        """Each once; of all volumes if none is named."""
        room = FILTER_VALUES - sum(len(listed["Values"]) for listed in filters)
        found: dict[str, Snapshot] = {}
        for chunk in _chunks(volume_ids, room) if volume_ids else [()]:
            narrowed = [*filters, _filter("volume-id", chunk)] if chunk else filters
            found.update((snapshot.id, snapshot) for snapshot in self._snapshots(narrowed))
        return list(found.values())

    def _snapshots(self, filters: list[FilterTypeDef]) -> Iterator[Snapshot]:
        pages = self.clients.reading.get_paginator("describe_snapshots").paginate(
            OwnerIds=["self"], Filters=filters, PaginationConfig={"PageSize": SNAPSHOTS_PAGE}
        )
        with translated("DescribeSnapshots"):
            for page in pages:
                for raw in page["Snapshots"]:
                    tags = _tags(raw)
                    if is_ours(tags, self.keys):
                        yield _snapshot(raw, tags, self.keys)


def _filter(name: str, values: Sequence[str]) -> FilterTypeDef:
    return {"Name": name, "Values": list(values)}


def _chunks(values: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (values[start : start + size] for start in range(0, len(values), size))


def _as_list(tags: Mapping[str, str]) -> list[TagTypeDef]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def _tags(raw: Mapping[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag.get("Value", "") for tag in raw.get("Tags", ())}


def _volume(raw: Mapping[str, Any]) -> Volume:
    attached_to = {
        attachment["InstanceId"]
        for attachment in raw.get("Attachments", ())
        # The volume of a Fargate task has an attachment without an instance; its state is `in-use`.
        if attachment.get("State") != "detached" and "InstanceId" in attachment
    }
    created = raw.get("CreateTime")
    return Volume(
        raw["VolumeId"],
        raw.get("State", "unknown"),
        _tags(raw),
        tuple(sorted(attached_to)),
        created.astimezone(UTC) if created else None,
        raw.get("VolumeType"),
    )


def _instance(raw: Mapping[str, Any]) -> Instance:
    devices = {
        mapping.get("DeviceName", ""): mapping["Ebs"]["VolumeId"]
        for mapping in raw.get("BlockDeviceMappings", ())
        if "VolumeId" in mapping.get("Ebs", {})
    }
    return Instance(
        id=raw["InstanceId"],
        state=_instance_state(raw),
        root_volume_id=devices.get(raw.get("RootDeviceName", "")),
        volume_ids=frozenset(devices.values()),
        devices={volume_id: device for device, volume_id in devices.items()},
    )


def _instance_state(raw: Mapping[str, Any]) -> str:
    state: str = raw.get("State", {}).get("Name", "unknown")
    # `Client.UserInitiatedHibernate`, where it was stopped otherwise `Client.UserInitiatedShutdown`.
    is_hibernated = "hibernat" in raw.get("StateReason", {}).get("Code", "").lower()
    return HIBERNATED if state == STOPPED and is_hibernated else state


def _lock(raw: Mapping[str, Any]) -> SnapshotLock | None:
    """A lock's states are `governance`, `compliance`, `compliance-cooloff` and `expired`; the last keeps nothing."""
    state = raw.get("LockState", _EXPIRED)
    expires = raw.get("LockExpiresOn")
    return None if state == _EXPIRED else SnapshotLock(state, expires.astimezone(UTC) if expires else None)


def _snapshot(raw: Mapping[str, Any], tags: Mapping[str, str], keys: TagKeys) -> Snapshot:
    """The snapshot in a response; `tags` are those it carries, or those requested if it was just created.

    A response without a state is a create's: the new snapshot is pending.
    """
    return Snapshot(
        id=raw["SnapshotId"],
        volume_id=raw["VolumeId"],
        start_time=raw["StartTime"].astimezone(UTC),
        state=_STATES.get(raw.get("State", "pending"), SnapshotState.OTHER),
        periods=parse_periods(tags.get(keys.period, "")),
        policy=policy_named_by(tags, keys),
        consistency=_CONSISTENCIES.get(tags.get(keys.consistency, "")),
        set_id=tags.get(keys.set) or None,
        has_our_description=is_our_description(raw.get("Description", ""), raw["VolumeId"]),
    )
