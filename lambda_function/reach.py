"""How far the function reaches: its own account and Region, and the targets whose runs it starts or serves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from lambda_function.clients import Clients
from lambda_function.errors import AwsError, ConfigurationError
from lambda_function.fan_out import FanOut, fan_out
from lambda_function.model import RunReport, RunRequest, Target
from lambda_function.parameter_store import ParameterStore
from lambda_function.ports import Observer
from lambda_function.settings import Settings
from lambda_function.targets import TargetSet, parse_targets

_ONLY_OWN = "TARGETS_PATH is for the function: a shell serves the account and Region of its own credentials only"

_HINTS = (
    (("AssumeRole",), "is the member template deployed in that account, for this function's role and external id?"),
    (("AuthFailure", "OptInRequired", "UnrecognizedClientException"), "is the Region enabled in that account?"),
    (("EndpointConnectionError", "ConnectTimeoutError"), "is the Region's name right?"),
)
"""What to look at where AWS's own words do not say it, by operation or code."""


@dataclass(frozen=True)
class Reach:
    """`clients_in` gives a target's clients, by way of the function's own, or raises AwsError.

    `own` names the function's own account and Region, and `start` queues an event for the function; both are None in a
    shell, which has no queue.
    """

    clients_in: Callable[[Target, Clients], Clients]
    own: Callable[[], str] | None = None
    start: Callable[[dict[str, Any]], None] | None = None

    def target(self, name: str, own: Clients, settings: Settings) -> Target:
        """Raises ConfigurationError where there is none of this name, and AwsError where they cannot be read."""
        if settings.targets_path is None:
            raise ConfigurationError(f"target {name}: no targets are set up; see TARGETS_PATH")
        return _read(own, settings.targets_path).named(name)

    def start_targets(
        self, request: RunRequest, event: Mapping[str, Any], own: Clients, settings: Settings, observer: Observer
    ) -> FanOut:
        """Start the runs of all targets, where there are any. What fails is told at once: the own run may break."""
        if settings.targets_path is None:
            return FanOut()
        if self.own is None or self.start is None:
            observer.warning(_ONLY_OWN)
            return FanOut()
        try:
            outcome = fan_out(request, event, _read(own, settings.targets_path), self.own(), self.start)
        except AwsError as error:
            outcome = FanOut(failures=(f"no target is served: {settings.targets_path} could not be read: {error}",))
        for failure in outcome.failures:
            observer.failure(failure)
        return outcome


def with_targets(report: RunReport, outcome: FanOut) -> RunReport:
    """The own run's report with what came of the targets' start: no continuation of this run would start them."""
    return replace(
        report,
        targets=outcome.started,
        failures=(*outcome.failures, *report.failures),
        told_once=(*outcome.failures, *report.told_once),
    )


def target_failure(target: Target, error: AwsError) -> str:
    """Why a target could not be served at all, and what to look at."""
    hint = next((f" ({hint})" for known, hint in _HINTS if error.operation in known or error.code in known), "")
    return f"target {target.name}: {error}{hint}"


def _read(own: Clients, path: str) -> TargetSet:
    return parse_targets(ParameterStore(own.ssm, path).read(), path)
