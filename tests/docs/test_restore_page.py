"""The commands in docs/restore.md and docs/uninstall.md, run by the real AWS CLI against the endpoint.

Those for the instance are run by `make test-system`, on real file systems and servers.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import boto3
import pytest

from lambda_function.cli import main as shell
from tests.support.clock import START
from tests.support.endpoint import Account, Rules, ec2_backend, endpoint
from tests.support.page_commands import Page, run_at_desk

RESTORE, UNINSTALL = Page("restore.md"), Page("uninstall.md")


@pytest.fixture
def account(now):
    with endpoint(Rules(clock=now)):
        yield Account()


@dataclass
class Fleet:
    """An instance with a root and a data volume, and three sets of snapshots of both."""

    account: Account
    instance: str
    root: str
    data: str
    sets: list[dict[str, str]]

    def attached(self, instance: str | None = None) -> dict[str, str]:
        """Volume by device."""
        described = self.account.ec2.describe_instances(InstanceIds=[instance or self.instance])
        mappings = described["Reservations"][0]["Instances"][0]["BlockDeviceMappings"]
        return {mapping["DeviceName"]: mapping["Ebs"]["VolumeId"] for mapping in mappings}

    def made_of(self, volume: str) -> str:
        return self.account.ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0]["SnapshotId"]


@pytest.fixture
def fleet(account):
    instance = account.instance()
    root, data = account.root_of(instance), account.volume({"AUTO-SNAPSHOT": "P", "Name": "data"}, instance)
    account.tag(root, {"AUTO-SNAPSHOT": "P"})
    made = Fleet(account, instance, root, data, [])
    # The newest set is of a crash, the one before it was proved, but for the root volume, as it is in life.
    for hours, consistency in ((1, "crash"), (2, "application"), (3, "application")):
        tags = {"AUTO-SNAPSHOT-PERIOD": "hour", "AUTO-SNAPSHOT-INSTANCE": instance, "AUTO-SNAPSHOT-SET": f"set-{hours}"}
        started = START - timedelta(hours=hours)
        # Under a freeze they may be seconds apart.
        root_tags = {**tags, "AUTO-SNAPSHOT-CONSISTENCY": "crash"}
        data_tags = {**tags, "AUTO-SNAPSHOT-CONSISTENCY": consistency, "Name": "data"}
        made.sets.append(
            {
                "root": account.snapshot(root, root_tags, started + timedelta(seconds=2)),
                "data": account.snapshot(data, data_tags, started),
            }
        )
    other = account.instance()
    elsewhere = {"AUTO-SNAPSHOT-PERIOD": "hour", "AUTO-SNAPSHOT-INSTANCE": other, "AUTO-SNAPSHOT-SET": "elsewhere"}
    account.snapshot(account.root_of(other), {**elsewhere, "AUTO-SNAPSHOT-CONSISTENCY": "application"}, START)
    return made


@pytest.mark.parametrize("page", [RESTORE, UNINSTALL], ids=["restore", "uninstall"])
def test_every_command_has_a_name_by_which_a_test_runs_it(page):
    assert page.unnamed == 0
    here = Path(__file__)
    files = (here, *(here.parents[1] / "documents").glob("test_*.py"))
    tests = "".join(each.read_text(encoding="utf-8") for each in files)
    assert {name for name in (*page.desk, *page.instance) if f'"{name}"' not in tests} == set()


INLINE = re.compile(r"`aws\s+(\w+)\s+([a-z-]+)([^`]*)`")
INLINE_COMMANDS = [each for page in (RESTORE, UNINSTALL) for each in INLINE.findall(page.text)]


@pytest.mark.parametrize(("service", "command", "rest"), INLINE_COMMANDS, ids=[each[1] for each in INLINE_COMMANDS])
def test_a_command_named_in_prose_exists_with_these_options(service, command, rest):
    members = json.loads(run_at_desk(f"aws {service} {command} --generate-cli-skeleton"))
    options = re.findall(r"--([a-z-]+)", rest)
    assert {option.replace("-", "") for option in options} <= {member.lower() for member in members}


def test_the_list_shows_the_sets_of_one_instance_newest_first(fleet):
    out = run_at_desk(RESTORE.script("list", INSTANCE=fleet.instance))
    positions = [out.index(made["data"]) for made in fleet.sets]
    assert positions == sorted(positions)
    assert out.count("snap-") == 6
    assert all(word in out for word in ("application", "crash", "completed", "hour", "set-2", fleet.data))


def test_the_list_of_one_set_shows_its_snapshots_only(fleet):
    out = run_at_desk(RESTORE.script("one set", SET="set-2"))
    assert out.count("snap-") == 2
    assert all(each in out for each in fleet.sets[1].values())


def test_what_the_function_makes_at_once_is_found_as_one_set(fleet):
    """Whatever else was started in the same second."""
    fleet.account.policy("P", '{"hour": 9}')
    fleet.account.volume({"AUTO-SNAPSHOT": "P"})
    assert shell.main(["hour", "--force"]) == 0
    newest = [fleet.account.snapshots(volume)[-1] for volume in (fleet.root, fleet.data)]
    out = run_at_desk(RESTORE.script("one set", SET=newest[0]["Tags"]["AUTO-SNAPSHOT-SET"]))
    assert out.count("snap-") == 2
    assert all(each["SnapshotId"] in out for each in newest)


def test_the_list_of_one_volume_shows_only_its_snapshots(fleet):
    fleet.account.snapshot(fleet.data)  # somebody else's
    out = run_at_desk(RESTORE.script("list one volume", VOLUME=fleet.data))
    assert out.count("snap-") == 3
    assert all(made["data"] in out for made in fleet.sets)


def test_the_newest_set_is_the_newest_proved_one_with_its_root(fleet):
    out = run_at_desk(RESTORE.script("newest set", INSTANCE=fleet.instance))
    assert set(out.split(": ", 1)[1].split()) == set(fleet.sets[1].values())


def test_a_set_with_a_failed_member_is_refused_before_a_restore(account):
    instance, started = account.instance(), START - timedelta(minutes=1)
    tags = {"AUTO-SNAPSHOT-PERIOD": "hour", "AUTO-SNAPSHOT-INSTANCE": instance, "AUTO-SNAPSHOT-SET": "broken"}
    account.snapshot(account.volume(), {**tags, "AUTO-SNAPSHOT-CONSISTENCY": "application"}, started)
    broken = account.snapshot(account.volume(), {**tags, "AUTO-SNAPSHOT-CONSISTENCY": "crash"}, started)
    ec2_backend().snapshots[broken].status = "error"
    with pytest.raises(AssertionError, match="Waiter SnapshotCompleted failed"):
        run_at_desk(RESTORE.script("newest set", INSTANCE=instance))


def test_of_an_instance_without_a_proved_set_the_newest_is_none(fleet):
    assert run_at_desk(RESTORE.script("newest set", INSTANCE="i-00000000000000000")).startswith("None:")


def test_a_restored_volume_stands_beside_the_old_one(fleet):
    script = RESTORE.script("volume", "beside", SNAPSHOT=fleet.sets[1]["data"], INSTANCE=fleet.instance)
    before = fleet.attached()
    run_at_desk(script)
    after = fleet.attached()
    assert {device: after[device] for device in before} == before
    assert fleet.made_of(after["/dev/sdp"]) == fleet.sets[1]["data"]


def test_a_restored_volume_takes_the_place_of_the_old_one(fleet):
    (device,) = [name for name, volume in fleet.attached().items() if volume == fleet.root]
    run_at_desk(RESTORE.script("volume", "in place", SNAPSHOT=fleet.sets[1]["root"], INSTANCE=fleet.instance))
    assert fleet.made_of(fleet.attached()[device]) == fleet.sets[1]["root"]
    assert fleet.root not in fleet.attached().values()
    assert fleet.account.ec2.describe_volumes(VolumeIds=[fleet.root])["Volumes"][0]["State"] == "available"


def test_the_root_of_a_running_instance_is_replaced(fleet):
    """Its other volumes stay."""
    before = fleet.attached()
    script = RESTORE.script("root volume", SNAPSHOT=fleet.sets[1]["root"], INSTANCE=fleet.instance)
    assert run_at_desk(script) == "succeeded\n"
    after = fleet.attached()
    changed = {device for device in before if before[device] != after[device]}
    assert {before[device] for device in changed} == {fleet.root}
    assert {fleet.made_of(after[device]) for device in changed} == {fleet.sets[1]["root"]}


def test_an_instance_gets_every_volume_of_the_set_and_runs_again(fleet):
    untouched = fleet.account.volume(instance=fleet.instance)
    before = fleet.attached()
    run_at_desk(RESTORE.script("newest set", "whole instance", INSTANCE=fleet.instance))
    after = fleet.attached()
    made_of = {before[device]: fleet.made_of(after[device]) for device in before if after[device] != untouched}
    assert made_of == {fleet.root: fleet.sets[1]["root"], fleet.data: fleet.sets[1]["data"]}
    assert untouched in after.values()
    described = fleet.account.ec2.describe_instances(InstanceIds=[fleet.instance])["Reservations"][0]["Instances"][0]
    assert described["State"]["Name"] == "running"


def test_a_lost_instance_is_launched_from_an_image_of_the_set(fleet):
    fleet.account.ec2.terminate_instances(InstanceIds=[fleet.instance])
    wanted = fleet.sets[1]
    script = RESTORE.script("gone", ROOT=wanted["root"], DATA=wanted["data"]) + '\necho "$INSTANCE $IMAGE"'
    instance, image = run_at_desk(script).split()
    attached = fleet.attached(instance)
    assert fleet.made_of(attached["/dev/xvda"]) == wanted["root"]
    assert fleet.made_of(attached["/dev/sdf"]) == wanted["data"]
    with pytest.raises(fleet.account.ec2.exceptions.ClientError, match="InUse"):
        fleet.account.ec2.delete_snapshot(SnapshotId=wanted["data"])
    run_at_desk(f"IMAGE={image}\n" + RESTORE.script("deregister"))
    fleet.account.ec2.delete_snapshot(SnapshotId=wanted["data"])


def test_a_kept_snapshot_is_never_pruned(fleet):
    fleet.account.policy("P", '{"hour": 1}')
    oldest = fleet.sets[2]["data"]
    run_at_desk(RESTORE.script("keep", SNAPSHOT=oldest))
    assert shell.main(["hour"]) == 0
    left = {each["SnapshotId"]: each["Tags"] for each in fleet.account.snapshots(fleet.data)}
    assert left[oldest]["kept-because"] == "incident"
    assert fleet.sets[1]["data"] not in left


def test_the_new_volume_is_snapshotted_and_the_old_one_is_not(fleet, capsys):
    """This is so after a restore."""
    fleet.account.policy("P", '{"hour": 1}')
    new = fleet.account.volume()
    run_at_desk(RESTORE.script("afterwards", RESTORED=new, OLD=fleet.data))
    assert shell.main(["hour", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {line["volume_id"] for line in report["volumes"]} == {new, fleet.root}
    assert report["summary"]["orphaned_snapshots"] >= 3


STACK = {
    "Resources": {
        name: {"Type": "AWS::Events::Rule", "Properties": {"ScheduleExpression": "rate(1 hour)", "State": "ENABLED"}}
        for name in ("HourRule", "DayRule")
    }
}


def test_uninstalling_turns_the_rules_off_and_deletes_the_stack(account):
    events, stacks = boto3.client("events"), boto3.client("cloudformation")
    stacks.create_stack(StackName="aws-automatic-snapshots", TemplateBody=json.dumps(STACK))
    run_at_desk(UNINSTALL.script("rules off"))
    assert {rule["State"] for rule in events.list_rules()["Rules"]} == {"DISABLED"}
    assert run_at_desk(UNINSTALL.script("commands running")) == ""
    run_at_desk("STACK=aws-automatic-snapshots\n" + UNINSTALL.script("stack"))
    assert events.list_rules()["Rules"] == []


def test_uninstalling_deletes_only_the_policies_under_the_path(account):
    for name in ("P", "Q", "R"):
        account.policy(name, '{"hour": 1}')
    account.policy("other", "text", path="/elsewhere/")
    run_at_desk(UNINSTALL.script("policies"))
    left = account.ssm.describe_parameters()["Parameters"]
    assert [parameter["Name"] for parameter in left] == ["/elsewhere/other"]


def test_uninstalling_removes_only_the_tags_that_select_volumes(account):
    volumes = [account.volume({key: "P", "Name": "mine"}) for key in ("AUTO-SNAPSHOT", "AUTO-SNAPSHOTS")]
    run_at_desk(UNINSTALL.script("volume tags"))
    for volume in account.ec2.describe_volumes(VolumeIds=volumes)["Volumes"]:
        assert volume["Tags"] == [{"Key": "Name", "Value": "mine"}]


def test_uninstalling_deletes_only_our_snapshots(account):
    """It leaves those that EC2 refuses to delete."""
    account.policy("P", '{"hour": 1}')
    first, second = (account.volume({"AUTO-SNAPSHOT": "P"}) for _ in range(2))
    assert shell.main(["hour"]) == 0
    foreign = account.snapshot(first, {"AUTO-SNAPSHOT": "P"})
    (used,) = account.snapshots(second)
    account.ec2.register_image(
        Name="keeps it",
        RootDeviceName="/dev/xvda",
        BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": used["SnapshotId"]}}],
    )
    count, size, *_ = json.loads(run_at_desk(UNINSTALL.script("look at the snapshots")))
    assert (count, size) == (2, 16)
    out = run_at_desk(UNINSTALL.script("delete the snapshots"))
    assert out == f"kept: {used['SnapshotId']}\n"
    assert [each["SnapshotId"] for each in account.snapshots(first)] == [foreign]
    assert [each["SnapshotId"] for each in account.snapshots(second)] == [used["SnapshotId"]]
