"""`python -m lambda_function policies`, against an endpoint: exit codes, what is said, what is written."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import timedelta

import pytest
from moto.backends import get_backend
from moto.ssm.exceptions import AccessDeniedException

from lambda_function.aws.parameter_store import ParameterStore
from lambda_function.cli import main as shell
from lambda_function.inputs.policy import Parameter
from tests.support.endpoint import ACCOUNT, REGION, Account

PATH = "/auto-snapshots/policies/"
ALL = "hour day week month year"


@pytest.fixture
def account(rules):
    made = Account()
    made.policy("P", '{"hour": 3}')
    return made


@pytest.fixture
def run(capsys, monkeypatch):
    """Runs `policies ...` without a terminal; the exit code and what was printed."""
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False)

    def call(*arguments):
        code = shell.main(["policies", *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return call


@pytest.fixture
def policies(tmp_path):
    """Writes policies.json and returns its path."""

    def write(**content):
        path = tmp_path / "policies.json"
        path.write_text(json.dumps(content))
        return path

    return write


def stored(account, name):
    answer = account.ssm.get_parameter(Name=PATH + name, WithDecryption=True)["Parameter"]
    return answer["Value"], answer["Type"], answer["Version"]


def names(account):
    found = account.ssm.get_parameters_by_path(Path=PATH)["Parameters"]
    return sorted(parameter["Name"].removeprefix(PATH) for parameter in found)


@pytest.fixture
def volume(account, now):
    """One of policy P: everything due is served, and two older snapshots are kept for the hour."""
    made = account.volume({"AUTO-SNAPSHOT": "P"})
    account.snapshot(made, {"AUTO-SNAPSHOT-PERIOD": ALL})
    for hours in (30, 40):
        account.snapshot(made, {"AUTO-SNAPSHOT-PERIOD": "hour"}, now() - timedelta(hours=hours))
    return made


# check


def test_check_needs_no_aws_at_all(policies, tmp_path):
    environ = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    done = subprocess.run(
        [sys.executable, "-m", "lambda_function", "policies", "check", str(policies(P={"hour": 1}))],
        capture_output=True,
        text=True,
        env={**environ, "HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true", "POLICIES_PATH": "wrong"},
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "check: 1 policy, no fault\n", "")


def test_check_names_every_fault_with_its_line_and_exits_one(run, tmp_path):
    path = tmp_path / "policies.yaml"
    path.write_text("A:\n  hour: -1\n  weak: 1\nB: {}\n")
    code, said = run("check", path)
    assert code == 1
    assert said.splitlines() == [
        f'{path}:2: policy A: field "hour": -1: must be an integer, 0 or more, or leave it out',
        f'{path}:3: policy A: field "weak": unknown field; did you mean "week"?',
        f"{path}:4: policy B: names no period: give at least one of hour, day, week, month, year",
        "check: 3 faults",
    ]


def test_check_of_a_directory_names_what_it_passes_over(run, tmp_path):
    (tmp_path / "A.json").write_text('{"hour": 1}')
    (tmp_path / "notes.txt").write_text("x")
    code, said = run("check", tmp_path)
    assert code == 0
    assert f"warning: {tmp_path / 'notes.txt'}: not read" in said


@pytest.mark.parametrize(
    "arguments",
    [
        ["policies"],
        ["policies", "check"],
        ["policies", "check", "a.json", "--prune"],
        ["policies", "diff", "a.json", "--yes"],
        ["policies", "pull", "a.json", "--yes"],
        ["policies", "burn", "a.json"],
        ["policies", "check", "no/such/file.json"],
        ["policies", "diff", "no/such/file.json"],
        ["policies", "push", "README.md"],
    ],
)
def test_wrong_arguments_exit_two(arguments, account, capsys):
    with pytest.raises(SystemExit) as stopped:
        sys.exit(shell.main(arguments))
    assert stopped.value.code == 2
    assert "error: " in capsys.readouterr().err


# diff


def test_diff_shows_fields_and_deletions_and_writes_nothing(account, volume, rules, run, policies):
    account.policy("OLD", '{"day": 1}')
    account.policy("SAME", '{"day":1}')
    path = policies(P={"hour": 2, "day": 7}, NEW={"week": 1}, SAME={"day": 1, "hour": None})
    rules.calls.clear()
    code, said = run("diff", path)
    assert code == 0
    for line in (
        "NEW   new",
        "    week: 1",
        "OLD   only in the store: stays",
        "P     changed",
        "    hour: 3 -> 2",
        "    day: absent -> 7",
        "SAME  unchanged",
        "diff: 1 new, 1 changed, 1 unchanged, 1 only in the store, 1 snapshot to be deleted",
    ):
        assert line in said.splitlines()
    (oldest, *_) = account.snapshots(volume)
    (gone,) = [line for line in said.splitlines() if line.startswith("snap-")]
    assert gone.split()[:2] == [oldest["SnapshotId"], volume]
    assert "in the 3rd newest hour; the policy keeps 2" in gone
    assert not [call for call in rules.calls if not call.startswith("describe")]
    assert stored(account, "P")[0] == '{"hour": 3}'


def test_diff_asks_ec2_nothing_where_nothing_differs(account, volume, rules, run, policies):
    rules.calls.clear()
    assert run("diff", policies(P={"hour": 3})) == (0, run("diff", policies(P={"hour": 3}))[1])
    assert rules.calls == []


def test_diff_names_the_volumes_that_would_lose_their_policy(account, volume, run, policies):
    code, said = run("diff", policies(Q={"hour": 1}), "--prune")
    assert code == 0
    (line,) = [line for line in said.splitlines() if line.startswith("vol-")]
    assert line.split()[:2] == [volume, "P"]
    assert "no more snapshots, and none deleted: its tag names" in line
    assert "P  only in the store: deleted by --prune" in said


def test_a_fault_stops_a_diff_and_a_push_before_aws_is_asked(account, run, policies, monkeypatch):
    monkeypatch.setattr(shell, "build_clients", None)
    for action in ("diff", "push"):
        code, said = run(action, policies(P={"hour": "1"}))
        assert code == 1
        assert said.splitlines()[-1] == f"{action}: 1 fault; nothing was compared or written"


def test_a_policy_that_cannot_be_decrypted_is_not_overwritten(account, run, policies, monkeypatch):
    """It is not compared either."""
    account.policy("S", '{"hour": 1}', kind="SecureString")
    monkeypatch.setattr(
        ParameterStore,
        "read",
        lambda store: [Parameter(PATH + "S", error="could not be read and decrypted", secure=True)],
    )
    code, said = run("push", policies(S={"hour": 2}, N={"hour": 1}), "--yes")
    assert code == 1
    assert "S  not to be compared" in said
    assert "could not be read and decrypted" in said
    assert "N" not in names(account)


# push


def test_push_writes_what_differs_and_only_that(account, run, policies):
    account.policy("SAME", '{ "day": 1 }')
    path = policies(P={"hour": 4}, NEW={"week": 1, "hook_parameters": {"a": ["é {{ssm:x}}"]}}, SAME={"day": 1})
    code, said = run("push", path)
    assert code == 0, said
    assert stored(account, "P") == ('{"hour": 4}', "String", 2)
    assert json.loads(stored(account, "NEW")[0]) == {"week": 1, "hook_parameters": {"a": ["é {{ssm:x}}"]}}
    assert stored(account, "SAME") == ('{ "day": 1 }', "String", 1)
    assert said.splitlines()[-1] == "push: 2 written, 0 deleted, 0 failed"
    code, said = run("push", path)
    assert (code, said.splitlines()[-1]) == (0, "push: nothing to write")


def test_runs_after_a_push_delete_exactly_what_was_predicted(account, volume, run, policies, capsys, now):
    """All periods have run."""
    shared = account.snapshot(volume, {"AUTO-SNAPSHOT-PERIOD": "hour another"}, now() - timedelta(hours=50))
    code, said = run("push", policies(P={"hour": 1, "day": 2, "week": 1, "month": 1, "year": 1}), "--yes")
    assert code == 0
    foretold = set(re.findall(r"^snap-\w+", said, re.MULTILINE))
    before = {each["SnapshotId"] for each in account.snapshots()}
    for period in ALL.split():
        assert shell.main([period]) == 0
    after = {each["SnapshotId"] for each in account.snapshots()}
    assert after <= before
    assert before - after == foretold
    assert len(foretold) == 2
    assert shared in after


def test_a_push_that_loses_snapshots_needs_a_terminal(account, volume, run, policies):
    """Without one it is refused and says what to do."""
    code, said = run("push", policies(P={"hour": 1}))
    assert code == 1
    assert said.splitlines()[-1] == ("push: nothing written: 2 snapshots would be deleted; with --yes that is accepted")
    assert stored(account, "P")[0] == '{"hour": 3}'


@pytest.mark.parametrize(
    ("typed", "code", "value"), [("y", 0, '{"hour": 1}'), ("", 1, '{"hour": 3}'), (None, 1, '{"hour": 3}')]
)
def test_on_a_terminal_it_asks(account, volume, policies, monkeypatch, capsys, typed, code, value):
    questions = []

    def answer(prompt=""):
        questions.append(capsys.readouterr().out)
        if typed is None:
            raise EOFError
        return typed

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("builtins.input", answer)
    assert shell.main(["policies", "push", str(policies(P={"hour": 1}))]) == code
    assert questions[0].endswith("Push, and have 2 snapshots deleted? [y/N] ")
    assert stored(account, "P")[0] == value


def test_a_policy_that_no_file_holds_stays_unless_pruned(account, run, policies):
    """Pruning has to be requested and accepted."""
    account.policy("OLD", '{"day": 1}')
    path = policies(P={"hour": 3}, NEW={"hour": 1})
    assert run("push", path)[0] == 0
    assert names(account) == ["NEW", "OLD", "P"]
    code, said = run("push", path, "--prune")
    assert code == 1
    assert "1 policy would be deleted" in said
    assert run("push", path, "--prune", "--yes")[0] == 0
    assert names(account) == ["NEW", "P"]


def test_the_file_of_one_policy_pushes_that_one_and_never_prunes(account, run, tmp_path):
    path = tmp_path / "ONE.yaml"
    path.write_text("hour: 1\n")
    code, said = run("push", path, "--prune", "--yes")
    assert code == 2
    assert "--prune would delete all others" in said
    assert run("push", path)[0] == 0
    assert names(account) == ["ONE", "P"]


def test_type_key_tier_and_description_of_a_parameter_stay(account, run, policies):
    account.ssm.put_parameter(Name=PATH + "D", Value='{"hour": 1}', Type="String", Description="of the shop")
    for name, more in (
        ("S", {"Type": "SecureString", "KeyId": "alias/own"}),
        ("B", {"Type": "String", "Tier": "Advanced"}),
    ):
        account.ssm.put_parameter(Name=PATH + name, Value='{"hour": 1}', **more)
    code, said = run("push", policies(S={"hour": 2}, B={"hour": 2}, D={"hour": 2}))
    assert code == 0, said
    assert "hour: (SecureString, not shown) -> 2" in said
    described = {each["Name"].removeprefix(PATH): each for each in account.ssm.describe_parameters()["Parameters"]}
    assert (described["S"]["Type"], described["S"]["KeyId"]) == ("SecureString", "alias/own")
    assert (described["B"]["Type"], described["B"]["Tier"]) == ("String", "Advanced")
    assert described["D"]["Description"] == "of the shop"
    assert stored(account, "S")[0] == '{"hour": 2}'


def test_a_write_that_fails_is_named_and_then_nothing_is_deleted(account, run, policies, monkeypatch):
    account.policy("OLD", '{"day": 1}')
    backend = get_backend("ssm")[ACCOUNT][REGION]
    original = backend.put_parameter

    def put(name, *args, **kwargs):
        if name.endswith("BAD"):
            raise_refused()
        return original(name, *args, **kwargs)

    monkeypatch.setattr(backend, "put_parameter", put)
    code, said = run("push", policies(P={"hour": 4}, BAD={"hour": 1}), "--prune", "--yes")
    assert code == 1
    assert "FAILED: policy BAD: PutParameter: " in said
    assert "FAILED: policy OLD: not deleted, since a write failed" in said
    assert said.splitlines()[-1] == "push: 1 written, 0 deleted, 2 failed"
    assert names(account) == ["OLD", "P"]


def raise_refused():
    raise AccessDeniedException("not allowed")


def test_many_policies_are_described_and_written_in_pages(account, run, policies):
    content = {f"P{number}": {"hour": 1} for number in range(60)}
    assert run("push", policies(**content))[0] == 0
    code, said = run("push", policies(**{name: {"hour": 2} for name in content}))
    assert (code, said.splitlines()[-1]) == (0, "push: 60 written, 0 deleted, 0 failed")
    assert stored(account, "P59")[2] == 2


# pull


@pytest.mark.parametrize("name", ["all.json", "all.yaml", "directory"])
def test_a_pull_differs_in_nothing_and_repeats_unchanged(account, run, tmp_path, name):
    account.policy("B", '{"hour":1,"hook_parameters":{"a":["yes","010"]}}')
    account.policy("A.x", '{"day": 2, "hour": null}')
    target = tmp_path / name
    assert run("pull", target)[0] == 0
    texts = {path: path.read_bytes() for path in [target, *tmp_path.rglob("*")] if path.is_file()}
    code, said = run("diff", target)
    assert (code, said.splitlines()[-1]) == (0, "diff: 3 unchanged, 0 snapshots to be deleted")
    assert run("push", target)[1].splitlines()[-1] == "push: nothing to write"
    code, said = run("pull", target)
    assert code == 0
    assert said.splitlines()[-1].startswith("pull: 0 written")
    assert {path: path.read_bytes() for path in texts} == texts


@pytest.mark.parametrize("suffix", [".json", ".yaml"])
def test_a_file_pulled_pushed_and_pulled_again_is_the_same(account, run, tmp_path, monkeypatch, suffix):
    """It is pushed to another path."""
    account.policy("B", '{"month":1,"hour":1,"hook_parameters":{"a":["{{x}}","é"]}}')
    first, second = tmp_path / f"first{suffix}", tmp_path / f"second{suffix}"
    assert run("pull", first)[0] == 0
    monkeypatch.setenv("POLICIES_PATH", "/elsewhere/policies/")
    assert run("push", first)[0] == 0
    assert run("pull", second)[0] == 0
    assert first.read_text() == second.read_text()


def test_a_file_that_says_the_same_keeps_its_comments(account, run, tmp_path):
    """One that differs is kept unless forced."""
    (tmp_path / "P.yaml").write_text("# three\nhour: 3\nday:\n")
    account.policy("Q", '{"day": 1}')
    (tmp_path / "Q.yaml").write_text('# mine\n"$schema": x\nday: 2\n')
    account.policy("R", '{"day": 1}')
    code, said = run("pull", tmp_path)
    assert code == 1
    assert f"{tmp_path / 'Q.yaml'}: differs from the store" in said
    assert said.splitlines()[-1] == "pull: nothing written; with --force what differs is written over"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["P.yaml", "Q.yaml"]
    assert run("pull", tmp_path, "--force")[0] == 0
    assert (tmp_path / "P.yaml").read_text() == "# three\nhour: 3\nday:\n"
    assert (tmp_path / "Q.yaml").read_text() == '# mine\n"$schema": x\nday: 1\n'
    assert (tmp_path / "R.yaml").read_text() == "day: 1\n"


def test_a_file_of_a_policy_not_stored_stays_and_is_named(account, run, tmp_path):
    (tmp_path / "MINE.json").write_text('{"hour": 1}')
    code, said = run("pull", tmp_path)
    assert code == 0
    assert f"warning: {tmp_path / 'MINE.json'}: policy MINE is not in the store; its file stays" in said
    assert (tmp_path / "MINE.json").exists()


def test_a_faulty_stored_policy_is_pulled_as_it_is(account, run, tmp_path):
    """The condition is that a file can hold it."""
    account.policy("FAULTY", '{"hour": "2"}')
    account.policy("BROKEN", '{"hour": 2')
    account.policy("TWICE", '{"hour": 2, "hour": 3}')
    code, said = run("pull", tmp_path / "all.json")
    assert code == 1
    assert f'warning: {PATH}FAULTY: field "hour": "2": must be an integer' in said
    for name in ("BROKEN", "TWICE"):
        assert f"FAILED: {PATH}{name}: must be one JSON object" in said
    assert json.loads((tmp_path / "all.json").read_text()) == {"FAULTY": {"hour": "2"}, "P": {"hour": 3}}
    assert run("check", tmp_path / "all.json")[0] == 1


def test_a_secure_policy_is_pulled_in_the_clear_and_that_is_said(account, run, tmp_path):
    account.policy("S", '{"hour": 1}', kind="SecureString")
    code, said = run("pull", tmp_path / "d")
    assert code == 0
    assert f"warning: {PATH}S: is a SecureString; the file holds its value in the clear" in said
    assert json.loads((tmp_path / "d" / "S.json").read_text()) == {"hour": 1}


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("ONE.json", '{"hour": 1}', "holds the fields of one policy"),
        ("notes.txt", "x", "is a file that does not end in"),
        ("file.json/deeper.json", None, "cannot be written"),
    ],
)
def test_a_target_that_cannot_be_one_is_a_wrong_argument(account, run, tmp_path, name, content, expected):
    (tmp_path / "file.json").write_text("{}")
    if content:
        (tmp_path / name).write_text(content)
    code, said = run("pull", tmp_path / name)
    assert code == 2
    assert expected in said


def test_a_store_without_policies_is_a_wrong_path(account, run, tmp_path, monkeypatch):
    monkeypatch.setenv("POLICIES_PATH", "/nothing/here/")
    code, said = run("pull", tmp_path / "all.json")
    assert code == 2
    assert "no policy under /nothing/here/" in said
    assert not (tmp_path / "all.json").exists()
