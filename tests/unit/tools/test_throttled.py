from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.support.clock import Clock
from tests.support.endpoint import Rules, ec2_backend, endpoint
from tests.support.throttled.buckets import FILTERED, MUTATING, UNFILTERED, Buckets, Limit, TokenBucket, bucket_of
from tests.support.throttled.clock import ServiceClock
from tests.support.throttled.layer import Latency, Layer, before_moto
from tests.support.throttled.remote import ROOT, Remote, Setting, running

ONCE = Config(retries={"mode": "standard", "total_max_attempts": 1}, max_pool_connections=20)


def admitted(bucket: TokenBucket, calls: int) -> int:
    return sum(bucket.take() for _ in range(calls))


def test_a_bucket_admits_its_burst_and_then_its_refill():
    clock = Clock()
    bucket = TokenBucket(Limit(100, 5), clock.elapsed)
    assert admitted(bucket, 150) == 100
    clock.sleep(3)
    assert admitted(bucket, 50) == 15


def test_a_bucket_never_holds_more_than_its_burst():
    clock = Clock()
    bucket = TokenBucket(Limit(100, 5), clock.elapsed)
    clock.sleep(3600)
    assert admitted(bucket, 150) == 100


def test_a_refused_call_costs_no_token():
    clock = Clock()
    bucket = TokenBucket(Limit(1, 1), clock.elapsed)
    assert admitted(bucket, 1) == 1
    clock.sleep(0.75)
    assert admitted(bucket, 10) == 0
    clock.sleep(0.25)
    assert admitted(bucket, 10) == 1


@pytest.mark.parametrize(
    ("action", "parameters", "expected"),
    [
        ("CreateSnapshot", ["VolumeId"], ("CreateSnapshot", Limit(100, 5))),
        ("CreateSnapshots", ["InstanceSpecification.InstanceId"], ("CreateSnapshots", Limit(100, 5))),
        ("DeleteSnapshot", ["SnapshotId"], ("DeleteSnapshot", Limit(100, 5))),
        ("CreateTags", ["ResourceId.1"], ("CreateTags", Limit(100, 10))),
        ("CopySnapshot", [], ("CopySnapshot", MUTATING)),
        ("DescribeSnapshots", ["Filter.1.Name", "Owner.1"], ("DescribeSnapshots", FILTERED)),
        ("DescribeSnapshots", ["MaxResults"], ("DescribeSnapshots", FILTERED)),
        ("DescribeSnapshots", ["Owner.1"], ("DescribeSnapshots (all)", UNFILTERED)),
    ],
)
def test_a_call_draws_from_the_bucket_of_its_api(action, parameters, expected):
    assert bucket_of(action, parameters) == expected


@pytest.mark.parametrize(
    "other",
    [
        ("111111111111", "eu-west-1", "DeleteSnapshot"),
        ("111111111111", "us-east-1", "CreateSnapshot"),
        ("222222222222", "eu-west-1", "CreateSnapshot"),
    ],
    ids=["another API", "another Region", "another account"],
)
def test_one_empty_bucket_leaves_the_others_full(other):
    buckets = Buckets(Clock().elapsed)
    assert sum(buckets.take("111111111111", "eu-west-1", "CreateSnapshot") for _ in range(150)) == 100
    assert sum(buckets.take(*other) for _ in range(150)) == 100


def test_other_tools_take_their_part_of_every_bucket():
    clock = Clock()
    buckets = Buckets(clock.elapsed, others=0.5)
    assert sum(buckets.take("1", "r", "CreateSnapshot") for _ in range(150)) == 50
    clock.sleep(4)
    assert sum(buckets.take("1", "r", "CreateSnapshot") for _ in range(150)) == 10


@pytest.mark.parametrize("factor", [-1, 0, 8.5])
def test_service_time_runs_at_most_eight_times_as_fast(factor):
    """It never goes backwards."""
    with pytest.raises(ValueError, match="must be above 0 and at most 8"):
        ServiceClock(factor, 0.0)


def client(address: str, region: str) -> Any:
    return boto3.client(
        "ec2",
        region_name=region,
        endpoint_url=address,
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
        config=ONCE,
    )


