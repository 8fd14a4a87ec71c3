"""An AWS endpoint on this machine: moto's server, taught the EC2 behaviour that this software depends on.

moto completes snapshots at once, stamps them with the machine's clock, does not page volumes and
snapshots, lists everybody's snapshots as one's own, wants all values of a `tag-key` filter on one
resource where EC2 wants any, reads more than `*` and `?` as wildcards, and ignores `CopyTagsFromSource`,
`ExcludeDataVolumeIds`, the 15-second rule and the cap on pending snapshots.
Its requests run side by side on plain dictionaries, and it finds a resource's tags by going through all
tags there are. What is added here for those is kept in this one place; Run Command, and what a restore needs, are
added beside it.
"""

from __future__ import annotations

import functools
import itertools
import json
import logging
import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import boto3
import moto.ec2.utils
import yaml
from moto.backends import get_backend
from moto.core.responses import ActionResult
from moto.core.serialize import XFormedAttributePicker
from moto.core.utils import method_names_from_class
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.amis import AMIS
from moto.ec2.models.core import TaggedEC2Resource
from moto.ec2.models.elastic_block_store import EBSBackend, Snapshot
from moto.ec2.models.instances import StateReason
from moto.ec2.responses.elastic_block_store import ElasticBlockStore
from moto.ec2.responses.instances import InstanceResponse
from moto.ec2.responses.tags import TagResponse
from moto.iam.models import ManagedPolicy
from moto.moto_server.werkzeug_app import DomainDispatcherApplication
from moto.server import ThreadedMotoServer

from tests.documents.agent import document_content
from tests.support.cloud import Stored
from tests.support.filters import matches_filter
from tests.support.restore_endpoint import restoring
from tests.support.run_command_endpoint import Agents, run_command

PER_VOLUME = 5
"""Concurrent snapshots of a volume (EC2 user guide, "Quotas for Amazon EBS"); of st1 and sc1 one."""

ACCOUNT = "123456789012"
REGION = "eu-west-1"
LOCKED_UNTIL = datetime(2030, 1, 1, tzinfo=UTC)


@dataclass
class Rules:
    """What the endpoint does beyond moto. `pending_for` is how long a snapshot stays pending,
    `locks` the state of each snapshot's lock.

    EC2 refuses to create anything of one of `failing_volumes`; of `bad_volumes` it begins, and what it began ends in
    `error`, the whole set that such a volume is in included. Pending and failed ones count towards a volume's limit, 5
    or, of `slow_volumes`, 1.
    """

    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    pending_for: timedelta = timedelta()
    pending_cap: int = 100
    create_interval: timedelta = timedelta()
    max_page: int = 1000
    failing_volumes: set[str] = field(default_factory=set)
    bad_volumes: set[str] = field(default_factory=set)
    slow_volumes: set[str] = field(default_factory=set)
    locks: dict[str, str] = field(default_factory=dict)
    held_pending: set[str] = field(default_factory=set)
    hidden_for: timedelta = timedelta()
    calls: list[str] = field(default_factory=list)
    requests: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    volume_states: dict[str, str] = field(default_factory=dict)
    agents: Agents = field(default_factory=Agents)


class SnapshotRefusedError(EC2ClientError):
    code = 400

    def __init__(self, code: str, message: str):
        super().__init__(code, message)


def _started(snapshot: Snapshot) -> datetime:
    started: datetime = snapshot.start_time
    return started if started.tzinfo else started.replace(tzinfo=UTC)


