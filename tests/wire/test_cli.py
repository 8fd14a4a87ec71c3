"""`python -m lambda_function`: arguments, exit codes, tables, JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import timedelta

import pytest

from lambda_function.cli import main as shell
from tests.support.endpoint import Account


@pytest.fixture
def account(rules):
    made = Account()
    made.policy("P", '{"hour": 2}')
    return made


def test_a_run_prints_a_table_with_reasons_and_exits_zero(account, capsys):
    volume = account.volume({"AUTO-SNAPSHOT": "P"})
    assert shell.main(["hour"]) == 0
    out = capsys.readouterr().out
    (line,) = [line for line in out.splitlines() if line.startswith(volume)]
    assert "created" in line
    assert "none started in this hour yet" in line
    assert out.splitlines()[-1] == "hour: 1 created, 0 shared, 0 already done, 0 deleted"


def test_a_dry_run_shows_each_creation_and_deletion_with_reasons(account, rules, now, capsys):
    """It also shows what would be kept."""
    volume = account.volume({"AUTO-SNAPSHOT": "P"})
    old = [
        account.snapshot(volume, {"AUTO-SNAPSHOT-PERIOD": "hour"}, now() - timedelta(hours=hours)) for hours in (2, 3)
    ]
    rules.calls.clear()
    assert shell.main(["hour", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "(dry run: nothing is written)" in out
    assert "would create" in out
    (kept,) = [line for line in out.splitlines() if line.startswith(old[0])]
    (deleted,) = [line for line in out.splitlines() if line.startswith(old[1])]
    assert "keep (planned)" in kept
    assert "delete (planned)" in deleted
    assert "in the 3rd newest hour; the policy keeps 2" in deleted
    assert not [call for call in rules.calls if not call.startswith("describe")]


def test_json_is_the_whole_report_for_machines(account, capsys):
    volume = account.volume({"AUTO-SNAPSHOT": "P"})
    assert shell.main(["hour", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["volumes"][0]["volume_id"] == volume
    assert report["summary"]["created"] == 1


def test_a_failure_exits_one_after_everything_was_attempted(account, rules, capsys):
    good, bad = account.volume({"AUTO-SNAPSHOT": "P"}), account.volume({"AUTO-SNAPSHOT": "P"})
    rules.failing_volumes.add(bad)
    assert shell.main(["hour"]) == 1
    out = capsys.readouterr().out
    assert f"FAILED: {bad}" in out
    assert len(account.snapshots(good)) == 1


def test_only_the_named_policies_and_volumes_are_served(account):
    account.policy("Q", '{"hour": 1}')
    first, second, third = (account.volume({"AUTO-SNAPSHOT": name}) for name in ("P", "P", "Q"))
    assert shell.main(["hour", "--policy", "P", "--volume", first]) == 0
    assert [len(account.snapshots(volume)) for volume in (first, second, third)] == [1, 0, 0]


@pytest.mark.parametrize("options", [[], ["--force"], ["--dry-run"]])
def test_a_named_volume_that_gets_nothing_exits_one(account, capsys, options):
    account.policy("DAILY", '{"day": 2}')
    volume = account.volume({"AUTO-SNAPSHOT": "DAILY"})
    assert shell.main(["hour", "--volume", volume, *options]) == 1
    why = "policy DAILY does not manage hourly snapshots"
    assert f"FAILED: {volume}: asked for, but {why}" in capsys.readouterr().out
    assert shell.main(["hour", *options]) == 0


def test_force_adds_a_snapshot_to_a_slot_that_is_done(account, now):
    volume = account.volume({"AUTO-SNAPSHOT": "P"})
    assert shell.main(["hour"]) == 0
    now.moment += timedelta(minutes=1)
    assert shell.main(["hour", "--force"]) == 0
    assert len(account.snapshots(volume)) == 2


def test_a_plan_can_be_made_for_another_moment(account, capsys):
    account.volume({"AUTO-SNAPSHOT": "P"})
    assert shell.main(["hour", "--dry-run", "--time", "2031-01-01T00:05:00Z"]) == 0
    assert "hour at 2031-01-01 00:05 UTC" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["minute"],
        ["hour", "day"],
        ["hour", "--dryrun"],
        ["hour", "--policy"],
        ["hour", "--policy", "NOPE"],
        ["hour", "--policy", "a b"],
        ["hour", "--volume", "i-01234567"],
        ["hour", "--time", "soon"],
        ["hour", "--time", "2020-01-01"],
        ["hooks"],
        ["hour", "--check"],
        ["hooks", "check", "--force"],
    ],
)
def test_wrong_arguments_exit_two_and_write_nothing(account, rules, arguments, capsys):
    account.volume({"AUTO-SNAPSHOT": "P"})
    rules.calls.clear()
    with pytest.raises(SystemExit) as stopped:
        sys.exit(shell.main(arguments))
    assert stopped.value.code == 2
    assert "error: " in capsys.readouterr().err
    assert rules.calls == []


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"TAG_KEY": "aws:no"}, "TAG_KEY"),
        ({"POLICIES_PATH": "nowhere"}, "POLICIES_PATH"),
        ({"POLICIES_PATH": "/empty/path/"}, "no policy under /empty/path/"),
        ({"AWS_ENDPOINT_URL": "not a url"}, "AWS_ENDPOINT_URL"),
        ({"AWS_REGION": "", "AWS_DEFAULT_REGION": ""}, "AWS_REGION"),
    ],
)
def test_wrong_configuration_exits_two_and_names_what_to_change(account, monkeypatch, capsys, variables, expected):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert shell.main(["hour"]) == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [["hour"], ["hour", "--dry-run"], ["hooks", "check"], ["status"], ["policies", "check", "policies.yaml"]],
    ids=" ".join,
)
def test_a_variable_like_ours_is_only_warned_about(account, monkeypatch, tmp_path, capsys, arguments):
    """It may be another program's, as in a cron job's environment."""
    (tmp_path / "policies.yaml").write_text("P: {hour: 2}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TARGET_PATH", "/srv/build")
    assert shell.main(arguments) == 0
    assert capsys.readouterr().err == (
        "warning: environment variable TARGET_PATH: is not read; did you mean TARGETS_PATH?\n"
    )


def test_a_hook_check_without_any_hook_is_ready_and_exits_zero(account, capsys):
    account.volume({"AUTO-SNAPSHOT": "P"})
    assert shell.main(["hooks", "check"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "hooks: 0 ready"


def test_a_hook_that_is_not_ready_exits_one_and_says_why(account, capsys):
    account.policy("H", '{"hour": 1, "hook_document": "NO-SUCH-DOCUMENT"}')
    instance = account.instance()
    account.volume({"AUTO-SNAPSHOT": "H"}, instance)
    assert shell.main(["hooks", "check", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert instance in report["failures"][0]
    assert "NO-SUCH-DOCUMENT" in report["failures"][0]


def test_the_module_can_be_run_as_documented(account):
    account.volume({"AUTO-SNAPSHOT": "P"})
    done = subprocess.run(
        [sys.executable, "-m", "lambda_function", "hour", "--json"],
        capture_output=True,
        text=True,
        env=dict(os.environ),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["summary"]["created"] == 1


@pytest.mark.parametrize("closed", ["2>&-", ">&-", ">&- 2>&- <&-"])
def test_a_run_with_closed_streams_does_its_work(account, closed):
    """As of a supervisor that starts it so."""
    volume = account.volume({"AUTO-SNAPSHOT": "P"})
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-m", "lambda_function", "hour"]
    assert subprocess.run(command, check=False).returncode == 0
    assert len(account.snapshots(volume)) == 1


LATIN = {"PYTHONIOENCODING": "latin-1"}
ASCII = {"PYTHONIOENCODING": "ascii"}
ASCII_LOCALE = {"PYTHONIOENCODING": "", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
IN_LATIN = r"Büro-\u041f\u043b\u0430\u0442\u044c\u0435-\U0001f98a"
IN_ASCII = r"B\xfcro-\u041f\u043b\u0430\u0442\u044c\u0435-\U0001f98a"


@pytest.mark.parametrize(
    ("command", "variables", "shown"),
    [
        pytest.param("hour", {"PYTHONIOENCODING": "utf-8"}, "Büro-Платье-🦊", id="UTF-8 has all"),
        pytest.param("hour", LATIN, IN_LATIN, id="Latin-1"),
        pytest.param("hour", {**LATIN, "PYTHONUNBUFFERED": "1"}, IN_LATIN, id="Latin-1, unbuffered"),
        pytest.param("hour", ASCII, IN_ASCII, id="ASCII"),
        pytest.param("hour", ASCII_LOCALE, IN_ASCII, id="ASCII by the locale"),
        pytest.param("status", ASCII, IN_ASCII, id="status in ASCII"),
        pytest.param("hour", {"PYTHONIOENCODING": "ascii:replace"}, "B?ro-??????-?", id="what the user chose instead"),
    ],
)
def test_what_an_encoding_lacks_is_written_as_escapes(account, command, variables, shown):
    account.volume({"AUTO-SNAPSHOT": "Büro-Платье-🦊"})
    done = subprocess.run(
        [sys.executable, "-m", "lambda_function", command],
        capture_output=True,
        env={**os.environ, **variables},
        check=False,
    )
    assert done.stderr == b""
    assert done.returncode == (0 if command == "hour" else 1)  # a tag that names no policy is a warning to a run
    encoding = variables["PYTHONIOENCODING"].partition(":")[0] or "ascii"
    assert f'its tag names "{shown}", which is no policy' in done.stdout.decode(encoding)


def _pipe_without_reader():
    read_end, write_end = os.pipe()
    os.close(read_end)
    return write_end


def _full_device():
    return os.open("/dev/full", os.O_WRONLY)


@pytest.mark.parametrize("broken", [_pipe_without_reader, _full_device])
def test_a_warning_that_cannot_be_written_stops_no_run(account, monkeypatch, broken):
    monkeypatch.setenv("TARGET_PATH", "/srv/build")
    volume = account.volume({"AUTO-SNAPSHOT": "P"})
    stream = broken()
    done = subprocess.run([sys.executable, "-m", "lambda_function", "hour"], stderr=stream, check=False)
    os.close(stream)
    assert done.returncode == 0
    assert len(account.snapshots(volume)) == 1


def test_missing_credentials_exit_like_a_wrong_configuration(account, monkeypatch, tmp_path, capsys):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    assert shell.main(["hour"]) == 2
    assert "no AWS credentials: Unable to locate credentials; see AWS_PROFILE" in capsys.readouterr().err
