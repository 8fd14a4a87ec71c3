"""Whole runs before the throttled endpoint: each scenario, its floor, and what is compared with it.

`python -m tests.bench.throughput NAME` runs one and prints all that is known of it as JSON.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.throttled.remote import ROOT, Setting, running

INVOCATION_SECONDS = 900.0
BURST, REFILL = 100.0, 5.0
VALID_CPU = 0.7
"""More of a processor than this, in either process, and a figure is about the machine."""
VALID_MACHINE = 0.9
"""Likewise of all processors together: somebody else is at work."""

PENDING_CAP, PENDING_SECONDS = 100, 60.0
STAGE_SECONDS, ROUND_TRIP = 5.0, 2.0


@dataclass(frozen=True)
class Scenario:
    """`floor` is in seconds of service time; `most` what the measured time may be, as a multiple of it.

    `calls` is the least number of AWS calls, `most_calls` the multiple of that which is allowed.
    """

    name: str
    what: str
    fleet: dict[str, int]
    floor: float
    calls: int | None = None
    most: float | None = None
    most_calls: float | None = None
    setting: dict[str, Any] = field(default_factory=dict)
    factor: float = 8.0
    client: str = "invoked"
    invocations: int = 1

    @property
    def volumes(self) -> int:
        return self.fleet["volumes"] * max(self.fleet.get("instances", 0), 1)


def rate_floor(calls: int, left: float = 1.0) -> float:
    """Seconds that so many calls of one kind take at the published rate, or at what is left of it."""
    return max(0.0, (calls - BURST * left) / (REFILL * left))


def least_calls(volumes: int, copies: int = 1) -> int:
    """Pages of policies, volumes and snapshots; a create and a delete each."""
    return 1 + math.ceil(volumes / 500) + math.ceil(volumes * copies / 1000) + 2 * volumes


def turnover(volumes: int, **more: Any) -> Scenario:
    """A create and a delete for every volume."""
    given: dict[str, Any] = {
        "name": f"turnover-{volumes}",
        "what": f"{volumes:,} volumes: a create and a delete each",
        "most": 1.05 if volumes >= 1000 else None,
        "factor": 2.0 if volumes <= 100 else 4.0 if volumes <= 250 else 8.0,
        **more,
    }
    return Scenario(
        fleet={"volumes": volumes, "copies": 1}, floor=rate_floor(volumes), calls=least_calls(volumes), **given
    )


def plain_loop(volumes: int) -> Scenario:
    """The cron script's way."""
    return turnover(
        volumes,
        name=f"loop-{volumes}",
        what=f"{volumes:,} volumes, one call after another",
        client="sequential",
        factor=8.0,
        most=None,
    )


def pending(name: str, volumes: int, invocations: int) -> Scenario:
    """The cap on pending snapshots decides: the first hundred at once, then a hundred each minute."""
    waves = math.ceil(volumes / PENDING_CAP) - 1
    return Scenario(
        name=name,
        what=f"{volumes:,} volumes, at most {PENDING_CAP} pending for {PENDING_SECONDS:.0f} s each"
        + (f", in up to {invocations} invocations" if invocations > 1 else ""),
        fleet={"volumes": volumes, "copies": 0},
        floor=waves * PENDING_SECONDS,
        calls=1 + math.ceil(volumes / 500) + 1 + volumes,
        most=1 / 0.95,
        setting={"pending_cap": PENDING_CAP, "pending_seconds": PENDING_SECONDS},
        invocations=invocations,
    )


def hooks(instances: int) -> Scenario:
    """Every stage takes its seconds; as many instances are frozen at once as the code allows."""
    from lambda_function.concurrency import MAX_FREEZES  # noqa: PLC0415  # so that the other processes stay small

    write = Setting(1, 0).write_seconds
    one = 2 * (write + ROUND_TRIP + STAGE_SECONDS) + write
    return Scenario(
        name="hooks",
        what=f"{instances} instances, hooks of {STAGE_SECONDS:.0f} s a stage, {MAX_FREEZES} at once",
        fleet={"volumes": 1, "instances": instances},
        floor=math.ceil(instances / MAX_FREEZES) * one,
        most=1.2,
        setting={"stage_seconds": STAGE_SECONDS, "round_trip": ROUND_TRIP},
        factor=1.0,
    )


SERIES = (100, 250, 500, 1000)

SCENARIOS: tuple[Callable[[], Scenario], ...] = (
    *(lambda volumes=volumes: turnover(volumes) for volumes in SERIES),
    lambda: Scenario(
        name="copies",
        what="500 volumes x 7 copies, none to spare: a create and a delete each",
        fleet={"volumes": 500, "copies": 7, "keep": 7},
        floor=rate_floor(500),
        calls=least_calls(500, 7) - 1,  # as the floor is told everywhere: EC2's calls alone
        most_calls=1.02,
    ),
    lambda: pending("pending", 1500, 1),
    lambda: pending("chain", 4000, 10),
    lambda: Scenario(
        name="half",
        what="500 volumes, a create and a delete each, other tools using half of every bucket",
        fleet={"volumes": 500, "copies": 1},
        floor=rate_floor(500, 0.5),
        calls=least_calls(500),
        most=1 / 0.9,
        setting={"others": 0.5},
    ),
    lambda: hooks(200),
    *(lambda volumes=volumes: plain_loop(volumes) for volumes in SERIES),
)


def scenario(name: str) -> Scenario:
    made = {each.name: each for each in (make() for make in SCENARIOS)}
    if name not in made:
        raise SystemExit(f"no scenario {name}: choose from {', '.join(made)}")
    return made[name]


def run(chosen: Scenario, factor: float | None = None) -> dict[str, Any]:
    """One run of the scenario, in fresh processes."""
    factor = factor or chosen.factor
    epoch = time.time()
    with running(Setting(factor=factor, epoch=epoch, **chosen.setting), chosen.fleet) as remote:
        asked = {
            "factor": factor,
            "epoch": epoch,
            "seconds": INVOCATION_SECONDS,
            "invocations": chosen.invocations,
            "address": remote.address,
        }
        done = subprocess.run(
            [sys.executable, "-m", f"tests.bench.{chosen.client}", json.dumps(asked)],
            env=remote.environment(),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    return judged(chosen, factor, json.loads(done.stdout))


def judged(chosen: Scenario, factor: float, measured: dict[str, Any]) -> dict[str, Any]:
    """What was measured, beside what is the least."""
    answered, throttled = sum(measured["answered"].values()), sum(measured["throttled"].values())
    made = answered + throttled
    created = sum(int(times) * volumes for times, volumes in measured["new_by_count"].items())
    windows = sorted(measured["windows"])
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
        "throttled": round(throttled / made, 4),
        "created": created,
        "exactly_once": measured["new_by_count"] == {"1": chosen.volumes},
        "failed": len(measured["errors"]) and measured["summary"].get("failed", len(measured["errors"])),
        "first_error": next(iter(measured["errors"]), "")[:200],
        "invoked": measured["invoked"],
        "window_median": windows[len(windows) // 2] if windows else None,
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


def main() -> None:
    factor = float(sys.argv[2]) if len(sys.argv) > 2 else None
    print(json.dumps(run(scenario(sys.argv[1]), factor), indent=1))


if __name__ == "__main__":
    main()
