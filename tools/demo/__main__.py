"""`python -m tools.demo [--hours N]`: exits 0 when every promise was kept, 1 when one was broken."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from unittest import mock

from lambda_function.model.period import Period
from tests.support.endpoint import Rules, endpoint
from tools.demo.fleet import HOOK_POLICIES, OWN_POLICY, Fleet
from tools.demo.promises import Ledger
from tools.demo.runs import Clock, deployed, invoke
from tools.demo.show import Show
from tools.demo.template import DOCUMENT, Rule, Template, read_template

START = datetime(2023, 12, 31, tzinfo=UTC)
"""A Sunday; the next midnight begins a day, a week, a month and a year."""

PENDING = timedelta(minutes=7)

AGENT_ROUND_TRIP = 0.4
"""Simulated seconds: to the instance, and back until its end is visible."""

DELIVERED_AGAIN = timedelta(hours=6, minutes=6)
"""After the start: EventBridge delivers at least once, so the hourly event comes twice."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.demo", description=__doc__)
    parser.add_argument("--hours", type=int, default=72, help="simulated hours (default 72, three days)")
    hours: int = parser.parse_args().hours
    began = time.monotonic()
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    template = read_template()
    clock = Clock(START - timedelta(hours=1))
    with _clean_environment(template), endpoint(Rules(clock=clock, pending_for=PENDING)) as (address, rules):
        fleet = Fleet(rules, START)
        show = Show(fleet.name_of)
        show.line(
            f"{hours} simulated hours, one by one: the real handler, driven by the template's rules and policies, "
            f"against an embedded AWS endpoint ({address}).",
            "bold",
        )
        show.line(
            "Two instances have hooks. Their SSM agents are simulated: no document runs here and nothing is frozen; "
            "what the function sends, waits for and concludes is real. `make test-system` runs the documents "
            "themselves, on real file systems and servers."
        )
        fleet.account.document(template.document, DOCUMENT)
        rules.agents.elapsed, rules.agents.round_trip = clock.monotonic, AGENT_ROUND_TRIP
        policies = _put_policies(fleet, template)
        ledger = Ledger(fleet, policies, clock)
        rules.create_interval = timedelta(seconds=15)
        with deployed(clock) as calls:
            simulate(hours, template, clock, fleet, ledger, show)
        clock.now = START + timedelta(hours=hours)
        show.account(ledger.holdings())
        show.untouchable(fleet.untouchable)
        broken = list(ledger.broken)
        if not calls["CreateSnapshots"]:
            broken.append("CreateSnapshots was never used")
        if not show.told_journal:
            broken.append("no freeze went well")
    for fault in broken:
        show.line(f"BROKEN: {fault}", "bold red")
    promise = f"{len(broken)} promises BROKEN" if broken else "Every promise kept"
    show.line(f"{promise}. {_told(calls)}; {time.monotonic() - began:.0f} s.", "bold red" if broken else "bold")
    return 1 if broken else 0


def simulate(hours: int, template: Template, clock: Clock, fleet: Fleet, ledger: Ledger, show: Show) -> None:
    """All rule firings and account events, in order of time."""
    upcoming = sorted(fleet.happenings, key=lambda happening: happening.moment)
    for moment, rule, again in firings(hours, template.rules):
        while upcoming and upcoming[0].moment <= moment:
            happening = upcoming.pop(0)
            clock.now = happening.moment
            happening.act()
            ledger.look()
            show.happening(happening.moment, happening.text)
        clock.now = moment
        run = invoke(rule.event, moment, again)
        ledger.note(run)
        show.run(run, in_full=moment < START + timedelta(hours=1))


def firings(hours: int, rules: tuple[Rule, ...]) -> Iterator[tuple[datetime, Rule, bool]]:
    """Each firing of a rule, minute by minute; True for the second delivery."""
    for minute in range(hours * 60):
        moment = START + timedelta(minutes=minute)
        yield from ((moment, rule, False) for rule in rules if rule.fires(moment))
        if moment == START + DELIVERED_AGAIN:
            yield from ((moment, rule, True) for rule in rules if rule.period == Period.HOUR)


def _put_policies(fleet: Fleet, template: Template) -> dict[str, str]:
    """Store the template's policies and the user's own; returns them by their short names."""
    path = template.environment["POLICIES_PATH"]
    name, value = OWN_POLICY
    hooked = {path + policy_name: text % template.document for policy_name, text in HOOK_POLICIES.items()}
    parameters = {**template.policies, path + name: value, **hooked}
    for parameter, content in parameters.items():
        fleet.account.ssm.put_parameter(Name=parameter, Value=content, Type="String")
    return {parameter.removeprefix(path): content for parameter, content in parameters.items()}


@contextmanager
def _clean_environment(template: Template) -> Iterator[None]:
    """The variables that the template sets, without AWS's or a proxy's from this machine."""
    with mock.patch.dict(os.environ):
        for name in list(os.environ):
            if name.upper().startswith("AWS_") or name.upper().endswith("_PROXY"):
                del os.environ[name]
        os.environ.update(template.environment, AWS_CONFIG_FILE=os.devnull, AWS_SHARED_CREDENTIALS_FILE=os.devnull)
        yield


def _told(calls: Counter[str]) -> str:
    return f"{calls.total()} AWS calls: " + ", ".join(f"{name} {count}" for name, count in calls.most_common())


if __name__ == "__main__":
    sys.exit(main())
