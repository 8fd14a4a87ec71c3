"""`python -m lambda_function status`, against an endpoint: what is listed, exit codes, calls."""

from __future__ import annotations

import json
import sys
from datetime import timedelta

import pytest

from lambda_function.aws.clients import build_clients
from lambda_function.cli import main as shell
from tests.support.endpoint import Account
from tests.support.faults import every_client


@pytest.fixture
def account(rules):
    made = Account()
    made.policy("P", '{"hour": 2, "day": 2}')
    return made


def lines_of(text, start):
    return [line for line in text.splitlines() if line.startswith(start)]


def test_the_command_lists_every_volume_by_period(account, capsys):
    """It exits with 0 when all are protected."""
    volume_id = account.volume({"AUTO-SNAPSHOT": "P"})
    assert [shell.main(["hour"]), shell.main(["day"])] == [0, 0]
    capsys.readouterr()
    assert shell.main(["status"]) == 0
    out = capsys.readouterr().out
    (made,) = account.snapshots(volume_id)
    hour, day = lines_of(out, volume_id)
    assert hour.split()[1:4] == ["P", "hour", "protected"]
    assert day.split()[1:4] == ["P", "day", "protected"]
    assert made["SnapshotId"] in hour
    assert f"{made['StartTime']:%Y-%m-%d %H:%M}" in hour
    assert "offline" in hour
    assert out.splitlines()[-1] == "status: 1 volumes: 1 protected, 0 overdue, 0 unprotected"


def test_the_command_exits_1_and_names_what_is_wrong(account, now, capsys):
    """Something is overdue, unprotected or left over."""
    late, typo = account.volume({"AUTO-SNAPSHOT": "P"}), account.volume({"AUTO-SNAPSHOT": "Q"})
    account.snapshot(late, {"AUTO-SNAPSHOT-PERIOD": "hour day"}, now() - timedelta(hours=5))
    account.snapshot(account.volume(), {"AUTO-SNAPSHOT-PERIOD": "hour"})
    assert shell.main(["status"]) == 1
    out = capsys.readouterr().out
    (overdue,) = lines_of(out, f"OVERDUE: {late}: hour: due since ")
    assert overdue
    (unprotected,) = lines_of(out, f"UNPROTECTED: {typo}")
    assert '"Q", which is no policy' in unprotected
    assert "1 snapshots of volumes that are gone or no longer tagged" in out
    assert out.splitlines()[-1] == "status: 2 volumes: 0 protected, 1 overdue, 1 unprotected"


@pytest.mark.parametrize("key", ["AUTO-SNAPSHOT ", "AUTO\u2013SNAPSHOT", "AUTO\u00a0SNAPSHOT", "AUTO-SNAP\u200bSHOT"])
def test_a_misspelt_key_is_named_by_run_and_status(account, capsys, key):
    """With what cannot be seen in it; a second stack's volume is not."""
    misspelt, others = account.volume({key: "P"}), account.volume({"AUTO-SNAPSHOT-TEST": "P"})
    text = f"{misspelt}: its tag {json.dumps(key)} selects nothing; the key is AUTO-SNAPSHOT"
    for command, code in (("hour", 0), ("status", 1)):
        assert shell.main([command]) == code
        out = capsys.readouterr().out
        assert text in out
        assert others not in out


def test_the_status_as_json_has_these_keys_and_no_others(account, capsys):
    volume_id = account.volume({"AUTO-SNAPSHOT": "P"})
    assert shell.main(["hour"]) == 0
    capsys.readouterr()
    assert shell.main(["status", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report) == {"time", "ok", "summary", "faults", "volumes"}
    assert report["ok"] is True
    assert set(report["summary"]) == {
        *("volumes", "protected", "waiting", "overdue", "unprotected", "outside_policy", "not_due"),
        *("warnings", "faults", "orphaned_snapshots"),
    }
    (line,) = report["volumes"]
    assert set(line) == {"volume_id", "policy", "status", "reason", "consistency", "warnings", "periods"}
    assert (line["volume_id"], line["policy"], line["consistency"]) == (volume_id, "P", "offline")
    assert set(line["periods"]) == {"hour", "day"}
    assert set(line["periods"]["hour"]) == {"status", "due_since", "newest", "newest_failed"}
    assert set(line["periods"]["hour"]["newest"]) == {"snapshot_id", "start_time", "state", "consistency"}
    assert line["periods"]["day"]["newest"] is None


def test_a_volume_just_created_waits_and_needs_no_attention(account, capsys):
    volume_id = account.volume({"AUTO-SNAPSHOT": "P"})
    assert shell.main(["status", "--volume", volume_id, "--policy", "P"]) == 0
    assert "for its first snapshot" in capsys.readouterr().out


def test_a_faulty_policy_needs_attention_even_without_volumes(account, capsys):
    account.policy("BROKEN", '{"hour": -1}')
    assert shell.main(["status"]) == 1
    assert "FAULT: /auto-snapshots/policies/BROKEN" in capsys.readouterr().out


def test_the_status_makes_no_call_but_lists(account, rules):
    for _ in range(3):
        account.volume({"AUTO-SNAPSHOT": "P"}, account.instance())
    account.snapshot(account.volume({"AUTO-SNAPSHOT": "P"}), {"AUTO-SNAPSHOT-PERIOD": "hour"})
    seen = []

    def recording(region):
        clients = build_clients(region)
        for each in every_client(clients):
            each.meta.events.register("before-call", lambda model, **_: seen.append(model.name))
        return clients

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shell, "build_clients", recording)
        shell.main(["status"])
    assert set(seen) == {"GetParametersByPath", "DescribeVolumes", "DescribeSnapshots"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["status", "--force"],
        ["status", "hour"],
        ["status", "--policy", "NOPE"],
        ["status", "--volume", "i-01234567"],
    ],
)
def test_wrong_arguments_exit_two(account, arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        sys.exit(shell.main(arguments))
    assert stopped.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_a_configuration_without_any_policy_exits_two(account, monkeypatch, capsys):
    monkeypatch.setenv("POLICIES_PATH", "/empty/path/")
    assert shell.main(["status"]) == 2
    assert "no policy under /empty/path/" in capsys.readouterr().err
