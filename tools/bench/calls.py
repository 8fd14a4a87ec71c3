"""AWS calls of whole runs on the embedded endpoint, beside the promised number; prints JSON."""

from __future__ import annotations

import json
import logging
import math
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.support.endpoint import Account, Rules, endpoint
from tools.demo.runs import Clock, Invocation, deployed, invoke

INSTANCES = 10
SINGLES = 20
SET_OF = 4
POLICIES = 25
PAGE = 25
START = datetime(2024, 1, 1, 0, 5, tzinfo=UTC)
KEY = "AUTO-SNAPSHOT"


@dataclass(frozen=True)
class Counted:
    """One run: what it did, what it called, and the formula's number."""

    name: str
    measured: int
    promised: int
    calls: dict[str, int]


def main() -> None:
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    clock = Clock(START - timedelta(hours=1))
    with endpoint(Rules(clock=clock, max_page=PAGE)):
        account = Account()
        for number in range(POLICIES):
            account.policy(f"POLICY-{number}", '{"hour": 2, "day": 5}')
        for number in range(INSTANCES + SINGLES):
            host = account.instance()
            for _ in range(SET_OF if number < INSTANCES else 1):
                account.volume({KEY: f"POLICY-{number % POLICIES}"}, host)
        volumes = INSTANCES * SET_OF + SINGLES
        results = []
        with deployed(clock) as calls:
            for name, moment, period in (
                ("first hour, all created", START, "hour"),
                ("the day, all shared", START + timedelta(minutes=10), "day"),
                ("second hour, all created", START + timedelta(hours=1), "hour"),
                ("third hour, created and released", START + timedelta(hours=2), "hour"),
                ("fourth hour, created and deleted", START + timedelta(hours=3), "hour"),
                ("fourth hour again, nothing due", START + timedelta(hours=3, minutes=5), "hour"),
            ):
                clock.now = moment
                listed = sum(_is_listed(snapshot, period) for snapshot in account.snapshots())
                calls.clear()
                run = invoke({"period": period}, moment)
                assert run.error is None, run.error
                results.append(_counted(name, run, calls, volumes, listed))
    print(json.dumps([vars(result) for result in results]))


def _is_listed(snapshot: dict[str, Any], period: str) -> bool:
    kept = snapshot["Tags"].get(f"{KEY}-PERIOD", "").split()
    return "hour" in kept or (period == "day" and "day" in kept)


def _counted(name: str, run: Invocation, calls: Counter[str], volumes: int, listed: int) -> Counted:
    """The formula: pages of policies, volumes, instances and snapshots; creates; changes; one recheck per 200 of those,
    and one look at locks per 200 deletions.

    EC2 answers 200 ids in one page; this endpoint's pages are smaller, so a recheck takes several here.
    """
    created = run.summary["created"]
    changes = len(run.changes)
    pages = math.ceil(POLICIES / 10) + math.ceil(volumes / PAGE) + max(1, math.ceil(listed / PAGE))
    instances = 1 if created else 0
    creates = INSTANCES + SINGLES if created else 0
    rechecks = math.ceil(changes / 200) * math.ceil(changes / PAGE)
    looks_at_locks = math.ceil(run.summary["deleted"] / 200)
    promised = pages + instances + creates + changes + rechecks + looks_at_locks
    return Counted(name, calls.total(), promised, dict(calls))


if __name__ == "__main__":
    main()
