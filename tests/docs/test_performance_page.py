"""The commands on the performance page."""

from __future__ import annotations

import re
from pathlib import Path

from tools.bench.__main__ import SECTIONS
from tools.bench.scenarios import SCENARIOS

PAGE = Path(__file__).parents[2] / "docs/performance.md"
COMMAND = re.compile(r"`make bench ONLY=(?:\"([a-z0-9 -]+)\"|([a-z0-9-]+))`")


def test_each_row_has_a_command_that_exists():
    rows = [line for line in PAGE.read_text("utf-8").partition("## ")[0].splitlines() if line.startswith("| ")][1:]
    assert rows
    assert all(COMMAND.search(row) for row in rows)
    asked = {name for some, one in COMMAND.findall(PAGE.read_text("utf-8")) for name in (some or one).split()}
    assert asked <= {*SECTIONS, *(scenario.name for scenario in SCENARIOS)}