class _Extension:
    """Replacements for moto's methods, bound to one set of rules."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.lock = threading.RLock()
        self.original_create = EBSBackend.create_snapshot
        self.original_create_set = EBSBackend.create_snapshots
        self.original_delete = EBSBackend.delete_snapshot
        self.original_filter = moto.ec2.utils.is_filter_matching
        self.original_describe = EBSBackend.describe_snapshots
        self.recent: dict[int, list[Snapshot]] = defaultdict(list)
        self.of_volume: dict[tuple[int, str], list[Snapshot]] = defaultdict(list)

    def status(self, snapshot: Snapshot) -> str:
        stored: str = vars(snapshot)["stored_status"]
        if stored == "error" or snapshot.from_ami:
            return stored
        if snapshot.id in self.rules.held_pending:
            return "pending"
        if self.rules.clock() < _started(snapshot) + self.rules.pending_for:
            return "pending"
        return "error" if vars(snapshot).get("ends_in_error") else "completed"

    def still_recent(self, backend: Any) -> list[Snapshot]:
        """What is pending or was created within the interval: the few of thousands that a create looks at."""
        since = self.rules.clock() - self.rules.create_interval
        there = (s for s in self.recent[id(backend)] if s.id in backend.snapshots and not s.from_ami)
        self.recent[id(backend)] = [s for s in there if _started(s) > since or s.status == "pending"]
        return self.recent[id(backend)]

    def refuse(self, backend: Any, volume_ids: list[str]) -> None:
        """Raise what EC2 refuses these with; a set is refused as a whole."""
        now = self.rules.clock()
        recent = self.still_recent(backend)
        if any(s.volume.id in volume_ids and now - _started(s) < self.rules.create_interval for s in recent):
            raise SnapshotRefusedError("SnapshotCreationPerVolumeRateExceeded", "15 seconds between creates, please.")
        for volume_id in volume_ids:
            kept = [s for s in self.of_volume[id(backend), volume_id] if s.id in backend.snapshots]
            self.of_volume[id(backend), volume_id] = kept
            limit = 1 if volume_id in self.rules.slow_volumes else PER_VOLUME
            if sum(s.status in ("pending", "error") for s in kept) >= limit:
                raise SnapshotRefusedError("ConcurrentSnapshotLimitExceeded", f"Too many snapshots of {volume_id}.")
        if sum(s.status == "pending" for s in recent) + len(volume_ids) > self.rules.pending_cap:
            raise SnapshotRefusedError("PendingSnapshotLimitExceeded", "Too many pending snapshots.")
        if not self.rules.failing_volumes.isdisjoint(volume_ids):
            raise SnapshotRefusedError("UnauthorizedOperation", "You are not authorized to use the volume's key.")

    def create(self, backend: Any, volume_id: str, *args: Any, **kwargs: Any) -> Snapshot:
        self.refuse(backend, [volume_id])
        now = self.rules.clock()
        snapshot = self.original_create(backend, volume_id, *args, **kwargs)
        snapshot.start_time = now.replace(tzinfo=None)
        self.recent[id(backend)].append(snapshot)
        self.of_volume[id(backend), volume_id].append(snapshot)
        vars(snapshot)["ends_in_error"] = volume_id in self.rules.bad_volumes
        return snapshot

    def create_set(self, backend: Any, instance_spec: dict[str, Any], description: str, tags: dict[str, str]) -> Any:
        instance = backend.get_instance(instance_spec["InstanceId"])
        excluded = set(instance_spec.get("ExcludeDataVolumeIds", ()))
        if str(instance_spec.get("ExcludeBootVolume", False)).lower() == "true":
            excluded |= {m.volume_id for k, m in instance.get_block_device_mapping if k == instance.root_device_name}
        chosen = [m.volume_id for _, m in instance.get_block_device_mapping if m.volume_id not in excluded]
        self.refuse(backend, chosen)
        snapshots = [backend.create_snapshot(volume_id, description) for volume_id in chosen]
        for snapshot in snapshots:
            snapshot.add_tags({tag["key"]: tag["value"] for tag in snapshot.volume.get_tags()})
            snapshot.add_tags(tags)
            vars(snapshot)["ends_in_error"] = not self.rules.bad_volumes.isdisjoint(chosen)
        return snapshots

    def delete(self, backend: Any, snapshot_id: str) -> Any:
        if self.rules.locks.get(snapshot_id, "expired") != "expired":
            raise SnapshotRefusedError("SnapshotLocked", f"The snapshot {snapshot_id} is locked.")
        return self.original_delete(backend, snapshot_id)

    def describe_locks(self, response: Any) -> ActionResult:
        """moto lacks the call. EC2 refuses it for one id that is not there, and lists those that are or were locked."""
        named = response._get_param("SnapshotIds", [])
        gone = [each for each in named if each not in response.ec2_backend.snapshots]
        if gone:
            raise SnapshotRefusedError("InvalidSnapshot.NotFound", f"The snapshot '{gone[0]}' does not exist.")
        return ActionResult(
            {
                "Snapshots": [
                    {"SnapshotId": each, "LockState": self.rules.locks[each], "LockExpiresOn": LOCKED_UNTIL}
                    for each in named
                    if each in self.rules.locks
                ]
            }
        )

    def describe(self, backend: Any, snapshot_ids: list[str] | None = None, filters: Any = None) -> list[Snapshot]:
        visible_from = self.rules.clock() - self.rules.hidden_for
        named = (filters or {}).get("snapshot-id")
        if named and not snapshot_ids:  # looked up: moto holds every pattern against every snapshot
            rest = {name: values for name, values in filters.items() if name != "snapshot-id"}
            there = [backend.snapshots[each] for each in named if each in backend.snapshots]
            found = moto.ec2.utils.generic_filter(rest, there)
        elif filters == {"status": ["pending"]} and not snapshot_ids:  # asked for again and again, of thousands
            found = [each for each in self.still_recent(backend) if each.status == "pending"]
        else:
            found = self.original_describe(backend, snapshot_ids, filters)
        return [s for s in found if s.from_ami or _started(s) <= visible_from or not self.rules.hidden_for]

    def paged(self, original: Callable[[Any], ActionResult], key: str) -> Callable[[Any], ActionResult]:
        def respond(response: Any) -> ActionResult:
            result = original(response)
            items = result.result[key]
            if response._get_param("OwnerIds") == ["self"]:
                items = [each for each in items if each.owner_id == response.current_account]
            asked = response._get_param("MaxResults")
            start = int(response._get_param("NextToken") or 0)
            size = min(int(asked), self.rules.max_page) if asked else len(items) or 1
            token = str(start + size) if start + size < len(items) else None
            return ActionResult({**result.result, key: items[start : start + size], "NextToken": token})

        return respond

    def filter_matches(self, resource: Any, name: str, values: Any) -> bool:
        if name == "tag-key":
            keys = [tag["key"] for tag in resource.get_tags()]
            return any(matches_filter(key, values) for key in keys)
        return self.original_filter(resource, name, values)

    def stop(self, original: Callable[[Any], ActionResult]) -> Callable[[Any], ActionResult]:
        """moto stops an instance that is to be hibernated, and gives the wrong reason."""

        def respond(response: Any) -> ActionResult:
            answer = original(response)
            if response._get_bool_param("Hibernate"):
                code = "Client.UserInitiatedHibernate"
                for instance_id in response._get_param("InstanceIds", []):
                    instance = response.ec2_backend.get_instance(instance_id)
                    instance.state_reason = StateReason(f"{code}: User initiated hibernate", code)
            return answer

        return respond

    def volume_status(self, volume: Any) -> str:
        return self.rules.volume_states.get(volume.id) or ("in-use" if volume.attachment else "available")

    def counted(self, original: Callable[[Any], Any], name: str) -> Callable[[Any], Any]:
        def respond(response: Any) -> Any:
            with self.lock:  # moto's dictionaries do not stand being changed by one thread and read by another
                self.rules.calls.append(name)
                self.rules.requests.append((name, dict(response._get_params())))
                return original(response)

        return respond


_POSSIBLE_KEYS = XFormedAttributePicker.get_possible_keys


def _known_keys() -> Callable[[Any, Any], list[str]]:
    """moto works out anew for each attribute of each answer by which names an object may have it: half of its time."""
    known: dict[Any, list[str]] = {}

    def possible_keys(picker: Any, context: Any) -> list[str]:
        case = (type(context.obj), context.key, id(context.shape))
        if case not in known:
            known[case] = list(_POSSIBLE_KEYS(picker, context))
        return known[case]

    return possible_keys


def _store_status(snapshot: Snapshot, status: str) -> None:
    vars(snapshot)["stored_status"] = status


def _tags_of(resource: Any) -> list[dict[str, str]]:
    held = resource.ec2_backend.tags.get(resource.id, {})
    return [{"resource_id": resource.id, "key": key, "value": value} for key, value in list(held.items())]


_made_by_a_stack = ManagedPolicy.create_from_cloudformation_json


def _managed_policy(name: str, cloudformation_json: dict[str, Any], *args: Any, **kwargs: Any) -> ManagedPolicy:
    """A document may be an object or its text; moto takes the text for a string and finds it malformed."""
    properties = dict(cloudformation_json["Properties"])
    if isinstance(properties["PolicyDocument"], str):
        properties["PolicyDocument"] = json.loads(properties["PolicyDocument"])
    return _made_by_a_stack(name, {**cloudformation_json, "Properties": properties}, *args, **kwargs)


def _method(function: Callable[..., Any]) -> Callable[..., Any]:
    """A plain function, which Python binds to the backend as moto's own method was."""
    return lambda backend, *args, **kwargs: function(backend, *args, **kwargs)  # noqa: PLW0108


