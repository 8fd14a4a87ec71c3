"""The demonstration is a check too: one simulated day of it, as a user starts it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def demo():
    return subprocess.run(
        [sys.executable, "-m", "tests.demo", "--days", "1"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_simulated_day_keeps_every_promise(demo):
    assert demo.returncode == 0, demo.stdout[-4000:] + demo.stderr[-4000:]
    assert "Every promise kept" in demo.stdout
    assert "BROKEN" not in demo.stdout


def test_the_handlers_log_and_the_endpoints_do_not_clutter_the_output(demo):
    assert demo.stderr == ""
    assert '{"' not in demo.stdout
    assert len(demo.stdout.splitlines()) < 250
    assert max(map(len, demo.stdout.splitlines())) <= 120


@pytest.mark.parametrize(
    "shown",
    [
        'did you mean "CRITICAL"?',
        "its tag Auto-Snapshot selects nothing",
        "one instant with the",
        "kept for the hour, serves",
        "the policy keeps none for the month",
        "is currently in use by",
        "is locked",
        "failed, and a newer completed one exists",
        "the invocation fails with: 1 failure in the hour's run",
        "hour (again)",
        "CreateSnapshots",
    ],
)
def test_what_a_user_came_to_see_is_shown(demo, shown):
    assert shown in " ".join(demo.stdout.split())
