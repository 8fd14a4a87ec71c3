"""`python -m tests.bench`: exits 0 when every target is met, 1 when one is missed."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tests.bench.cold_start import PAIRS, environment, measure

ROUNDS = 5
CPU_SECONDS = 1.0
MEGABYTES = 256
RATIO = 1.3
EXCESS_SECONDS = 0.5
FREEZE_ROUNDS = 3


def main() -> int:
    console = Console() if sys.stdout.isatty() else Console(width=120)
    table = Table(
        box=box.SIMPLE_HEAD,
        title=f"Python {platform.python_version()}, {os.cpu_count()} processors, {platform.machine()}",
    )
    for name in ("what", "measured", "target", "verdict"):
        table.add_column(name)
    missed = 0

    def row(what: str, measured: str, target: str, is_met: bool) -> None:
        nonlocal missed
        missed += not is_met
        table.add_row(what, measured, target, Text("met" if is_met else "MISSED", "green" if is_met else "bold red"))

    # This process stays small: on Linux a child's peak begins with that of the process it was forked from.
    console.print("Planning ...", highlight=False)
    for kept, case in ((10, "one each to let go"), (2, "N cut to 2: nine each to let go")):
        plans = [_child("tests.bench.planning", str(kept)) for _ in range(ROUNDS)]
        plan = sorted(plans, key=lambda each: each["total"])[ROUNDS // 2]
        parts = ", ".join(f"{part} {plan[part]:.2f}" for part in ("plan_run", "arrange", "plan_prune"))
        row(
            f"planning {plan['volumes']:,} volumes, {plan['snapshots']:,} snapshots, {case}; CPU, median of {ROUNDS}",
            f"{plan['total']:.2f} s ({parts})",
            f"< {CPU_SECONDS:.0f} s",
            plan["total"] < CPU_SECONDS,
        )
        peak = max(each["megabytes"] for each in plans)
        row(
            "the same process, peak memory",
            f"{peak:.0f} MB ({plan['megabytes_at_rest']:.0f} MB before the listings)",
            f"< {MEGABYTES} MB",
            peak < MEGABYTES,
        )

    console.print("Cold starts ...", highlight=False)
    cold = measure()
    for kind, ratio, ours, theirs in (
        ("CPU", cold.cpu_ratio, cold.handler_cpu, cold.boto3_cpu),
        ("wall", cold.wall_ratio, cold.handler_wall, cold.boto3_wall),
    ):
        row(
            f"handler and clients beside boto3 and clients, {kind}, medians of {PAIRS} pairs",
            f"{ratio:.2f} times ({ours * 1000:.0f} ms, {theirs * 1000:.0f} ms)",
            f"<= {RATIO} times",
            ratio <= RATIO,
        )

    console.print("Freezes ...", highlight=False)
    freezes = [_child("tests.bench.freeze") for _ in range(FREEZE_ROUNDS)]
    freeze = sorted(freezes, key=lambda each: each["excess"])[FREEZE_ROUNDS // 2]
    row(
        f"frozen beyond one create ({freeze['create']:.1f} s) and one round trip ({freeze['round_trip']:.0f} s), as "
        f"{freeze['instances']} instances at once see it; handler over HTTP, thin server beside it; median of each "
        f"run, median of {FREEZE_ROUNDS} runs",
        f"{freeze['excess']:.2f} s (window {freeze['median']:.2f} s, 90 % {freeze['p90']:.2f} s, longest "
        f"{freeze['longest']:.2f} s; CPU {freeze['cpu']:.2f} s, {freeze['cpu'] / freeze['wall']:.0%} of one processor)",
        f"<= {EXCESS_SECONDS} s",
        freeze["excess"] <= EXCESS_SECONDS,
    )

    console.print("Calls ...", highlight=False)
    for run in _child("tests.bench.calls"):
        told = ", ".join(f"{name} {count}" for name, count in run["calls"].items())
        row(
            f"AWS calls: {run['name']}",
            f"{run['measured']} ({told})",
            f"{run['promised']}",
            run["measured"] <= run["promised"],
        )
    console.print(table)
    return 1 if missed else 0


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