@functools.cache
def _address() -> str:
    """The server, which stays for as long as this process: to start it makes routes, to stop it takes half a second."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    return f"http://{host}:{port}"


@contextmanager
def endpoint(rules: Rules | None = None) -> Iterator[tuple[str, Rules]]:
    """Run the endpoint and point boto3 at it by environment; yields its address and its rules."""
    rules = rules or Rules()
    extension = _Extension(rules)
    responses = {
        name: getattr(ElasticBlockStore, name)
        for name in ("create_snapshot", "create_snapshots", "delete_snapshot", "describe_snapshots", "describe_volumes")
    }
    responses["describe_snapshots"] = extension.paged(responses["describe_snapshots"], "Snapshots")
    responses["describe_volumes"] = extension.paged(responses["describe_volumes"], "Volumes")
    responses["describe_locked_snapshots"] = extension.describe_locks
    counted: dict[str, Any] = {name: extension.counted(method, name) for name, method in responses.items()}
    with (
        mock.patch.multiple(
            EBSBackend,
            create_snapshot=_method(extension.create),
            create_snapshots=_method(extension.create_set),
            delete_snapshot=_method(extension.delete),
            describe_snapshots=_method(extension.describe),
        ),
        mock.patch.multiple(ElasticBlockStore, create=True, **counted),
        mock.patch.object(TaggedEC2Resource, "get_tags", _tags_of),
        mock.patch.object(ManagedPolicy, "create_from_cloudformation_json", _managed_policy),
        mock.patch.object(
            InstanceResponse,
            "describe_instances",
            extension.counted(InstanceResponse.describe_instances, "describe_instances"),
        ),
        mock.patch.object(InstanceResponse, "stop_instances", extension.stop(InstanceResponse.stop_instances)),
        mock.patch.object(TagResponse, "create_tags", extension.counted(TagResponse.create_tags, "create_tags")),
        # This endpoint has no rates; `tests/support/throttled/` has.
        mock.patch("lambda_function.aws.rate_limit.BURST", 1e9),
        mock.patch("moto.ec2.utils.is_filter_matching", extension.filter_matches),
        # moto looks through its own folders at every request, twice; they do not change.
        mock.patch.object(
            DomainDispatcherApplication,
            "get_backend_for_host",
            functools.cache(DomainDispatcherApplication.get_backend_for_host),
        ),
        mock.patch("moto.ec2.models.elastic_block_store.Volume.status", property(extension.volume_status)),
        mock.patch.object(Snapshot, "status", property(extension.status, _store_status), create=True),
        mock.patch.object(XFormedAttributePicker, "get_possible_keys", _known_keys()),
        # moto lists a class's methods anew for every request.
        mock.patch("moto.core.responses.method_names_from_class", functools.cache(method_names_from_class)),
        # Some 1,300 images of others for each Region that a test looks at.
        mock.patch("moto.ec2.models.amis.AMIS", AMIS[:1]),
        mock.patch("moto.ec2.models.amis.load_resource", side_effect=FileNotFoundError),
        run_command(rules.agents, rules.clock),
        restoring(),
    ):
        address = _address()
        variables = {
            "AWS_ENDPOINT_URL": address,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        with mock.patch.dict(os.environ, variables):
            _reset()
            yield address, rules


def _reset() -> None:
    for name in ("ec2", "ssm"):
        get_backend(name).reset()


def ec2_backend() -> Any:
    """What the endpoint holds of EC2, for ageing it and for looking at it."""
    return get_backend("ec2")[ACCOUNT][REGION]


def stored_snapshots() -> dict[str, Stored]:
    """All snapshots that belong to no image, other accounts' included, in the shape of the cloud in memory."""
    backend = ec2_backend()
    return {
        each.id: Stored(
            each.id,
            each.volume_id,
            _started(each),
            dict(backend.tags.get(each.id, {})),
            each.description,
            failed=each.status == "error",
        )
        for each in backend.snapshots.values()
        if not each.from_ami
    }


