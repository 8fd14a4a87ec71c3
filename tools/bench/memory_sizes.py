"""Which memory size is cheapest: Lambda gives a share of a processor with it, and bills seconds times memory.

A run is given that share by a control group, so this needs root on Linux; the endpoint has the rest of the machine. The
factor of service time is 1, since a share of a processor is of the machine's own seconds.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tools.bench.scenarios import turnover
from tools.bench.throughput import run
from tools.costs import GB_SECOND_ARM64

SIZES = (256, 512, 1024, 1769)
FLEETS = (10, 100, 250)
WHOLE_PROCESSOR = 1769
"""MB with which Lambda gives one processor (Lambda's guide); less gives less in proportion."""

PERIOD = 20_000
CGROUPS = Path("/sys/fs/cgroup")


@contextmanager
def share_of(megabytes: int) -> Iterator[list[str]]:
    """What to put before a command, so that it has this size's share of a processor."""
    quota = round(PERIOD * megabytes / WHOLE_PROCESSOR)
    first = CGROUPS / "cpu" if (CGROUPS / "cpu").is_dir() else CGROUPS
    group = Path(tempfile.mkdtemp(prefix="bench-", dir=first))
    try:
        if first == CGROUPS:
            (group / "cpu.max").write_text(f"{quota} {PERIOD}")
        else:
            (group / "cpu.cfs_period_us").write_text(str(PERIOD))
            (group / "cpu.cfs_quota_us").write_text(str(quota))
        yield ["sh", "-c", f'echo $$ >{group}/cgroup.procs && exec "$@"', "sh"]
    finally:
        group.rmdir()


def measured_sizes() -> Iterator[tuple[str, str, str, bool]]:
    """A row for each fleet: seconds and dollars of a thousand runs at each size. They have no targets."""
    if os.geteuid() != 0:
        yield "memory sizes", "not measured: control groups need root", "", True
        return
    for volumes in FLEETS:
        seconds = {}
        for size in SIZES:
            with share_of(size) as prefix:
                seconds[size] = run(replace(turnover(volumes), factor=1.0), prefix=prefix)["measured"]
        costs = {size: seconds[size] * size / 1024 * GB_SECOND_ARM64 * 1000 for size in SIZES}
        told = ", ".join(f"{size} MB {seconds[size]:.1f} s {costs[size]:.2f} USD" for size in SIZES)
        cheapest = min(costs, key=lambda size: costs[size])
        yield (
            f"{volumes} volumes, a create and a delete each; seconds of a run, dollars of a thousand",
            told,
            (f"cheapest: {cheapest} MB"),
            True,
        )
