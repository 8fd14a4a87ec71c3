"""One stack's life: built, deployed, fired, updated, deleted, deployed again.

Each stage is a fixture, which begins where the stage before it ended, and says what was seen.
"""

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.stack.deployed.stack import STACK, Checkout, Cloud, eventually, ministack
from tests.support.endpoint import ACCOUNT, REGION, Account, Rules, ec2_of, endpoint, selected_volume

EVERY_MINUTE = ("--parameter-overrides", "HourSchedule='rate(1 minute)'")
EDITED = '{"hour": 24, "day": 7, "month": 12}'  # the README's
DOCUMENT = f"auto-snapshots-{STACK}-filesystem"
TARGETS_PATH = "/auto-snapshots/targets/"
MEMBER, MEMBER_REGION = "222222222222", "us-east-1"
SECONDS_NEEDED = 180  # from the first firing to the last


@dataclass
class World:
    checkout: Checkout
    cloud: Cloud
    account: Account
    rules: Rules

    def created(self) -> int:
        return sum(call.startswith("create_snapshot") for call in self.rules.calls)

    def policies(self) -> dict[str, str]:
        found = self.account.ssm.get_parameters_by_path(Path="/auto-snapshots/policies/")["Parameters"]
        return {each["Name"].rpartition("/")[2]: each["Value"] for each in found}

    def documents(self) -> dict[str, Any]:
        """Name to what Systems Manager says of the version that is used by default."""
        mine = self.account.ssm.list_documents(Filters=[{"Key": "Owner", "Values": ["Self"]}])["DocumentIdentifiers"]
        return {each["Name"]: self.account.ssm.describe_document(Name=each["Name"])["Document"] for each in mine}


@pytest.fixture(scope="package")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deployed")
    (folder / "checkout").mkdir()
    with endpoint() as (ec2_and_ssm, rules), ministack(ec2_and_ssm, folder / "ministack.log") as address:
        yield World(Checkout(folder / "checkout", address), Cloud(address), Account(), rules)


@pytest.fixture(scope="package")
def built(world):
    world.checkout.sam("build")
    return world.checkout.built


@dataclass
class Fired:
    volume: str
    instance: str
    snapshots: list[dict[str, Any]]
    runs: list[dict[str, Any]]
    created: int
    answers: dict[str, dict[str, Any]]


@pytest.fixture(scope="package")
def fired(world, built):
    """A policy edited, a volume tagged, two firings of the hourly rule, and events sent by hand."""
    world.checkout.deploy(*EVERY_MINUTE)
    world.account.policy("CRITICAL", EDITED)
    instance = world.account.instance()
    stay_in_one_hour()
    volume = world.account.volume({"AUTO-SNAPSHOT": "CRITICAL", "Name": "data", "team": "shop"}, instance)
    assert eventually(lambda: world.account.snapshots(volume)), world.cloud.log()
    runs = eventually(lambda: two_runs_that_found_something(world.cloud))
    answers = {event: world.cloud.invoke(event) for event in ("hour.json", "dry-run.json")}
    return Fired(volume, instance, world.account.snapshots(volume), runs, world.created(), answers)


def stay_in_one_hour():
    """An hour has one snapshot; what is shown here is within one."""
    now = datetime.now(UTC)
    left = 3600 - now.minute * 60 - now.second
    if left < SECONDS_NEEDED:
        time.sleep(left + 1)


def two_runs_that_found_something(cloud):
    runs = [line for line in cloud.log() if line.get("period") == "hour" and any(line["summary"].values())]
    return runs[:2] if len(runs) >= 2 else []


@pytest.fixture(scope="package")
def updated(world, fired):
    """The versions of all documents before and after an update that changes one of them."""
    before = world.documents()
    world.checkout.change("description: Freezes the XFS", "description: CHANGED, freezes the XFS")
    world.checkout.sam("build")
    world.checkout.deploy(*EVERY_MINUTE)
    return before, world.documents()


@dataclass
class Left:
    stacks: list[str]
    functions: list[str]
    rules: list[str]
    documents: list[str]
    policies: dict[str, str]
    snapshots: list[str]


@pytest.fixture(scope="package")
def deleted(world, fired, updated):
    """What there is after `sam delete`."""
    world.checkout.sam("delete", "--no-prompts", "--stack-name", STACK, "--region", "eu-west-1")
    stacks = world.cloud.client("cloudformation").list_stacks()["StackSummaries"]
    return Left(
        stacks=[each["StackName"] for each in stacks if each["StackStatus"] != "DELETE_COMPLETE"],
        functions=[each["FunctionName"] for each in world.cloud.client("lambda").list_functions()["Functions"]],
        rules=[each["Name"] for each in world.cloud.client("events").list_rules()["Rules"]],
        documents=list(world.documents()),
        policies=world.policies(),
        snapshots=[each["SnapshotId"] for each in world.account.snapshots(fired.volume)],
    )


@dataclass
class Again:
    answer: dict[str, Any]
    created: int
    policies: dict[str, str]
    in_the_member: list[dict[str, Any]]
    own: dict[str, Any]


@pytest.fixture(scope="package")
def deployed_again(world, deleted):
    """With targets this time: another account's Region has a run of its own, out of Lambda's queue."""
    world.checkout.deploy("--parameter-overrides", "CreateExamplePolicies=false", f"TargetsPath={TARGETS_PATH}")
    created = world.created()
    member = ec2_of(MEMBER, MEMBER_REGION)
    volume = selected_volume(member, "CRITICAL")
    listed = [{"account": MEMBER, "external_id": "an-external-id", "regions": [MEMBER_REGION]}]
    world.account.ssm.put_parameter(Name=f"{TARGETS_PATH}all", Value=json.dumps(listed), Type="String")
    answer = world.cloud.invoke("hour.json")
    own = [{"Name": "volume-id", "Values": [volume]}]
    there = eventually(lambda: member.describe_snapshots(OwnerIds=["self"], Filters=own)["Snapshots"])
    own = eventually(lambda: lines_of(world.cloud, f"{ACCOUNT}/{REGION}"))[0]
    return Again(answer, created, world.policies(), there, own)


def lines_of(cloud, target):
    """The summaries of this target's runs."""
    return [line for line in cloud.log() if line.get("target") == target and "summary" in line]
