"""`make audit`: findings fail or warn, and what is not known is said, with pip-audit played by a script."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def audit():
    specification = importlib.util.spec_from_file_location("audit", ROOT / "requirements" / "audit.py")
    assert specification
    assert specification.loader
    module = importlib.util.module_from_spec(specification)
    sys.modules["audit"] = module
    specification.loader.exec_module(module)
    yield module
    del sys.modules["audit"]


@pytest.fixture
def pip_audit(tmp_path):
    """A pip-audit that answers for each lock by its name; `None` where it prints no JSON."""

    def write(**answers):
        path = tmp_path / "pip-audit"
        path.write_text(
            f"#!{sys.executable}\nimport json, pathlib, sys\n"
            f"answer = json.loads({json.dumps(json.dumps(answers))})[pathlib.Path(sys.argv[-1]).stem]\n"
            "print(json.dumps({'dependencies': answer}) if answer is not None else 'no', end='')\n"
            "print('Failed to resolve', file=sys.stderr)\n"
        )
        path.chmod(0o755)
        return str(path)

    return write


def package(*ids):
    vulnerabilities = [{"id": each, "fix_versions": ["2"], "aliases": ["CVE-" + each]} for each in ids]
    return {"name": "x", "version": "1", "vulns": vulnerabilities}


FOUND, CLEAN, SKIPPED = [package("P-1")], [package()], [{"name": "x", "skip_reason": "not found"}]


@pytest.mark.parametrize(
    ("answers", "codes", "said"),
    [
        ({"canary": FOUND, "requirements": CLEAN, "tools": CLEAN}, (0, 0), "requirements.txt: 0 found"),
        ({"canary": FOUND, "requirements": FOUND, "tools": CLEAN}, (1, 1), "VULNERABLE: requirements.txt: x 1: P-1"),
        ({"canary": FOUND, "requirements": CLEAN, "tools": FOUND}, (0, 1), "warning: tools.txt: x 1: P-1, fixed in 2"),
        (
            {"canary": FOUND, "requirements": SKIPPED, "tools": CLEAN},
            (0, 1),
            "NOT AUDITED: requirements.txt: nothing is",
        ),
        ({"canary": SKIPPED}, (0, 1), "NOT AUDITED: whether the locked packages"),
        ({"canary": CLEAN}, (0, 1), "knows nothing of urllib3==1.24.1"),
        ({"canary": None}, (0, 1), "Failed to resolve"),
        ({"canary": FOUND, "requirements": FOUND, "tools": None}, (1, 1), "NOT AUDITED: whether"),
    ],
    ids=[
        "nothing found",
        "found in what is deployed",
        "found in a tool",
        "a package that PyPI does not know",
        "no answer about any package",
        "a service that knows of no vulnerability",
        "no answer at all",
        "the service ends in the middle",
    ],
)
def test_what_is_found_fails_and_what_is_not_known_is_said(audit, pip_audit, capsys, answers, codes, said):
    tools = [Path("tools.txt")]
    command = pip_audit(**answers)
    assert (audit.main(command, strict=False, tools=tools), audit.main(command, strict=True, tools=tools)) == codes
    assert said in capsys.readouterr().out


def test_an_accepted_vulnerability_is_skipped_by_id_or_alias(audit, pip_audit, monkeypatch):
    command = pip_audit(canary=FOUND, requirements=[package("P-2")], tools=CLEAN)
    assert audit.main(command, strict=False, tools=[]) == 1
    monkeypatch.setitem(audit.ACCEPTED, "CVE-P-2", "what it is about is not used here")
    assert audit.main(command, strict=False, tools=[]) == 0


def test_every_lock_pins_every_package_by_hash():
    locks = [ROOT / "lambda_function" / "requirements.txt", *(ROOT / "requirements").glob("*.txt")]
    assert len(locks) >= 6
    for lock in locks:
        packages = [line for line in lock.read_text().splitlines() if line[:1].isalnum()]
        assert packages
        assert all("==" in line and line.endswith("\\") for line in packages), lock
