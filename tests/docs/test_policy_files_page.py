"""docs/policy-files.md, followed from top to bottom on an endpoint: its files are written, its outputs compared."""

from __future__ import annotations

import re
import sys
from datetime import timedelta
from pathlib import Path

from lambda_function.cli import main as shell
from tests.support.endpoint import Account, Rules, endpoint

TEXT = (Path(__file__).parents[2] / "docs/policy-files.md").read_text(encoding="utf-8")
STEP = re.compile(r"<!-- (file|output)(?:: ([\w. ]+))? -->\n```\w+\n(.*?)```", re.DOTALL)
PROGRAM = "$ .venv/bin/python -m lambda_function "


def without_ids(text):
    """Without what differs from one day and account to another, and without a table's padding."""
    text = re.sub(r"\b(snap|vol)-[0-9a-f]+", r"\1-ID", text)
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d", "TIME", text)
    return [line.rstrip() for line in text.splitlines()]


def as_the_page_assumes(now):
    account = Account()
    for name, value in {"CRITICAL": '{"hour": 24, "day": 7}', "MEH": '{"month": 1}', "OLD": '{"week": 4}'}.items():
        account.policy(name, value)
    attached = account.volume({"AUTO-SNAPSHOT": "CRITICAL"}, account.instance())
    account.volume({"AUTO-SNAPSHOT": "OLD"})
    for days in range(7):
        started = now() - timedelta(days=days)
        account.snapshot(attached, {"AUTO-SNAPSHOT-PERIOD": "day"}, started)


def test_the_page_s_commands_print_what_it_shows(tmp_path, now, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False)
    steps = STEP.findall(TEXT)
    assert len(steps) == 8
    with endpoint(Rules(clock=now)):
        as_the_page_assumes(now)
        for kind, detail, block in steps:
            if kind == "file":
                Path(detail).write_text(block)
                continue
            command, _, shown = block.partition("\n")
            shell.main(command.removeprefix(PROGRAM).split())
            printed = without_ids(capsys.readouterr().out)
            assert (printed[-1:] if detail else printed) == without_ids(shown), command
