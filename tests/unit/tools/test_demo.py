"""The demonstration is a check too: half a simulated day of it, as a user starts it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]

SHOWN = (
    'did you mean "CRITICAL"?',
    'its tag "Auto-Snapshot" selects nothing',
    "one instant with the",
    "was started in this hour",
    "the policy keeps no monthly snapshots",
    "is currently in use by",
    "locked in governance mode until",
    "failed, and EC2 counts it towards its volume's limit",
    "the invocation fails with: hour: 12 created",
    "hour (again)",
    "SSM agents are simulated",
    "journal of one freeze, policy ORDERS",
    "hook failed: pre on",
    "is not managed by SSM",
    "ok; application",
    "Every promise kept",
)


def test_the_demonstration_keeps_every_promise():
    """It shows what a user came to see."""
    demo = subprocess.run(
        [sys.executable, "-m", "tools.demo", "--hours", "13"],
        cwd=REPOSITORY,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert demo.returncode == 0, demo.stdout[-4000:] + demo.stderr[-4000:]
    assert demo.stderr == ""
    assert "BROKEN" not in demo.stdout
    text = " ".join(demo.stdout.split())
    assert [shown for shown in SHOWN if shown not in text] == []
    assert '{"' not in text, "log lines clutter the output"
    lines = demo.stdout.splitlines()
    assert len(lines) < 330
    assert max(map(len, lines)) <= 120