@dataclass
class TaskAttachment:
    """How EC2 shows a volume of a Fargate task: with the task's owner in place of an instance."""

    volume_id: str
    status: str = "attached"
    associated_resource: str = f"arn:aws:ecs:{REGION}:{ACCOUNT}:task/cluster/0123456789abcdef"
    instance_owning_service: str = "ecs.amazonaws.com"


class Account:
    """A fleet under construction: what a person would do in the console, in few words."""

    def __init__(self) -> None:
        self.ec2 = boto3.client("ec2")
        self.ssm = boto3.client("ssm")
        self._devices = itertools.cycle(f"/dev/sd{letter}{digit}" for letter in "fghijklmnop" for digit in "123456789")
        self._image = next(iter(ec2_backend().amis))

    def policy(self, name: str, value: str, path: str = "/auto-snapshots/policies/", kind: Any = "String") -> None:
        self.ssm.put_parameter(Name=path + name, Value=value, Type=kind, Overwrite=True)

    def document(self, name: str, content: dict[str, Any] | str = "FilesystemDocument", kind: Any = "Command") -> str:
        """A document of this content, or a shipped one by its logical id."""
        whole = document_content(content) if isinstance(content, str) else content
        self.ssm.create_document(Name=name, Content=yaml.safe_dump(whole), DocumentType=kind, DocumentFormat="YAML")
        return name

    def volume(self, tags: dict[str, str] | None = None, instance: str | None = None) -> str:
        made = self.ec2.create_volume(
            Size=8,
            AvailabilityZone=f"{REGION}a",
            TagSpecifications=[{"ResourceType": "volume", "Tags": as_list(tags)}] if tags else [],
        )
        if instance:
            self.ec2.attach_volume(VolumeId=made["VolumeId"], InstanceId=instance, Device=next(self._devices))
        return made["VolumeId"]

    def instance(self) -> str:
        made = self.ec2.run_instances(
            ImageId=self._image, MinCount=1, MaxCount=1, Placement={"AvailabilityZone": f"{REGION}a"}
        )
        return made["Instances"][0]["InstanceId"]

    def hibernate(self, instance: str) -> None:
        self.ec2.stop_instances(InstanceIds=[instance], Hibernate=True)

    def give_to_task(self, volume: str) -> None:
        """Attached to a Fargate task, as ECS does it; nobody can by a call."""
        ec2_backend().volumes[volume].attachment = TaskAttachment(volume)

    def root_of(self, instance: str) -> str:
        described = self.ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
        root = described["RootDeviceName"]
        return next(m["Ebs"]["VolumeId"] for m in described["BlockDeviceMappings"] if m["DeviceName"] == root)

    def tag(self, resource: str, tags: dict[str, str]) -> None:
        self.ec2.create_tags(Resources=[resource], Tags=as_list(tags))

    def snapshot(self, volume: str, tags: dict[str, str] | None = None, started: datetime | None = None) -> str:
        is_a_run_s = "AUTO-SNAPSHOT-PERIOD" in (tags or {}) and len(tags or {}) > 1  # the script's bear that one alone
        made = self.ec2.create_snapshot(
            VolumeId=volume,
            Description=f"Hourly snapshot of volume {volume}, policy P" if is_a_run_s else "",
            TagSpecifications=[{"ResourceType": "snapshot", "Tags": as_list(tags)}] if tags else [],
        )
        if started is not None:
            ec2_backend().snapshots[made["SnapshotId"]].start_time = started.astimezone(UTC).replace(tzinfo=None)
        return made["SnapshotId"]

    def snapshots(self, volume: str | None = None) -> list[dict[str, Any]]:
        """All of the account, or of one volume, oldest first; tags as a dictionary."""
        found = self.ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]
        mine = [
            {**snapshot, "Tags": {tag["Key"]: tag["Value"] for tag in snapshot.get("Tags", [])}}
            for snapshot in found
            if snapshot["OwnerId"] == ACCOUNT and (volume is None or snapshot["VolumeId"] == volume)
        ]
        return sorted(mine, key=lambda snapshot: (snapshot["StartTime"], snapshot["SnapshotId"]))


def ec2_of(account: str, region: str = REGION) -> Any:
    """EC2 as somebody of another account sees it; moto makes the account when it is first used."""
    role = f"arn:aws:iam::{account}:role/somebody"
    given = boto3.client("sts").assume_role(RoleArn=role, RoleSessionName="somebody")["Credentials"]
    session: Any = boto3.Session(given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"], region)
    return session.client("ec2")


def selected_volume(ec2: Any, policy: str) -> str:
    """A detached volume there, tagged with the policy's name."""
    tags = [{"ResourceType": "volume", "Tags": as_list({"AUTO-SNAPSHOT": policy})}]
    zone = f"{ec2.meta.region_name}a"
    volume_id: str = ec2.create_volume(Size=8, AvailabilityZone=zone, TagSpecifications=tags)["VolumeId"]
    return volume_id


def as_list(tags: dict[str, str] | None) -> Any:
    return [{"Key": key, "Value": value} for key, value in (tags or {}).items()]
