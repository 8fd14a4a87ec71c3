"""Text of somebody else's reaches no terminal and no log line with signs that act or hide: they are escapes."""

from __future__ import annotations

import contextlib
import io
import json
from datetime import timedelta
from types import SimpleNamespace

import pytest

from lambda_function import handler
from lambda_function.cli import main as shell
from lambda_function.errors import AutoSnapshotsError
from lambda_function.escapes import is_visible
from lambda_function.output.log import logger
from tests.support.endpoint import Account, SnapshotRefusedError
from tests.support.run_command_endpoint import Reply

DIRECTION, ZERO_WIDTH, C1, FORGED = "\u202e", "\u200b", "\x7f\x9b31m", "\nFAILED: vol-1: forged\n"
BY_TAG = f"Q{DIRECTION}{ZERO_WIDTH}{C1}{FORGED}\t"
BY_DOCUMENT = f"\x1b[2J\x1b]0;title\x07{BY_TAG.replace(chr(10), ' ')} end"
COMMANDS = (["hour", "--dry-run"], ["hour"], ["status"], ["hooks", "check"])


@pytest.fixture
def account(rules, monkeypatch):
    """Volumes whose tags, hook and refusal all say what they should not."""
    made = Account()
    made.document("DOC", "FilesystemDocument")
    made.policy("P", '{"hour": 1, "hook_document": "DOC"}')
    made.policy("PLAIN", '{"hour": 1}')
    made.policy("BAD", json.dumps({"hour": BY_DOCUMENT, BY_DOCUMENT: 1}))
    made.volume({"AUTO-SNAPSHOT": BY_TAG})
    made.volume({f"AUTO-SNAPSHOT{ZERO_WIDTH}": "P"})
    made.volume({"AUTO-SNAPSHOT": "P"}, made.instance())
    refused = made.volume({"AUTO-SNAPSHOT": "PLAIN"})
    made.snapshot(refused, {"AUTO-SNAPSHOT-PERIOD": f"hour {DIRECTION}{C1}"}, rules.clock() - timedelta(hours=2))
    rules.agents.well_behaved = lambda sent: Reply(201, error=f"{BY_DOCUMENT}\n")
    rules.failing_volumes.add(refused)

    monkeypatch.setattr(
        "tests.support.endpoint.SnapshotRefusedError",
        lambda code, message: SnapshotRefusedError(code, message + BY_TAG),
    )
    return made


def check_visible(text):
    assert {sign for sign in text if not is_visible(sign)} <= {"\n"}
    assert "\nFAILED: vol-1: forged" not in text


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_terminal_gets_escapes_of_whatever_others_wrote(account, capsys, command):
    assert shell.main(command) == 1
    captured = capsys.readouterr()
    check_visible(captured.out)
    check_visible(captured.err)
    expected = "\\x1b[2J" if command[0] == "hooks" else "\\u202e"
    assert expected in captured.out


def test_json_is_whole_and_in_ascii(account, capsys):
    assert shell.main(["hour", "--json"]) == 1
    out = capsys.readouterr().out
    assert out.isascii()
    check_visible(out)
    assert BY_TAG in [volume["policy"] for volume in json.loads(out)["volumes"]]


def test_log_and_error_of_the_function_hold_escapes(account, monkeypatch):
    """The log's lines stay JSON, and whole."""
    stream = io.StringIO()
    monkeypatch.setattr(logger.registered_handler, "stream", stream)
    context = SimpleNamespace(aws_request_id="request", get_remaining_time_in_millis=lambda: 900_000)
    handler.clients.cache_clear()
    with contextlib.redirect_stdout(io.StringIO()), pytest.raises(AutoSnapshotsError) as failed:
        handler.lambda_handler({"period": "hour"}, context)  # type: ignore[arg-type]  # all of it that is used
    handler.clients.cache_clear()
    check_visible(str(failed.value))
    check_visible(stream.getvalue())
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert BY_TAG in [line.get("policy") for line in lines]


def test_a_policy_file_is_shown_with_escapes(tmp_path, capsys):
    path = tmp_path / f"P{C1}.json"
    path.write_text(json.dumps({"hour": BY_DOCUMENT, f"day{DIRECTION}": FORGED}, ensure_ascii=False))
    assert shell.main(["policies", "check", str(path)]) == 1
    check_visible(capsys.readouterr().out)


def test_a_wrong_argument_is_shown_with_escapes(capsys):
    with pytest.raises(SystemExit):
        shell.main([f"hour{C1}{FORGED}"])
    check_visible(capsys.readouterr().err)
