"""The real handler over HTTP against moto's server: real boto3 calls, real paging, real errors."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from botocore.config import Config

from lambda_function import handler
from lambda_function.errors import AutoSnapshotsError, ConfigurationError, RunFailedError
from tests.support.endpoint import Account, ec2_backend

HOUR = timedelta(hours=1)
EVENTS = Path(__file__).parents[2] / "events"


@pytest.fixture
def account(rules):
    made = Account()
    made.policy("P", '{"hour": 2, "day": 2}')
    return made


def invoke(event, seconds=900):
    context = SimpleNamespace(aws_request_id="request", get_remaining_time_in_millis=lambda: seconds * 1000)
    return handler.lambda_handler(event, context)  # type: ignore[arg-type]  # all of it that is used


def tags_of(volume, account):
    return [snapshot["Tags"] for snapshot in account.snapshots(volume)]


def test_every_period_s_event_is_served(account, now):
    volume = account.volume({"AUTO-SNAPSHOT": "P", "Name": "db"})
    for name in ("hour", "day", "week", "month", "year"):
        invoke(json.loads((EVENTS / f"{name}.json").read_text()))
        now.moment += timedelta(minutes=10)
    (tags,) = tags_of(volume, account)
    assert tags.pop("AUTO-SNAPSHOT-SET")
    assert tags == {
        "AUTO-SNAPSHOT": "P",
        "Name": "db",
        "AUTO-SNAPSHOT-PERIOD": "hour day",
        "AUTO-SNAPSHOT-CONSISTENCY": "offline",
    }


def test_the_last_two_of_five_hours_remain(account, now):
    volume = account.volume({"AUTO-SNAPSHOTS": "P"})
    for _ in range(5):
        answer = invoke({"period": "hour"})
        now.moment += HOUR
    assert [s["StartTime"].hour for s in account.snapshots(volume)] == [3, 4]
    assert answer["summary"]["created"] == 1
    assert answer["summary"]["deleted"] == 1
    assert answer["message"] == "hour: 1 created, 0 shared, 0 already done, 1 deleted"


def test_an_instance_s_volumes_are_a_set_with_their_own_tags(account, rules):
    instance = account.instance()
    account.tag(account.root_of(instance), {"Name": "root, untagged"})
    first = account.volume({"AUTO-SNAPSHOT": "P", "Name": "data"}, instance)
    second = account.volume({"AUTO-SNAPSHOT": "P", "Name": "log"}, instance)
    untagged = account.volume({"Name": "scratch"}, instance)
    answer = invoke({"period": "hour"})
    assert [tags_of(v, account)[0]["Name"] for v in (first, second)] == ["data", "log"]
    assert account.snapshots(untagged) == account.snapshots(account.root_of(instance)) == []
    assert tags_of(first, account)[0]["AUTO-SNAPSHOT-INSTANCE"] == instance
    assert len({tags_of(v, account)[0]["AUTO-SNAPSHOT-SET"] for v in (first, second)}) == 1
    assert rules.calls.count("create_snapshots") == 1
    assert "deleted" not in answer


@pytest.mark.parametrize("page", [5, 7])
def test_everything_is_found_on_an_endpoint_that_pages_strictly(account, rules, page):
    rules.max_page = page
    volumes = [account.volume({"AUTO-SNAPSHOT": "P"}) for _ in range(page * 2 + 1)]
    for volume in volumes:
        for hours in (1, 2, 3):
            account.snapshot(volume, {"AUTO-SNAPSHOT-PERIOD": "hour"}, rules.clock() - hours * HOUR)
    rules.requests.clear()
    answer = invoke({"period": "hour"})
    assert answer["summary"]["created"] == len(volumes)
    assert answer["summary"]["deleted"] == 2 * len(volumes)
    listings = {"describe_volumes", "describe_instances", "describe_snapshots"}
    reading = [parameters for name, parameters in rules.requests if name in listings]
    assert reading
    assert all("MaxResults" in parameters for parameters in reading)


def test_calls_are_pages_creates_changes_and_two_looks(account, rules):
    instance = account.instance()
    for _ in range(3):
        account.volume({"AUTO-SNAPSHOT": "P"}, instance)
    for _ in range(4):
        volume = account.volume({"AUTO-SNAPSHOT": "P"})
        for hours in (1, 2, 3):
            account.snapshot(volume, {"AUTO-SNAPSHOT-PERIOD": "hour"}, rules.clock() - hours * HOUR)
    rules.calls.clear()
    invoke({"period": "hour"})
    assert Counter(rules.calls) == {
        "describe_volumes": 1,
        "describe_instances": 1,
        "describe_snapshots": 1 + 1 + 1,  # the walk, the one for what failed, and the recheck
        "describe_locked_snapshots": 1,
        "create_snapshots": 1,
        "create_snapshot": 4,
        "delete_snapshot": 8,
    }


def test_an_idle_run_reads_four_pages_and_writes_nothing(account, rules):
    account.volume({"AUTO-SNAPSHOT": "P"}, account.instance())
    invoke({"period": "hour"})
    rules.calls.clear()
    answer = invoke({"period": "hour"})
    assert answer["summary"]["already_done"] == 1
    assert Counter(rules.calls) == {"describe_volumes": 1, "describe_snapshots": 2}


def test_the_hour_s_run_does_not_list_longer_periods_snapshots(account, rules):
    volume = account.volume({"AUTO-SNAPSHOT": "P"})
    for weeks in range(1, 10):
        account.snapshot(volume, {"AUTO-SNAPSHOT-PERIOD": "week"}, rules.clock() - timedelta(weeks=weeks))
    rules.max_page = 1
    rules.calls.clear()
    invoke({"period": "hour"})
    assert rules.calls.count("describe_snapshots") == 2


def test_three_hundred_policies_over_many_pages_are_all_read(account):
    for number in range(300):
        account.policy(f"MANY-{number}", '{"hour": 1}')
    volumes = [account.volume({"AUTO-SNAPSHOT": f"MANY-{number}"}) for number in (0, 150, 299)]
    assert invoke({"period": "hour"})["summary"]["created"] == 3
    assert all(account.snapshots(volume) for volume in volumes)


def test_encrypted_policies_are_read_and_nested_ones_ignored(account):
    account.policy("SECRET", '{"hour": 1}', kind="SecureString")
    account.policy("deeper/NESTED", "not a policy at all")
    account.volume({"AUTO-SNAPSHOT": "SECRET"})
    answer = invoke({"period": "hour"})
    assert answer["summary"]["created"] == 1
    assert "failures" not in answer


def test_nothing_of_others_is_touched(account, rules, now):
    volume = account.volume({"AUTO-SNAPSHOT": "P"})
    foreign = account.snapshot(volume, {"Name": "before the upgrade", "AUTO-SNAPSHOT": "P"}, now() - 900 * HOUR)
    for _ in range(6):
        invoke({"period": "hour"})
        now.moment += HOUR
    assert foreign in {snapshot["SnapshotId"] for snapshot in account.snapshots(volume)}


@pytest.mark.parametrize("state", ["governance", "compliance", "compliance-cooloff"])
def test_snapshots_in_use_or_locked_are_refused_and_fail_nothing(account, rules, now, state):
    """EC2's reason is reported for an AMI's snapshot; a locked one is not tried, unless its lock has expired."""
    instance = account.instance()
    root = account.root_of(instance)
    account.tag(root, {"AUTO-SNAPSHOT": "P"})
    image = account.ec2.create_image(InstanceId=instance, Name="golden")["ImageId"]
    (held,) = [s.id for s in ec2_backend().snapshots.values() if s.from_ami == image]
    account.tag(held, {"AUTO-SNAPSHOT-PERIOD": "hour"})
    ec2_backend().snapshots[held].volume = ec2_backend().volumes[root]  # moto takes an AMI's from a volume of its own
    ec2_backend().snapshots[held].start_time = datetime(2026, 1, 1)  # noqa: DTZ001 - moto's are naive
    locked = account.snapshot(root, {"AUTO-SNAPSHOT-PERIOD": "hour"}, now() - 50 * HOUR)
    expired = account.snapshot(root, {"AUTO-SNAPSHOT-PERIOD": "hour"}, now() - 51 * HOUR)
    rules.locks.update({locked: state, expired: "expired"})
    for _ in range(3):
        answer = invoke({"period": "hour"})
        now.moment += HOUR
    refused = {line.split()[0]: line for line in answer["not_deleted"]}
    assert image in refused[held]
    assert refused[locked].endswith(f"; locked in {state} mode until 2030-01-01 00:00 UTC")
    assert expired not in {snapshot["SnapshotId"] for snapshot in account.snapshots(root)}
    deletions = [parameters["SnapshotId"] for name, parameters in rules.requests if name == "delete_snapshot"]
    assert (deletions.count(held), deletions.count(locked), deletions.count(expired)) == (3, 0, 1)
    assert "failures" not in answer
    assert answer["summary"]["refused"] == 2


def test_pending_snapshots_never_displace_the_good_one(account, rules, now):
    """They are counted, and not deleted."""
    account.policy("ONE", '{"hour": 1}')
    volume = account.volume({"AUTO-SNAPSHOT": "ONE"})
    invoke({"period": "hour"})
    rules.pending_for = 90 * timedelta(minutes=1)
    now.moment += 2 * HOUR
    invoke({"period": "hour"})
    states = [snapshot["State"] for snapshot in account.snapshots(volume)]
    assert states == ["completed", "pending"]
    now.moment += 2 * HOUR
    invoke({"period": "hour"})
    assert [snapshot["State"] for snapshot in account.snapshots(volume)] == ["completed", "pending"]


def test_one_failing_volume_fails_the_invocation_at_the_end(account, rules):
    """All others are served before."""
    good, bad = account.volume({"AUTO-SNAPSHOT": "P"}), account.volume({"AUTO-SNAPSHOT": "P"})
    rules.failing_volumes.add(bad)
    with pytest.raises(RunFailedError) as raised:
        invoke({"period": "hour"})
    assert bad in str(raised.value)
    assert "UnauthorizedOperation" in str(raised.value)
    assert good not in str(raised.value)
    assert len(account.snapshots(good)) == 1


def test_a_message_about_many_failures_counts_the_rest(account, rules):
    """It stays short."""
    for _ in range(120):
        rules.failing_volumes.add(account.volume({"AUTO-SNAPSHOT": "P"}))
    with pytest.raises(RunFailedError) as raised:
        invoke({"period": "hour"})
    message = str(raised.value)
    assert len(message) <= 4000
    assert message.startswith("hour: 0 created, 0 shared, 0 already done, 0 deleted, 120 FAILED:")
    named = message.count("\n- vol-")
    assert f"- and {120 - named} more, each in the log" in message


def test_each_decision_is_one_log_line_and_the_summary_another(account, log):
    created = account.volume({"AUTO-SNAPSHOT": "P"})
    unknown = account.volume({"AUTO-SNAPSHOT": "Q"})
    invoke({"period": "hour"})
    lines = log()
    by_volume = {line["volume_id"]: line for line in lines if "volume_id" in line}
    assert by_volume[created]["outcome"] == "created"
    assert by_volume[created]["reason"] == "none started in this hour yet"
    assert by_volume[unknown]["level"] == "WARNING"
    (summary,) = [line for line in lines if "summary" in line]
    assert summary["summary"]["created"] == 1
    assert summary["request_id"] == "request"


def metrics_in(text):
    """Metric name and dimensions to values."""
    found = {}
    for line in text.splitlines():
        if '"_aws"' in line:
            blob = json.loads(line)
            (directive,) = blob["_aws"]["CloudWatchMetrics"]
            (dimensions,) = directive["Dimensions"]
            for metric in directive["Metrics"]:
                key = (directive["Namespace"], metric["Name"], *(f"{name}={blob[name]}" for name in dimensions))
                found[key] = blob[metric["Name"]]
    return found


def test_a_run_s_metrics_are_its_counts_and_its_completion(account, capsys, now):
    """Counts of zero are left out; completion is by period."""
    account.policy("ONE", '{"hour": 1}')
    worst, best = account.volume({"AUTO-SNAPSHOT": "ONE"}), account.volume({"AUTO-SNAPSHOT": "ONE"})
    account.snapshot(best, {"AUTO-SNAPSHOT-PERIOD": "hour"}, now() - timedelta(seconds=60))
    account.snapshot(worst, {"AUTO-SNAPSHOT-PERIOD": "hour"}, now() - timedelta(seconds=200))
    account.volume({"AUTO-SNAPSHOT": "Q"})
    account.volume({"auto-snapshot": "ONE"})
    account.volume({"AUTO-SNAPSHOT": "ONE"})
    invoke({"period": "hour"})
    assert metrics_in(capsys.readouterr().out) == {
        ("AutoSnapshots", "SnapshotsCreated"): [1],
        ("AutoSnapshots", "VolumesWithoutPolicy"): [2],
        ("AutoSnapshots", "RunsCompleted", "Period=hour"): [1],
        ("AutoSnapshots", "NewestSnapshotAge", "Period=hour"): [200],
    }


def test_metrics_go_to_the_namespace_that_the_environment_names(account, capsys, monkeypatch):
    monkeypatch.setenv("METRICS_NAMESPACE", "AutoSnapshots/other-stack")
    invoke({"period": "hour"})
    assert {key[0] for key in metrics_in(capsys.readouterr().out)} == {"AutoSnapshots/other-stack"}


def test_a_failed_run_has_its_metrics_as_well(account, rules, capsys):
    rules.failing_volumes.add(account.volume({"AUTO-SNAPSHOT": "P"}))
    account.policy("FAULTY", '{"hour": "2"}')
    account.volume({"AUTO-SNAPSHOT": "FAULTY"})
    with pytest.raises(RunFailedError):
        invoke({"period": "hour"})
    assert metrics_in(capsys.readouterr().out) == {
        ("AutoSnapshots", "VolumesFailed"): [2],
        ("AutoSnapshots", "RunsCompleted", "Period=hour"): [1],
    }


def test_work_without_time_is_continued_by_the_function_itself(account, rules, capsys, monkeypatch):
    """It is no failure."""
    volumes = [account.volume({"AUTO-SNAPSHOT": "P"}) for _ in range(40)]
    invoked = []
    client = SimpleNamespace(invoke=lambda **given: invoked.append(given))
    monkeypatch.setattr(handler, "build_lambda_client", lambda region: client)
    context = SimpleNamespace(
        aws_request_id="request",
        invoked_function_arn="arn:aws:lambda:eu-west-1:123456789012:function:auto",
        get_remaining_time_in_millis=lambda: 30_000 if "create_snapshot" in rules.calls else 900_000,
    )
    answer = handler.lambda_handler({"period": "hour"}, context)  # type: ignore[arg-type]
    (given,) = invoked
    assert given["FunctionName"] == context.invoked_function_arn
    assert given["InvocationType"] == "Event"
    assert json.loads(given["Payload"]) == {"period": "hour", "time": "2026-03-02T00:05:00+00:00", "continuation": 1}
    assert 0 < len(account.snapshots()) < 40
    assert answer["summary"]["deferred"] == 40 - len(account.snapshots())
    assert "continued in another run" in answer["message"]
    assert ("AutoSnapshots", "RunsCompleted", "Period=hour") not in metrics_in(capsys.readouterr().out)
    rules.calls.clear()
    rules.calls.append("describe_volumes")
    handler.lambda_handler(
        json.loads(given["Payload"]),
        SimpleNamespace(  # type: ignore[arg-type]
            aws_request_id="again", get_remaining_time_in_millis=lambda: 900_000
        ),
    )
    assert [len(account.snapshots(volume)) for volume in volumes] == [1] * 40


def test_a_dry_run_writes_and_counts_nothing(account, rules, capsys):
    account.volume({"AUTO-SNAPSHOT": "P"}, account.instance())
    rules.calls.clear()
    answer = invoke(json.loads((EVENTS / "dry-run.json").read_text()))
    assert answer["message"].endswith("(dry run: nothing was written)")
    assert answer["summary"]["created"] == 1
    assert not [call for call in rules.calls if not call.startswith("describe")]
    assert '"_aws"' not in capsys.readouterr().out


@pytest.mark.parametrize(
    "event", [None, {}, {"period": "minute"}, {"detail-type": "Scheduled Event"}, {"period": "hour", "policies": ["X"]}]
)
def test_a_wrong_event_ends_before_any_volume_is_listed(account, rules, event):
    account.volume({"AUTO-SNAPSHOT": "P"})
    rules.calls.clear()
    with pytest.raises(ConfigurationError):
        invoke(event)
    assert rules.calls == []


def test_wrong_environment_ends_before_any_call(account, rules, monkeypatch):
    """All of the function's environment is the stack's own."""
    monkeypatch.setenv("TARGET_PATH", "/srv/build")
    with pytest.raises(ConfigurationError, match="TARGET_PATH: is not read; did you mean TARGETS_PATH"):
        invoke({"period": "hour"})
    assert rules.calls == []


def test_another_tag_key_and_path_are_used_throughout(rules, monkeypatch):
    monkeypatch.setenv("TAG_KEY", "Backup")
    monkeypatch.setenv("POLICIES_PATH", "/ops/backup")
    account = Account()
    account.policy("GOLD", '{"hour": 1}', path="/ops/backup/")
    volume = account.volume({"Backups": "GOLD"})
    account.volume({"AUTO-SNAPSHOT": "GOLD"})
    invoke({"period": "hour"})
    (tags,) = tags_of(volume, account)
    assert tags.pop("Backup-SET")
    assert tags == {"Backups": "GOLD", "Backup-PERIOD": "hour", "Backup-CONSISTENCY": "offline"}
    assert len(account.snapshots()) == 1


def test_an_error_names_the_call_when_aws_cannot_be_reached(account, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setattr("lambda_function.aws.clients._CONFIG", Config(retries={"total_max_attempts": 1}))
    handler.clients.cache_clear()
    with pytest.raises(AutoSnapshotsError, match="GetParametersByPath: EndpointConnectionError"):
        invoke({"period": "hour"})
