"""The scenarios of whole runs before the throttled endpoint, and what EC2's published limits allow at best."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from lambda_function.parallel import MAX_FREEZES
from tests.support.throttled.remote import Setting

BURST, REFILL = 100.0, 5.0
PENDING_CAP, PENDING_SECONDS = 100, 60.0
STAGE_SECONDS, ROUND_TRIP = 5.0, 2.0


@dataclass(frozen=True)
class Scenario:
    """`floor` is in seconds of service time; `most` what the measured time may be, as a multiple of it.

    `elsewhere` are volumes of other accounts and Regions, whose runs go on `side_by_side`; `broken` of those fail, and
    say one of the `expected` words. `calls` is the least number of AWS calls, `most_calls` the multiple of that which
    is allowed, and `most_throttled` the part of all calls that may be refused for their rate.
    """

    name: str
    what: str
    fleet: dict[str, int]
    floor: float
    calls: int | None = None
    most: float | None = None
    most_calls: float | None = None
    most_throttled: float | None = None
    setting: dict[str, Any] = field(default_factory=dict)
    factor: float = 8.0
    client: str = "invoked"
    invocations: int = 1
    side_by_side: bool = False
    elsewhere: int = 0
    expected: tuple[str, ...] = ()
    broken: int = 0

    @property
    def volumes(self) -> int:
        own = self.fleet["volumes"] * max(self.fleet.get("instances", 0), 1) + self.fleet.get("plain", 0)
        return own + self.elsewhere


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
        "most_throttled": 0.1 if volumes >= 1000 else None,
        # What Python takes counts by the factor: at 8, a second of listing and planning would be 8 of service time.
        "factor": 2.0,
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
        factor=4.0,  # it waits for every call, and the factor multiplies Python's time between two
        most=None,
        most_throttled=None,
    )


def pending(name: str, volumes: int, factor: float, invocations: int = 1, others: int = 0) -> Scenario:
    """The cap on pending snapshots decides: as many at once as the quota allows, then as many each minute.

    `others` is how many of the cap other tools hold all the time. A count of a hundred pending snapshots costs both
    processes some 80 ms together: at factor 8 that would be what is measured.
    """
    room = PENDING_CAP - others
    return Scenario(
        name=name,
        what=f"{volumes:,} volumes, at most {PENDING_CAP} pending for {PENDING_SECONDS:.0f} s each"
        + (f", {others} of them of other tools" if others else "")
        + (f", in up to {invocations} invocations" if invocations > 1 else ""),
        fleet={"volumes": volumes, "foreign_pending": others},
        floor=(math.ceil(volumes / room) - 1) * PENDING_SECONDS,
        calls=1 + math.ceil(volumes / 500) + 1 + volumes,
        most=1 / 0.95,
        setting={"pending_cap": PENDING_CAP, "pending_seconds": PENDING_SECONDS},
        invocations=invocations,
        factor=factor,
    )


def hooks(name: str, instances: int, plain: int = 0, factor: float = 1.0) -> Scenario:
    """Every stage takes its seconds; as many instances are frozen at once as the code allows.

    Meanwhile `plain` volumes use the same bucket's creates, which must not prolong a freeze.
    """
    write = Setting(1, 0).write_seconds
    one = 2 * (write + ROUND_TRIP + STAGE_SECONDS) + write
    return Scenario(
        name=name,
        what=f"{instances} instances, hooks of {STAGE_SECONDS:.0f} s a stage, {MAX_FREEZES} at once"
        + (f", beside {plain} volumes without" if plain else ""),
        fleet={"volumes": 1, "instances": instances, "plain": plain},
        floor=max(math.ceil(instances / MAX_FREEZES) * one, rate_floor(instances + plain)),
        most=1.2,
        setting={"stage_seconds": STAGE_SECONDS, "round_trip": ROUND_TRIP},
        factor=factor,
    )


def accounts_and_regions(accounts: int, regions: int, slowest: int) -> Scenario:
    """Each account's Region has its own buckets: serving all takes as long as the one with most volumes.

    The last account has no role, and the one before it lacks one Region.
    """
    in_each, broken = 5, regions + 1
    return Scenario(
        name="accounts",
        what=f"{accounts} accounts x {regions} Regions, {in_each} volumes each, {slowest} in one; "
        f"{broken} of them without role or not enabled",
        fleet={"volumes": in_each, "accounts": accounts, "in_each": in_each, "in_slowest": slowest},
        elsewhere=in_each * (accounts * regions - broken - 1) + slowest,
        floor=rate_floor(slowest),
        most=1.1,
        factor=0.1,  # the runs share a process and its 40 s of CPU, which are 82 machines' in Lambda
        side_by_side=True,
        expected=("AssumeRole: AccessDenied", "AuthFailure"),
        broken=broken,
    )


SCENARIOS = (
    turnover(1000),
    Scenario(
        name="copies",
        what="500 volumes x 7 copies, none to spare: a create and a delete each",
        fleet={"volumes": 500, "copies": 7, "keep": 7},
        floor=rate_floor(500),
        calls=least_calls(500, 7) - 1,  # as the floor is told everywhere: EC2's calls alone
        most_calls=1.02,
        factor=2.0,
    ),
    pending("pending", 1500, factor=1.0),
    pending("pending-shared", 300, factor=4.0, others=40),
    pending("chain", 4000, factor=4.0, invocations=11),
    Scenario(
        name="half",
        what="500 volumes, a create and a delete each, other tools using half of every bucket",
        fleet={"volumes": 500, "copies": 1},
        floor=rate_floor(500, 0.5),
        calls=least_calls(500),
        most=1 / 0.9,
        setting={"others": 0.5},
        factor=4.0,
    ),
    hooks("hooks", 200, factor=0.5),
    hooks("hooks-beside", 100, plain=400, factor=2.0),
    accounts_and_regions(20, 4, slowest=400),
    plain_loop(1000),
)
