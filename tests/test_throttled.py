from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config

from tests.fake_clock import Clock
from tests.throttled.buckets import FILTERED, MUTATING, UNFILTERED, Buckets, Limit, TokenBucket, bucket_of
from tests.throttled.clock import ServiceClock
from tests.throttled.remote import Remote, Setting, running

ONCE = Config(retries={"mode": "standard", "total_max_attempts": 1}, max_pool_connections=20)


def admitted(bucket: TokenBucket, calls: int) -> int:
    return sum(bucket.take() for _ in range(calls))


def test_a_bucket_admits_its_burst_and_then_what_comes_back_each_second():
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


@pytest.mark.parametrize("factor", [0.5, 8.5])
def test_service_time_runs_one_to_eight_times_as_fast(factor):
    with pytest.raises(ValueError, match="must be 1 to 8"):
        ServiceClock(factor, 0.0)


@pytest.fixture(scope="module")
def remote() -> Iterator[Remote]:
    """Its clock hardly moves beside the test's: it began an hour ahead, so buckets are full and stay as they are."""
    setting = Setting(factor=1, epoch=0, pending_cap=130, pending_seconds=600, write_seconds=0, read_seconds=0)
    with running(setting, {"volumes": 140, "copies": 1}) as started:
        yield started


def ec2(remote: Remote, region: str = "eu-west-1") -> Any:
    return boto3.client(
        "ec2",
        region_name=region,
        endpoint_url=remote.address,
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
        config=ONCE,
    )
