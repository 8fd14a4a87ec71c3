"""Prints the demonstration: one line per run, the notable decisions below it, the account at the end."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tests.support.promises import PERIODS
from tools.demo.promises import Holding, Retention
from tools.demo.runs import Invocation

WIDTH = 120

_COUNT_WIDTH = 9

_WIDTHS = (6, 18, 14, 22)
"""A decision's columns: indent, volume, outcome, snapshot; the reason takes the rest."""

_COUNTS = {
    "created": "green",
    "shared": "green",
    "already_done": "",
    "deleted": "magenta",
    "released": "",
    "refused": "yellow",
    "unknown_policy": "yellow",
    "failed": "bold red",
}
_STYLES = {
    "created": "green",
    "shared": "green",
    "failed": "bold red",
    "unknown policy": "yellow",
    "delete": "magenta",
    "refused": "yellow",
}


class Show:
    """Prints during the simulation; of decisions of a kind shown before, only the number."""

    def __init__(self, name_of: Callable[[str], str]) -> None:
        self._console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
        self._name_of = name_of
        self._seen: set[str] = set()
        self._day: datetime | None = None
        self.told_journal = False

    def line(self, text: str, style: str = "") -> None:
        self._console.print(Text(text, style=style))

    def happening(self, moment: datetime, text: str) -> None:
        self._begin_day(moment)
        self._console.print(Text(f"{moment:%H:%M}  * {text}", style="cyan"))

    def run(self, run: Invocation, in_full: bool) -> None:
        """One line, then the decisions: all of them, or those of a kind that has not been shown yet."""
        self._begin_day(run.moment)
        text = Text(f"{run.moment:%H:%M}  {run.period + (' (again)' if run.again else ''):<13}")
        for key, style in _COUNTS.items():
            count = run.summary.get(key, 0)
            text.append(f"{count or '·':>{_COUNT_WIDTH}}", style=style if count else "dim")
        self._console.print(text)
        for line in sorted(run.volumes, key=self._order):
            self._decision(line, line["outcome"], in_full or line["outcome"] == "failed")
        for line in sorted(run.changes, key=self._order):
            if line["change"] == "join" and line["outcome"] == "done":
                continue  # its volume's line says so
            told = line["outcome"] if line["outcome"] != "done" else line["change"]
            self._decision(line, told, in_full and told != "refused")
        for hook in sorted(run.hooks, key=lambda hook: str(hook["policy"])):
            self._hook(hook)
        for warning in run.warnings:
            if self._is_new(warning):
                self._console.print(Padding(Text(f"warning: {self._named(warning)}", "yellow"), (0, 0, 0, 9)))
        if run.error is not None and self._is_new("error"):
            self._console.print(
                Padding(Text(f"the invocation fails with: {self._named(run.error)}", "red"), (0, 0, 0, 9))
            )

    def account(self, verdicts: list[Retention]) -> None:
        table = Table(
            box=box.SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
            title="What each volume has, and how many its policy keeps; the newest below, how consistent it is beside",
        )
        table.add_column("volume", no_wrap=True)
        table.add_column("policy", no_wrap=True)
        for period in PERIODS:
            table.add_column(period, no_wrap=True)
        table.add_column("verdict", overflow="fold")
        for verdict in verdicts:
            cells = [_cell(verdict.holdings.get(period)) for period in PERIODS]
            table.add_row(verdict.name, verdict.policy, *cells, _verdict(verdict))
        self._console.print(table)

    def untouchable(self, kept: dict[str, str]) -> None:
        for what, count in Counter(kept.values()).items():
            self.line(f"untouched: {count} {'snapshots' if count > 1 else 'snapshot'} {what}")

    def _hook(self, hook: dict[str, Any]) -> None:
        """The full journal of the first good freeze; of failed ones the problem."""
        problem = hook.get("problem")
        if not self._is_new(f"hook {problem}" if problem else "journal"):
            return
        instances = ", ".join(hook["instance_ids"])
        if problem is None:
            self.told_journal = True
            frozen = f"frozen for {hook['freeze_ms']} ms (simulated)"
            lines = [f"journal of one freeze, policy {hook['policy']}: {frozen}", *hook["steps"]]
        else:
            lines = [f"hook of {instances}, policy {hook['policy']}: {problem}", *hook.get("steps", ())]
        for number, text in enumerate(lines):
            style = ("cyan" if problem is None else "yellow") if number == 0 else ""
            self._console.print(Padding(Text(text, style), (0, 0, 0, 9 + 4 * (number > 0))))

    def _begin_day(self, moment: datetime) -> None:
        if self._day is not None and self._day.date() == moment.date():
            return
        self._day = moment
        self._console.print()
        heading = f"{moment:%a %d %b %Y}"
        columns = "".join(f"{key.split('_')[0]:>{_COUNT_WIDTH}}" for key in _COUNTS)
        self._console.print(Text(f"{heading:<20}{columns}", style="bold"))

    def _decision(self, line: dict[str, Any], told: str, always: bool) -> None:
        is_new = self._is_new(f"{told} {line['reason']}")
        if not (always or is_new):
            return
        grid = Table.grid(padding=(0, 1, 0, 0))
        for width in _WIDTHS:
            grid.add_column(width=width, no_wrap=True)
        grid.add_column(overflow="fold")
        snapshot_id = line.get("snapshot_id", "")
        reason = self._named(line["reason"].removeprefix(f"{snapshot_id} "))
        name = self._name_of(line["volume_id"])
        grid.add_row("", Text(name), Text(told, style=_STYLES.get(told, "")), Text(snapshot_id), Text(reason))
        self._console.print(grid)

    def _order(self, line: dict[str, Any]) -> tuple[str, str]:
        return self._name_of(line["volume_id"]), line.get("snapshot_id", "")

    def _is_new(self, text: str) -> bool:
        kind = re.sub(r"\b(snap|vol|i|ami)-[0-9a-f]+|\d+", "#", text)
        if kind in self._seen:
            return False
        self._seen.add(kind)
        return True

    def _named(self, text: str) -> str:
        return re.sub(r"vol-[0-9a-f]+", lambda found: self._name_of(found[0]), text)


def _cell(holding: Holding | None) -> str:
    if holding is None or (holding.promised is None and not holding.count):
        return "-"
    if holding.promised is None:
        return f"{holding.count} left alone"
    newest = f"\n{holding.newest:%a %d %H:%M}" if holding.newest else ""
    return f"{holding.count} of {holding.promised}{newest}"


def _verdict(verdict: Retention) -> Text:
    told = "; ".join((*((verdict.newest,) if verdict.newest else ()), *verdict.notes))
    if told.startswith(("untouched", "gone")):
        return Text(told)
    return Text("ok" + (f"; {told}" if told else ""), style="green")
