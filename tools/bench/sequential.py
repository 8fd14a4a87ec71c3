"""A plain loop like the cron script's: one call after another, default boto3; prints the result as JSON.

For every volume: list its snapshots, create one, wait for nothing, delete the oldest.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from tests.support.throttled.clock import ServiceClock
from tests.support.throttled.remote import Remote
from tools.bench.invoked import measured

KEY = "AUTO-SNAPSHOT"


def main() -> None:
    asked = json.loads(sys.argv[1])
    clock = ServiceClock(asked["factor"], asked["epoch"])
    clock.install()
    import boto3  # noqa: PLC0415  # late, so that nothing of AWS keeps the machine's clock
    from botocore.exceptions import ClientError  # noqa: PLC0415

    ec2: Any = boto3.client("ec2")
    errors: list[str] = []

    def serve(volume_id: str) -> None:
        found = ec2.describe_snapshots(
            OwnerIds=["self"],
            Filters=[{"Name": "volume-id", "Values": [volume_id]}, {"Name": "tag-key", "Values": [f"{KEY}-PERIOD"]}],
        )["Snapshots"]
        tags = [{"Key": KEY, "Value": "BENCH"}, {"Key": f"{KEY}-PERIOD", "Value": "hour"}]
        ec2.create_snapshot(VolumeId=volume_id, TagSpecifications=[{"ResourceType": "snapshot", "Tags": tags}])
        ec2.delete_snapshot(SnapshotId=min(found, key=lambda each: each["StartTime"])["SnapshotId"])

    def loop() -> dict[str, Any]:
        volumes = ec2.describe_volumes(Filters=[{"Name": "tag-key", "Values": [KEY]}])["Volumes"]
        for volume in volumes:
            try:
                serve(volume["VolumeId"])
            except ClientError as error:
                errors.append(f"{volume['VolumeId']}: {error}")
        return {"invoked": 1}

    result = measured(clock, Remote(asked["address"]), loop)
    print(json.dumps({**result, "errors": errors, "summary": {}}))


if __name__ == "__main__":
    main()
