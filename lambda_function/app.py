"""Puts a run together from settings, clients and clock; the handler and the command line both use it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar

from lambda_function.accounts.dispatch import is_for_all_targets
from lambda_function.accounts.targets import Targets, target_failure
from lambda_function.aws.clients import Clients
from lambda_function.aws.ec2 import Ec2Ebs
from lambda_function.aws.parameter_store import ParameterStore
from lambda_function.aws.run_command import RunCommand
from lambda_function.deadline import Deadline
from lambda_function.errors import AwsError, RunFailedError
from lambda_function.inputs.settings import Settings
from lambda_function.interruption import Interruption
from lambda_function.model.request import HookCheckRequest, RunRequest
from lambda_function.model.result import Dispatch, HookCheckReport, RunReport
from lambda_function.ports import Observer
from lambda_function.run.context import RunContext, read_policies
from lambda_function.run.hook_check import check_hooks
from lambda_function.run.runner import run

Report = TypeVar("Report")


@dataclass(frozen=True)
class App:
    """Serves requests. `clients` are those of the function's own account and Region."""

    settings: Settings
    clients: Clients
    targets: Targets
    deadline: Deadline
    observer: Observer

    @classmethod
    def build(
        cls,
        settings: Settings,
        clients: Clients,
        targets: Targets,
        *,
        clock: Callable[[], datetime],
        time_left: Callable[[], float],
        observer: Observer,
        interruption: Interruption | None = None,
    ) -> App:
        """An app on the machine's clocks; `time_left` gives the seconds that remain.

        Without an `interruption` nothing interrupts its runs.
        """
        deadline = Deadline(time_left, time.sleep, time.monotonic, clock, interruption or Interruption())
        return cls(settings, clients, targets, deadline, observer)

    def is_for_targets(self, request: RunRequest) -> bool:
        """Whether the request is for every target, and not only for the function's own account and Region."""
        return self.settings.targets_path is not None and is_for_all_targets(request)

    def dispatch(self, request: RunRequest, event: Mapping[str, Any]) -> Dispatch:
        """Start a run for each target and the function's own account and Region.

        Raises ConfigurationError if every run would, and what starting the own run raises.
        """
        path, self_invoker = self.settings.targets_path, self.targets.self_invoker
        assert path is not None  # noqa: S101  # is_for_targets says so
        assert self_invoker is not None  # noqa: S101  # a shell dispatches nothing
        policies_path = self.settings.policies_path
        try:
            read_policies(request, ParameterStore(self.clients.ssm, policies_path), policies_path)
        except AwsError as error:
            self.observer.warning(f"policies were not checked before runs were started: {error}")
        return self.targets.dispatch(request, event, self.clients, path, self_invoker(), self.observer)

    def run(self, request: RunRequest) -> RunReport:
        """One run. Raises what `runner.run` raises, and RunFailedError if its target could not be served at all."""
        began = time.monotonic()
        report = self._serve(request.target, lambda context: run(request, context))
        return replace(report, duration_seconds=time.monotonic() - began)

    def check_hooks(self, request: HookCheckRequest) -> HookCheckReport:
        """One hook check. Raises what `run` does."""
        return self._serve(request.target, lambda context: check_hooks(request, context))

    def _serve(self, target_name: str | None, serve: Callable[[RunContext], Report]) -> Report:
        if target_name is None or self.targets.is_home(target_name):
            return serve(self._context(self.clients))
        target = self.targets.target(target_name, self.clients, self.settings)
        try:
            return serve(self._context(self.targets.clients_for(target, self.clients)))
        except AwsError as error:
            raise RunFailedError(target_failure(target, error)) from error

    def _context(self, clients: Clients) -> RunContext:
        """The context for these clients' account and Region; the policies are the function's own."""
        settings = self.settings
        return RunContext(
            policies=ParameterStore(self.clients.ssm, settings.policies_path),
            ebs=Ec2Ebs(clients, settings.keys),
            keys=settings.keys,
            policies_path=settings.policies_path,
            commands=RunCommand(clients, self.deadline),
            deadline=self.deadline,
            observer=self.observer,
        )
