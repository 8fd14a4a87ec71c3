"""Runs a scenario in fresh processes and checks the measurements.

`python -m tools.bench.throughput NAME [FACTOR]` runs one and prints all its figures as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from tests.support.throttled.remote import ROOT, Setting, running
from tools.bench.scenarios import ROUND_TRIP, SCENARIOS, Scenario

INVOCATION_SECONDS = 900.0
VALID_CPU = 0.7
"""If either process uses more of a processor than this, a figure measures the machine."""

VALID_MACHINE = 0.9
"""Likewise of all processors together: other programs are busy."""

MOST_MEGABYTES = 512
MOST_FROZEN = 0.5
"""Seconds frozen beyond one create and one round trip."""


def scenario(name: str) -> Scenario:
    found = next((candidate for candidate in SCENARIOS if candidate.name == name), None)
    if found is None:
        raise SystemExit(f"no scenario {name}: choose from {', '.join(candidate.name for candidate in SCENARIOS)}")
    return found


def run(chosen: Scenario, factor: float | None = None, prefix: Sequence[str] = ()) -> dict[str, Any]:
    """One run of the scenario, in fresh processes; `prefix` is put before the client's command."""
    factor = factor or chosen.factor
    epoch = time.time()
    with running(Setting(factor=factor, epoch=epoch, **chosen.setting), chosen.fleet) as remote:
        asked = {
            "factor": factor,
            "epoch": epoch,
            "seconds": INVOCATION_SECONDS,
            "invocations": chosen.invocations,
            "side_by_side": chosen.side_by_side,
            "address": remote.address,
        }
        done = subprocess.run(
            [*prefix, sys.executable, "-m", f"tools.bench.{chosen.client}", json.dumps(asked)],
            env=remote.environment(),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    return judged(chosen, factor, json.loads(done.stdout))


def judged(chosen: Scenario, factor: float, measured: dict[str, Any]) -> dict[str, Any]:
    """The measurements beside the least possible."""
    answered, throttled = sum(measured["answered"].values()), sum(measured["throttled"].values())
    made = answered + throttled
    created = sum(int(times) * volumes for times, volumes in measured["new_by_count"].items())
    windows = sorted(measured["windows"])
    errors = [error for error in measured["errors"] if not any(word in error for word in chosen.expected)]
    return {
        "name": chosen.name,
        "what": chosen.what,
        "volumes": chosen.volumes,
        "factor": factor,
        "floor": chosen.floor,
        "measured": round(measured["seconds"], 1),
        "ratio": round(measured["seconds"] / chosen.floor, 3) if chosen.floor else None,
        "most": chosen.most and round(chosen.most, 3),
        "calls": made,
        "least_calls": chosen.calls,
        "calls_ratio": chosen.calls and round(made / chosen.calls, 3),
        "most_calls": chosen.most_calls,
        "most_throttled": chosen.most_throttled,
        "throttled": round(throttled / made, 4),
        "created": created,
        "exactly_once": measured["new_by_count"] == {"1": chosen.volumes},
        "failed": len(errors) and measured["summary"].get("failed", len(errors)),
        "expected": len(measured["errors"]) - len(errors),
        "first_error": next(iter(errors), "")[:200],
        "invoked": measured["invoked"],
        "broken": chosen.broken,
        "window_median": windows[len(windows) // 2] if windows else None,
        "frozen_beyond": round(windows[len(windows) // 2] - ROUND_TRIP - Setting(1, 0).write_seconds, 3)
        if windows
        else None,
        "window_longest": windows[-1] if windows else None,
        "megabytes": round(measured["megabytes"]),
        "client_cpu": round(measured["client_cpu"], 2),
        "endpoint_cpu": round(measured["endpoint_cpu"], 2),
        "machine_cpu": round(measured["machine_cpu"], 2),
        "valid": max(measured["client_cpu"], measured["endpoint_cpu"]) <= VALID_CPU
        and measured["machine_cpu"] <= VALID_MACHINE,
        "answered": measured["answered"],
        "throttled_by": measured["throttled"],
        "refusals": measured["errors_by_code"],
    }


def misses(result: dict[str, Any]) -> list[str]:
    """A run's missed targets in words; empty if it meets all or has none."""
    if result["name"].startswith("loop-"):
        return []
    found = []
    if result["failed"]:
        found.append(f"{result['failed']} failed")
    if result.get("expected", 0) != result.get("broken", 0):
        found.append(f"{result['expected']} of {result['broken']} broken targets told")
    if not result["exactly_once"]:
        found.append(f"{result['created']} created for {result['volumes']} volumes")
    if result["most"] and result["ratio"] > result["most"]:
        found.append(f"more than {result['most']:.2f} times the floor")
    if result["most_calls"] and result["calls_ratio"] > result["most_calls"]:
        found.append(f"more than {result['most_calls']:.2f} times the calls")
    if result["most_throttled"] and result["throttled"] > result["most_throttled"]:
        found.append(f"more than {result['most_throttled']:.0%} throttled")
    # Many runs in one process do not show what each needs.
    if result["megabytes"] > MOST_MEGABYTES and not result.get("broken"):
        found.append(f"more than {MOST_MEGABYTES} MB")
    if result["frozen_beyond"] is not None and result["frozen_beyond"] > MOST_FROZEN:
        found.append(f"frozen {result['frozen_beyond']:.1f} s beyond the least")
    return found


def verdict(result: dict[str, Any]) -> str:
    """What `make bench` prints about a run; nothing if it has no targets."""
    missed = "; ".join(misses(result))
    if missed:
        return f"MISSED: {missed}"
    if not result["valid"]:
        return "invalid"
    return "met" if result["most"] or result["most_calls"] else ""


def main() -> None:
    factor = float(sys.argv[2]) if len(sys.argv) > 2 else None
    print(json.dumps(run(scenario(sys.argv[1]), factor), indent=1))


if __name__ == "__main__":
    main()
