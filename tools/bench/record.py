"""What was measured, kept in `docs/performance.json`; the page's tables and the plot are made from that alone."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.support.throttled.remote import ROOT
from tools.bench.plot import svg
from tools.bench.scenarios import SCENARIOS, SERIES
from tools.bench.throughput import misses

STORED = ROOT / "docs/performance.json"
PAGE = ROOT / "docs/performance.md"
PLOT = ROOT / "docs/performance.svg"
BEGIN, END = "<!-- begin: measured -->\n", "<!-- end: measured -->\n"

COLUMNS = (
    "whole runs",
    "factor",
    "floor",
    "measured",
    "ratio",
    "calls (least)",
    "throttled",
    "memory",
    "CPU client, endpoint",
    "all",
    "verdict",
)

Row = tuple[str, str, str, bool]


def verdict(result: dict[str, Any]) -> str:
    """What `make bench` says about a run before the throttled endpoint; nothing where nothing is asked of it."""
    missed = "; ".join(misses(result))
    if missed:
        return f"MISSED: {missed}"
    if not result["valid"]:
        return "invalid"
    return "met" if result["most"] or result["most_calls"] else ""


def record(rows: Iterable[tuple[str, Sequence[Row]]], results: Iterable[dict[str, Any]]) -> None:
    """Put these figures into the file, in place of what stood there under their names, and make the page anew."""
    stored: dict[str, Any] = json.loads(STORED.read_text("utf-8")) if STORED.exists() else {"sections": {}, "runs": {}}
    for name, each in rows:
        stored["sections"][name] = {**_where(), "rows": each}
    for result in results:
        stored["runs"][result["name"]] = {**_where(), **result}
    stored["runs"] = {each.name: stored["runs"][each.name] for each in SCENARIOS if each.name in stored["runs"]}
    STORED.write_text(json.dumps(stored, indent=1) + "\n", "utf-8")
    PAGE.write_text(with_measured(PAGE.read_text("utf-8"), stored), "utf-8")
    PLOT.write_text(plot(stored), "utf-8")


def _where() -> dict[str, str]:
    return {"date": datetime.now(UTC).date().isoformat(), "machine": machine()}


def machine() -> str:
    name = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    return f"{os.cpu_count()} processors ({name}), Python {platform.python_version()}"


def with_measured(page: str, stored: dict[str, Any]) -> str:
    """The page with its measured part made from the file."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{measured(stored)}{END}{after}"


def measured(stored: dict[str, Any]) -> str:
    """Date and machine, the table of whole runs, and the table of the other targets."""
    runs, sections = stored["runs"].values(), stored["sections"].values()
    where = sorted({f"{each['date']}, {each['machine']}" for each in (*runs, *sections)})
    lines = [
        f"Measured {' and '.join(where)}.",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|---|" + "--:|" * (len(COLUMNS) - 2) + "---|",
        *("| " + " | ".join(cells(each)) + " |" for each in runs),
    ]
    if stored["sections"]:
        lines += ["", "| else | measured | target | verdict |", "|---|---|---|---|"]
    for what, got, aim, met in (row for section in sections for row in section["rows"]):
        lines.append(f"| {what} | {got} | {aim} | {'met' if met else 'MISSED'} |")
    return "\n".join(["", *lines, "", ""])


def cells(result: dict[str, Any]) -> tuple[str, ...]:
    """A run's line in the table, in the terminal and on the page."""
    what = result["what"]
    if result["frozen_beyond"] is not None:
        what += f" (frozen {result['window_median']:.1f} s, longest {result['window_longest']:.1f} s)"
    if result["invoked"] > 1:
        what += f" ({result['invoked']} used)"
    return (
        what,
        f"{result['factor']:g}",
        f"{result['floor']:.0f} s",
        f"{result['measured']:.1f} s",
        f"{result['ratio']:.2f}" if result["ratio"] else "",
        f"{result['calls']:,}" + (f" ({result['least_calls']:,})" if result["least_calls"] else ""),
        f"{result['throttled']:.1%}",
        f"{result['megabytes']} MB",
        f"{result['client_cpu']:.0%}, {result['endpoint_cpu']:.0%}",
        f"{result['machine_cpu']:.0%}",
        verdict(result),
    )


def plot(stored: dict[str, Any]) -> str:
    """Time against volumes; what was not measured has no point."""
    runs = stored["runs"]
    names = {"one call after another": "loop", "this function": "turnover"}
    series = {
        name: [(volumes, runs[f"{kind}-{volumes}"]["measured"]) for volumes in SERIES if f"{kind}-{volumes}" in runs]
        for name, kind in names.items()
    }
    floor = [(n, runs[f"turnover-{n}"]["floor"]) for n in SERIES if f"turnover-{n}" in runs]
    given = {name: points for name, points in {**series, "least, by EC2's rates": floor}.items() if points}
    return svg(given, "A create and a delete for every volume", "volumes", "seconds of service time") if given else ""
