"""Puts a run together from environment, clients and clock; the handler and the shell command both use it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, cast

from lambda_function.accounts.dispatch import is_for_all_targets
from lambda_function.accounts.targets import HOME_ONLY, Targets, target_failure
from lambda_function.aws.clients import Clients
from lambda_function.aws.ec2 import Ec2Ebs
from lambda_function.aws.parameter_store import ParameterStore
from lambda_function.aws.run_command import RunCommand
from lambda_function.deadline import Deadline
from lambda_function.errors import AwsError, RunFailedError
from lambda_function.inputs.event import parse_event
from lambda_function.inputs.settings import Settings
from lambda_function.model.request import HookCheckRequest, RunRequest
from lambda_function.model.result import Dispatch, HookCheckReport, RunReport
from lambda_function.ports import Observer
from lambda_function.run.context import RunContext, read_policies
from lambda_function.run.hook_check import check_hooks
from lambda_function.run.runner import run


def run_event(
    event: object,
    *,
    environ: Mapping[str, str],
    clients: Callable[[], Clients],
    targets: Targets,
    clock: Callable[[], datetime],
    time_left: Callable[[], float],
    observer: Observer,
) -> RunReport | HookCheckReport | Dispatch:
    """One run, one check of hooks, or the start of one run per target, from the check of the settings to the report.

    `clients` are those of the function's own account and Region, called only after settings and event were found to be
    in order. Raises what `run` raises, and RunFailedError where a target could not be served at all.
    """
    began = time.monotonic()
    settings = Settings.from_env(environ)
    request = parse_event(event, clock())
    own = clients()
    deadline = Deadline(time_left, time.sleep, time.monotonic, clock)
    service = _Service(request, own, settings, deadline, observer)
    if request.target is not None and not targets.is_home(request.target):
        target = targets.target(request.target, own, settings)
        try:
            report = service.by(targets.clients_for(target, own))
        except AwsError as error:
            raise RunFailedError(target_failure(target, error)) from error
    else:
        if settings.targets_path is not None and isinstance(request, RunRequest) and is_for_all_targets(request):
            if targets.self_invoker is not None:
                service.check_policies()
                given = cast("Mapping[str, Any]", event)  # as every event is that was found to be in order
                return targets.dispatch(request, given, own, settings.targets_path, targets.self_invoker(), observer)
            observer.warning(HOME_ONLY)
        report = service.by(own)
    return replace(report, duration_seconds=time.monotonic() - began) if isinstance(report, RunReport) else report


@dataclass(frozen=True)
class _Service:
    """What is asked for, to be done by any account's and Region's clients; the policies are the function's own."""

    request: RunRequest | HookCheckRequest
    own: Clients
    settings: Settings
    deadline: Deadline
    observer: Observer

    def check_policies(self) -> None:
        """Raises ConfigurationError where every run would; what cannot be read now is for each run to find."""
        path = self.settings.policies_path
        try:
            read_policies(self.request, ParameterStore(self.own.ssm, path), path)
        except AwsError as error:
            self.observer.warning(f"policies were not checked before runs were started: {error}")

    def by(self, clients: Clients) -> RunReport | HookCheckReport:
        settings = self.settings
        context = RunContext(
            policies=ParameterStore(self.own.ssm, settings.policies_path),
            ebs=Ec2Ebs(
                clients.reading,
                clients.creating,
                clients.urgent,
                clients.changing,
                settings.keys,
                clients.rate_limits.reserve_creates,
            ),
            keys=settings.keys,
            policies_path=settings.policies_path,
            commands=RunCommand(clients.ssm, clients.polling, self.deadline),
            deadline=self.deadline,
            observer=self.observer,
        )
        if isinstance(self.request, HookCheckRequest):
            return check_hooks(self.request, context)
        return run(self.request, context)
