"""Runs whose observer remembers."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from lambda_function.model.period import Period
from lambda_function.model.request import RunRequest
from lambda_function.run.runner import run

HOUR = timedelta(hours=1)
HOOKED = '{"hour": 2, "hook_document": "DOC"}'
POLICIES = {"P": '{"hour": 1}', "D": '{"hour": 1, "day": 1}', "H": HOOKED}


class Heard:
    """An observer that remembers what it heard, in order."""

    def __init__(self):
        self.entries = []

    def __getattr__(self, name):
        return lambda *values: self.entries.append((name, *values))


def observed(cloud, period="hour", seconds=900, **fields):
    heard = Heard()
    request = RunRequest(Period(period), cloud.clock.now, **fields)
    report = run(request, replace(cloud._context(seconds), observer=heard))
    return report, heard.entries


def half_past(cloud):
    """Half an hour after the slot of the day began, with a fresh snapshot for the hour: one to be shared."""
    cloud.clock.now += HOUR / 2
    volume = cloud.volume(1, "D")
    shared = cloud.snapshot(volume, "hour", HOUR / 6, policy="D")
    old = cloud.snapshot(volume, "day", 30 * HOUR, policy="D")
    return volume, shared, old
