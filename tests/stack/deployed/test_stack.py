"""The template as it is, deployed by the real tools, firing by itself, running what was built."""

import json

import pytest

from tests.stack.deployed.conftest import DOCUMENT, EDITED, MEMBER, MEMBER_REGION
from tests.stack.deployed.stack import STACK
from tests.support.endpoint import ACCOUNT, REGION


def test_the_package_has_the_function_and_no_shell_command(built):
    """It has all that the function needs."""
    package = built / "AutoSnapshotsFunction"
    assert (package / "lambda_function/handler.py").exists()
    assert (package / "boto3").is_dir()
    assert list((package / "pydantic_core").glob("*.so"))
    assert not (package / "lambda_function/__main__.py").exists()
    assert not (package / "rich").exists()


def test_the_rule_fires_and_the_snapshot_is_there_with_its_tags(fired):
    (snapshot,) = fired.snapshots
    assert snapshot["Tags"] == {
        "AUTO-SNAPSHOT": "CRITICAL",
        "AUTO-SNAPSHOT-PERIOD": "hour",
        "AUTO-SNAPSHOT-CONSISTENCY": "crash",
        "AUTO-SNAPSHOT-INSTANCE": fired.instance,
        "AUTO-SNAPSHOT-SET": snapshot["Tags"]["AUTO-SNAPSHOT-SET"],
        "Name": "data",
        "team": "shop",
    }


def test_the_second_firing_finds_the_hour_done(fired):
    """It creates nothing."""
    first, second = fired.runs
    assert (first["summary"]["created"], first["summary"]["already_done"]) == (1, 0)
    assert (second["summary"]["created"], second["summary"]["already_done"]) == (0, 1)
    assert first["request_id"] != second["request_id"]
    assert fired.created == 1


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ("hour.json", "hour: 0 created, 0 shared, 1 already done, 0 deleted"),
        ("dry-run.json", "hour: 0 to create, 0 to share, 1 already done, 0 to delete (dry run: nothing was written)"),
    ],
)
def test_an_event_sent_by_hand_is_answered(fired, event, message):
    assert fired.answers[event]["message"] == message


def test_an_update_makes_a_new_default_document_version(updated):
    """It does so for the changed document and leaves the others."""
    before, after = updated
    assert {name: each["DefaultVersion"] for name, each in before.items()} == dict.fromkeys(before, "1")
    assert {name for name in after if after[name]["DefaultVersion"] != "1"} == {DOCUMENT}
    assert after[DOCUMENT]["DefaultVersion"] == after[DOCUMENT]["LatestVersion"] == "2"
    assert after[DOCUMENT]["Description"].startswith("CHANGED, ")


def test_deleting_the_stack_takes_what_it_runs_with(deleted):
    assert STACK not in deleted.stacks
    assert not deleted.functions
    assert not deleted.rules
    assert not deleted.documents


def test_deleting_the_stack_leaves_policies_and_snapshots(fired, deleted):
    """The policies stay as they were edited."""
    assert sorted(deleted.policies) == ["CRITICAL", "MEH"]
    assert json.loads(deleted.policies["CRITICAL"]) == json.loads(EDITED)
    assert deleted.snapshots == [each["SnapshotId"] for each in fired.snapshots]


def test_a_stack_deployed_again_finds_the_hour_done(deleted, deployed_again):
    """The policies were kept."""
    assert deployed_again.answer["message"] == "hour: 2 runs started, one for each account and Region"
    assert deployed_again.own["summary"]["already_done"] == 1
    assert deployed_again.own["message"].startswith(f"hour in {ACCOUNT}/{REGION}: 0 created")
    assert deployed_again.created == 1
    assert deployed_again.policies == deleted.policies


def test_the_same_function_serves_another_account_s_region(deployed_again):
    """Its event comes from Lambda's queue."""
    assert deployed_again.answer["targets_started"] == [f"{ACCOUNT}/{REGION}", f"{MEMBER}/{MEMBER_REGION}"]
    (snapshot,) = deployed_again.in_the_member
    assert snapshot["OwnerId"] == MEMBER
    assert {"Key": "AUTO-SNAPSHOT-PERIOD", "Value": "hour"} in snapshot["Tags"]
