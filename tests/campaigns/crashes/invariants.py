"""What a fault may cost at most, and what two nights must have in common, beside `tests/support/promises.py`."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from typing import Protocol

from lambda_function.model.result import RunReport
from tests.campaigns.crashes.deaths import Gate, Way
from tests.support.cloud import KEYS, Stored, Write
from tests.support.promises import Cloud, Run


class World(Cloud, Protocol):
    """A fleet, in memory or on the endpoint, as far as `night.py` needs it."""

    foreign: set[str]

    def copy_of_snapshots(self) -> dict[str, Stored]: ...
    def others_are_at_work(self, period: str) -> None: ...
    def attempt(self, period: str, gate: Gate, judge: Callable[[Write], None]) -> RunReport | None: ...


LISTINGS = ("read", "list_volumes", "list_snapshots", "list_failed")
PREPARING = ("list_instances", "describe_document", "unreachable", "check_access")


def check_price(fleet: World, run: Run, report: RunReport | None, gate: Gate) -> None:
    """A fault that the run can live with costs no report, and no other volumes than those it struck."""
    if gate.way is Way.EXIT:
        return
    if report is None:
        is_our_own = gate.way in (Way.UNEXPECTED, Way.UNEXPECTED_AFTER)
        assert gate.victim in LISTINGS or (is_our_own and gate.victim in PREPARING), "it cost the run its report"
        return
    if gate.victim != "count_pending":  # a freeze made vain by the cap, before the account was counted
        told = {each for hook in report.hooks if hook.steps for each in hook.instance_ids}
        frozen = {freeze.instance_id for freeze in run.account.freezes() if freeze.since >= run.began}
        assert frozen <= told, "it cost a freeze its journal"
    unserved = [v for v in run.account.due(run.period) if not run.account.serving(run, v, run.period)]
    if gate.way in (Way.RESENT, Way.RESENT_LATE):
        assert not report.failures, f"botocore sent it again, and yet {report.failures}"
    if gate.victim == "read_snapshots":
        # One look is for many: those that were to join are done again.
        assert all({"hour", "day"} <= _policy(fleet, each).keys() for each in unserved), unserved
    elif gate.victim in PREPARING:
        assert all(_policy(fleet, each).get("hook_on_failure") == "skip" for each in unserved), unserved
    else:
        jobs = {(v.tags[KEYS.selection], v.instance_ids or v.id) for v in map(fleet.volumes.__getitem__, unserved)}
        assert len(jobs) <= 1, f"it cost {unserved} their snapshot"


def _policy(fleet: World, volume_id: str) -> dict[str, object]:
    fields: dict[str, object] = json.loads(str(fleet.policies[fleet.volumes[volume_id].tags[KEYS.selection]]))
    return fields


def essence(fleet: World) -> dict[tuple[str, str], list[str]]:
    """By volume and word, the days or hours of which a snapshot is kept: what two worlds must have in common."""
    kept = defaultdict(list)
    for stored in sorted(fleet.snapshots.values(), key=lambda s: s.start_time):
        for word in stored.words:
            of_the_hour = stored.start_time.strftime("%Y-%m-%d %H" if word == "hour" else "%Y-%m-%d")
            kept[stored.volume_id, word].append(of_the_hour)
    return dict(kept)


def prospects(fleet: World) -> tuple[tuple[object, ...], ...]:
    """All that the runs of later slots can go by: two worlds that have it in common have one future."""
    found = [
        (s.volume_id, s.start_time.strftime("%Y-%m-%d %H"), s.tags.get(KEYS.period), s.failed, s.protected, s.lock)
        for s in sorted(fleet.snapshots.values(), key=lambda s: (s.volume_id, s.start_time, s.id))
    ]
    return tuple(found)
