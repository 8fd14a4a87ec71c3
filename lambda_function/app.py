"""Puts a run together from environment, clients and clock; the handler and the shell command both use it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime

from lambda_function.clients import Clients
from lambda_function.ebs import Ec2Ebs
from lambda_function.event import parse_event
from lambda_function.hook_check import check_hooks
from lambda_function.model import HookCheckReport, HookCheckRequest, RunReport
from lambda_function.parameter_store import ParameterStore
from lambda_function.ports import Observer
from lambda_function.run_command import RunCommand
from lambda_function.runner import run
from lambda_function.settings import Settings
from lambda_function.surroundings import Surroundings
from lambda_function.time_budget import TimeBudget


def run_event(
    event: object,
    *,
    environ: Mapping[str, str],
    clients: Callable[[], Clients],
    clock: Callable[[], datetime],
    time_left: Callable[[], float],
    observer: Observer,
) -> RunReport | HookCheckReport:
    """One run, or one check of hooks, for one event, from the check of the settings to the report.

    `clients` is called only after settings and event were found to be in order. Raises what `run` raises.
    """
    began = time.monotonic()
    settings = Settings.from_env(environ)
    request = parse_event(event, clock())
    built = clients()
    budget = TimeBudget(time_left, time.sleep, time.monotonic, clock)
    around = Surroundings(
        policies=ParameterStore(built.ssm, settings.policies_path),
        ebs=Ec2Ebs(
            built.describing, built.creating, built.urgent, built.deleting, settings.keys, built.paces.hold_back_creates
        ),
        keys=settings.keys,
        policies_path=settings.policies_path,
        commands=RunCommand(built.ssm, budget),
        budget=budget,
        observer=observer,
    )
    if isinstance(request, HookCheckRequest):
        return check_hooks(request, around)
    report = run(request, around)
    return replace(report, duration_seconds=time.monotonic() - began)
