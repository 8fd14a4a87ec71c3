"""`python -m tools.bench`: exits 0 if every target is met, 1 if one is missed or a figure is invalid."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tools.bench.cold_start import PAIRS, environment, measure
from tools.bench.freeze import CASES
from tools.bench.memory_sizes import measured_sizes
from tools.bench.scenarios import SCENARIOS
from tools.bench.throughput import misses, run, verdict

ROUNDS = 5
CPU_SECONDS = 1.0
MEGABYTES = 256
RATIO = 1.6
EXCESS_SECONDS = 0.5
FREEZE_ROUNDS = 3

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


def planning() -> Iterator[Row]:
    # This process stays small: on Linux a child's peak begins with that of the process it was forked from.
    for kept, case in ((10, "one each to let go"), (2, "N cut to 2: nine each to let go")):
        plans = [_child("tools.bench.planning", str(kept)) for _ in range(ROUNDS)]
        plan = sorted(plans, key=lambda each: each["total"])[ROUNDS // 2]
        parts = ", ".join(f"{part} {plan[part]:.2f}" for part in ("plan_run", "arrange", "plan_prune"))
        yield (
            f"planning {plan['volumes']:,} volumes, {plan['snapshots']:,} snapshots, {case}; CPU, median of {ROUNDS}",
            f"{plan['total']:.2f} s ({parts})",
            f"< {CPU_SECONDS:.0f} s",
            plan["total"] < CPU_SECONDS,
        )
        peak = max(measured["megabytes"] for measured in plans)
        yield (
            "the same process, peak memory",
            f"{peak:.0f} MB ({plan['megabytes_at_rest']:.0f} MB before the listings)",
            f"< {MEGABYTES} MB",
            peak < MEGABYTES,
        )


def cold_starts() -> Iterator[Row]:
    cold = measure()
    for kind, ratio, ours, theirs in (
        ("CPU", cold.cpu_ratio, cold.handler_cpu, cold.boto3_cpu),
        ("wall", cold.wall_ratio, cold.handler_wall, cold.boto3_wall),
    ):
        yield (
            f"handler and clients beside boto3 and clients, {kind}, medians of {PAIRS} pairs",
            f"{ratio:.2f} times ({ours * 1000:.0f} ms, {theirs * 1000:.0f} ms)",
            f"<= {RATIO} times",
            ratio <= RATIO,
        )


def freezes() -> Iterator[Row]:
    for name, case in CASES.items():
        if case.megabytes and os.geteuid() != 0:
            yield f"frozen, {case.what}", "not measured: control groups need root", "", True
            continue
        # What a limit on commands costs has no target, except that nothing stays frozen.
        rounds = [_child("tools.bench.freeze", name) for _ in range(1 if case.sends else FREEZE_ROUNDS)]
        freeze = sorted(rounds, key=lambda each: each["excess"])[len(rounds) // 2]
        left = max(each["left_frozen"] for each in rounds)
        what = (
            f"frozen beyond one create ({freeze['create']:.1f} s) and one round trip ({freeze['round_trip']:.0f} s), "
            f"{freeze['instances']} instances, {case.what}; median of each run, median of {len(rounds)}"
        )
        measured = (
            f"{freeze['excess']:.2f} s (window {freeze['median']:.2f} s, 90 % {freeze['p90']:.2f} s, longest "
            f"{freeze['longest']:.2f} s; run {freeze['wall']:.0f} s, CPU {freeze['cpu']:.2f} s), {left} left frozen"
        )
        is_met = left == 0 and (case.sends is not None or freeze["excess"] <= EXCESS_SECONDS)
        yield what, measured, "0 left" if case.sends else f"<= {EXCESS_SECONDS} s, 0 left", is_met


def calls() -> Iterator[Row]:
    for counted in _child("tools.bench.calls"):
        by_name = ", ".join(f"{name} {count}" for name, count in counted["calls"].items())
        yield (
            f"AWS calls: {counted['name']}",
            f"{counted['measured']} ({by_name})",
            f"{counted['promised']}",
            counted["measured"] <= counted["promised"],
        )


SECTIONS: dict[str, Callable[[], Iterator[Row]]] = {
    "planning": planning,
    "cold-starts": cold_starts,
    "freezes": freezes,
    "calls": calls,
    "memory-sizes": measured_sizes,
}


def main() -> int:
    runs = {scenario.name: scenario for scenario in SCENARIOS}
    parser = argparse.ArgumentParser(prog="python -m tools.bench")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", choices=[*SECTIONS, *runs], help=", ".join([*SECTIONS, *runs])
    )
    asked = parser.parse_args()
    console = Console() if sys.stdout.isatty() else Console(width=160)
    rows: list[Row] = []
    for name, section in SECTIONS.items():
        if name in (asked.only or SECTIONS):
            console.print(f"{name} ...", highlight=False)
            rows += section()
    results = []
    for name, chosen in runs.items():
        if name in (asked.only or runs):
            console.print(f"{name} ...", highlight=False)
            results.append(run(chosen))
    title = f"Python {platform.python_version()}, {os.cpu_count()} processors, {platform.machine()}"
    if rows:
        console.print(
            _table(
                title,
                ("what", "measured", "target", "verdict"),
                [(what, measured, target, "met" if met else "MISSED") for what, measured, target, met in rows],
            )
        )
    if results:
        console.print(_table(title, COLUMNS, [cells(result) for result in results]))
    bad = [result for result in results if misses(result) or not result["valid"]]
    return 1 if bad or not all(met for *_, met in rows) else 0


def cells(result: dict[str, Any]) -> tuple[str, ...]:
    """A run's line in the table."""
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


def _table(title: str, columns: Sequence[str], lines: Sequence[Sequence[str]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=title)
    for name in columns:
        table.add_column(name)
    for *others, word in lines:
        colour = {"": "", "met": "green", "invalid": "yellow"}.get(word, "bold red")
        table.add_row(*map(Text, others), Text(word, colour))
    return table


def _child(module: str, *arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env=environment(),
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


if __name__ == "__main__":
    sys.exit(main())