def outcomes(call: Any, times: int) -> Counter[str]:
    """How often a call succeeded, and what its refusals were."""

    def once(_: int) -> str:
        try:
            call()
        except ClientError as error:
            return f"{error.response['ResponseMetadata']['HTTPStatusCode']} {error.response['Error']['Code']}"
        return "made"

    with ThreadPoolExecutor(8) as pool:
        return Counter(pool.map(once, range(times)))


def test_the_101st_create_is_refused_over_http():
    """Deletions and other Regions are not refused."""
    layer = Layer(Buckets(Clock().elapsed), Latency(0, 0, 0), ServiceClock(1, 0))
    with before_moto(layer), endpoint(Rules(pending_cap=1000)) as (address, _):
        ireland, virginia = client(address, "eu-west-1"), client(address, "us-east-1")
        volume = ec2_backend().create_volume(size=8, zone_name="eu-west-1a").id
        created = outcomes(lambda: ireland.create_snapshot(VolumeId=volume), 103)
        refused_by_moto = outcomes(lambda: virginia.create_snapshot(VolumeId="vol-0"), 2)
        deleted = outcomes(lambda: ireland.delete_snapshot(SnapshotId=[*ec2_backend().snapshots][-1]), 1)
    assert created == {"made": 100, "503 RequestLimitExceeded": 3}
    assert refused_by_moto == {"400 InvalidVolume.NotFound": 2}
    assert deleted == {"made": 1}
    assert layer.counts.throttled == {"CreateSnapshot": 3}
    assert layer.counts.answered == {"CreateSnapshot": 102, "DeleteSnapshot": 1}
    assert layer.counts.errors == {"InvalidVolume.NotFound": 2}


def test_the_process_holds_the_fleet_and_reports_its_calls():
    """It counts them since it began."""
    with running(Setting(factor=8, epoch=time.time()), {"volumes": 3, "copies": 2, "foreign_pending": 4}) as remote:
        ec2 = client(remote.address, "eu-west-1")
        remote.ask("begin")
        pending = ec2.describe_snapshots(Filters=[{"Name": "status", "Values": ["pending"]}])["Snapshots"]
        for volume in ec2.describe_volumes(Filters=[{"Name": "tag-key", "Values": ["AUTO-SNAPSHOT"]}])["Volumes"]:
            tags = [{"Key": "AUTO-SNAPSHOT", "Value": "BENCH"}]
            ec2.create_snapshot(
                VolumeId=volume["VolumeId"], TagSpecifications=[{"ResourceType": "snapshot", "Tags": tags}]
            )
        told = remote.ask("stats")
    assert len(pending) == 4
    assert told["answered"] == {"DescribeSnapshots": 1, "DescribeVolumes": 1, "CreateSnapshot": 3}
    assert told["held"] == 9
    assert told["new_by_count"] == {"1": 3}


def test_the_queue_keeps_an_invocation_until_it_is_taken():
    """It is Lambda's queue for asynchronous invocations."""
    layer = Layer(None, Latency(0, 0, 0), ServiceClock(1, 0))
    with before_moto(layer), endpoint() as (address, _):
        function = boto3.client("lambda", endpoint_url=address)
        answer = function.invoke(FunctionName="F", InvocationType="Event", Payload=b'{"period": "hour"}')
        remote = Remote(address)
        taken, again = remote.ask("invocations"), remote.ask("invocations")
    assert answer["StatusCode"] == 202
    assert (taken, again) == ([{"period": "hour"}], [])


SCALED = """
import threading, time
from tests.support.throttled import clock
slept, waited = [], []
clock._time, clock._monotonic, clock._sleep = lambda: 101.0, lambda: 5.0, slept.append
threading.Condition.wait = lambda condition, timeout=None: waited.append(timeout)
clock.ServiceClock(8, 100.0).install()
import botocore.retries.bucket
botocore.retries.bucket.Clock().sleep(4)
threading.Event().wait(4)
assert (slept, waited) == ([0.5], [0.5]), (slept, waited)
assert botocore.retries.bucket.Clock().current_time() == 308.0
assert time.monotonic() == time.perf_counter() == 40.0
"""


def test_service_time_speeds_up_clocks_and_waits():
    """It does so for botocore's clock and for all that waits on a condition."""
    subprocess.run([sys.executable, "-c", SCALED], check=True, cwd=ROOT)
