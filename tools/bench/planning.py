"""CPU time and memory of planning a large account; run as its own process, prints JSON.

The argument is the policies' N for the hour, of which every volume has ten snapshots. The process is the
function's: handler, boto3 and clients are there, and volumes, instances and snapshots are made of
dictionaries like botocore's, page by page, by the code that reads EC2.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

from lambda_function import handler
from lambda_function.aws.ec2 import INSTANCES_PAGE, SNAPSHOTS_PAGE, VOLUMES_PAGE, Ec2Ebs
from lambda_function.inputs.policy import Parameter, parse_policies
from lambda_function.model.ec2 import Snapshot, SnapshotState
from lambda_function.model.period import Period
from lambda_function.model.request import RunRequest
from lambda_function.model.result import Change, Outcome
from lambda_function.model.tags import TagKeys
from lambda_function.plan.create_calls import plan_creates
from lambda_function.plan.due import plan_run
from lambda_function.plan.retention import kept_for, plan_prune

VOLUMES = 10_000
SNAPSHOTS_EACH = 10
VOLUMES_EACH_INSTANCE = 4
POLICIES = 300
NOW = datetime(2024, 1, 1, 0, 15, tzinfo=UTC)
KEY = "AUTO-SNAPSHOT"


class _Pages:
    """A client that answers only the listings, page by page."""

    def get_paginator(self, operation: str) -> Any:
        return SimpleNamespace(paginate=lambda **_: getattr(self, operation)())

    def describe_volumes(self) -> Iterator[dict[str, Any]]:
        for start in range(0, VOLUMES, VOLUMES_PAGE):
            yield {"Volumes": [_volume(n) for n in range(start, min(start + VOLUMES_PAGE, VOLUMES))]}

    def describe_instances(self) -> Iterator[dict[str, Any]]:
        # As many as one call names (200), whatever the page's size: a call's answer is recognised by its ids.
        instances = [_instance(n) for n in range(VOLUMES // VOLUMES_EACH_INSTANCE)]
        for start in range(0, len(instances), INSTANCES_PAGE):
            yield {
                "Reservations": [{"Instances": [instance]} for instance in instances[start : start + INSTANCES_PAGE]]
            }

    def describe_snapshots(self) -> Iterator[dict[str, Any]]:
        total = VOLUMES * SNAPSHOTS_EACH
        for start in range(0, total, SNAPSHOTS_PAGE):
            yield {"Snapshots": [_snapshot(n) for n in range(start, min(start + SNAPSHOTS_PAGE, total))]}


def _tags(number: int) -> list[dict[str, str]]:
    tags = {
        "Name": f"volume {number}",
        KEY: f"POLICY-{number % POLICIES}",
        "Team": f"team {number % 50}",
        "Env": "prod",
    }
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def _volume(number: int) -> dict[str, Any]:
    attachment = {"InstanceId": f"i-{number // VOLUMES_EACH_INSTANCE:017x}", "State": "attached"}
    return {"VolumeId": f"vol-{number:017x}", "State": "in-use", "Tags": _tags(number), "Attachments": [attachment]}


def _instance(number: int) -> dict[str, Any]:
    first = number * VOLUMES_EACH_INSTANCE
    mappings = [
        {"DeviceName": f"/dev/sd{letter}", "Ebs": {"VolumeId": f"vol-{first + position:017x}"}}
        for position, letter in enumerate("abcd"[:VOLUMES_EACH_INSTANCE])
    ]
    return {
        "InstanceId": f"i-{number:017x}",
        "State": {"Name": "running"},
        "RootDeviceName": "/dev/sda",
        "BlockDeviceMappings": mappings,
    }


def _snapshot(number: int) -> dict[str, Any]:
    volume, position = divmod(number, SNAPSHOTS_EACH)
    kept = {"Key": f"{KEY}-PERIOD", "Value": "hour" if position < 4 else "hour day"[: 4 + 4 * (position % 2)]}
    return {
        "SnapshotId": f"snap-{number:017x}",
        "VolumeId": f"vol-{volume:017x}",
        "State": "completed",
        "StartTime": NOW - timedelta(hours=1 + 5 * position, minutes=10),
        "Tags": [*_tags(volume), kept, {"Key": f"{KEY}-CONSISTENCY", "Value": "crash"}],
    }


def main() -> None:
    handler.clients()
    at_rest = _peak_megabytes()
    keys = TagKeys(KEY)
    pages = cast("Any", _Pages())
    ebs = Ec2Ebs(cast("Any", SimpleNamespace(reading=pages)), keys)
    value = json.dumps({"hour": int(sys.argv[1]), "day": 5, "week": 52})
    policies = parse_policies(Parameter(f"/auto-snapshots/policies/POLICY-{n}", value) for n in range(POLICIES))
    request = RunRequest(Period.HOUR, NOW)
    volumes = ebs.list_volumes()
    snapshots = ebs.list_snapshots(request.period.up_to())
    instances: dict[str, Any] = {}
    for instance in ebs.list_instances(["one chunk; the pages give all"]):
        instances[instance.id] = instance
    gc.collect()

    began = time.process_time()
    plan = plan_run(request, policies, volumes, snapshots, keys)
    planned = time.process_time()
    due = [volume_plan for volume_plan in plan.volumes if volume_plan.outcome is Outcome.WOULD_CREATE]
    create_calls = plan_creates(due, instances, keys, request.period)
    calls = time.process_time()
    changes = []
    for volume_plan in plan.volumes:
        if volume_plan.rule is not None:
            known = {snapshot.id: snapshot for snapshot in volume_plan.snapshots}
            made = Snapshot("snap-new", volume_plan.volume.id, NOW, SnapshotState.PENDING, (), volume_plan.policy_name)
            known[made.id] = kept_for(made, request.period)
            planned_changes = plan_prune(volume_plan.rule, list(known.values()), made.id)
            changes += [change for change in planned_changes if change.change is not Change.KEEP]
    pruned = time.process_time()
    print(
        json.dumps(
            {
                "plan_run": planned - began,
                "arrange": calls - planned,
                "plan_prune": pruned - calls,
                "total": pruned - began,
                "megabytes": _peak_megabytes(),
                "megabytes_at_rest": at_rest,
                "volumes": len(plan.volumes),
                "snapshots": len(snapshots),
                "units": len(create_calls),
                "changes": len(changes),
            }
        )
    )


def _peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
