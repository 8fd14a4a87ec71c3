"""The accounts and Regions the function serves: its own, and the targets whose runs it starts or serves."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lambda_function.accounts.dispatch import fan_out
from lambda_function.aws.clients import Clients
from lambda_function.aws.parameter_store import ParameterStore
from lambda_function.errors import AwsError, ConfigurationError
from lambda_function.inputs.settings import Settings
from lambda_function.inputs.targets import TargetSet, parse_targets
from lambda_function.model.request import RunRequest, Target
from lambda_function.model.result import Dispatch
from lambda_function.ports import Observer

logger = logging.getLogger(__name__)

HOME_ONLY = "TARGETS_PATH is for the function: a shell serves the account and Region of its own credentials only"

_HINTS = (
    (("AssumeRole",), "is the member template deployed in that account, for this function's role and external id?"),
    (("AuthFailure", "OptInRequired", "UnrecognizedClientException"), "is the Region enabled in that account?"),
    (("EndpointConnectionError", "ConnectTimeoutError"), "is the Region's name right?"),
)
"""What to check if AWS's message does not say it, by operation or code."""


@dataclass(frozen=True)
class SelfInvoker:
    """Invokes the function itself: `own` names its account and Region, `start` sends an event or raises AwsError."""

    own: str
    start: Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Targets:
    """`clients_for` builds a target's clients from the function's own, or raises AwsError.

    `self_invoker` is called only if there are targets; a shell has none.
    """

    clients_for: Callable[[Target, Clients], Clients]
    self_invoker: Callable[[], SelfInvoker] | None = None

    def is_home(self, name: str) -> bool:
        """Whether this target is the function's own account and Region, which need no role."""
        return self.self_invoker is not None and self.self_invoker().own == name

    def target(self, name: str, own: Clients, settings: Settings) -> Target:
        """The target. Raises ConfigurationError if none has this name, and AwsError if they cannot be read."""
        if settings.targets_path is None:
            raise ConfigurationError(f"target {name}: no targets are set up; see TARGETS_PATH")
        return _read(own, settings.targets_path).named(name)

    def dispatch(
        self,
        request: RunRequest,
        event: Mapping[str, Any],
        own: Clients,
        path: str,
        self_invoker: SelfInvoker,
        observer: Observer,
    ) -> Dispatch:
        """Start the runs of all targets under `path`, and the own one; faults are reported at once."""
        try:
            found = _read(own, path)
        except Exception as error:
            # Whatever the error, home must have its run, which reports it.
            if not isinstance(error, AwsError):
                logger.exception("unexpected while reading %s", path)
            found = TargetSet({}, (f"no target is served: {path} could not be read: {error}",))
        outcome = fan_out(request, event, found, self_invoker.own, self_invoker.start)
        for fault in outcome.target_faults:
            observer.failure(fault)
        return outcome


def target_failure(target: Target, error: AwsError) -> str:
    """Why a target could not be served at all, and what to check."""
    hint = next((f" ({hint})" for known, hint in _HINTS if error.operation in known or error.code in known), "")
    return f"target {target.name}: {error}{hint}"


def _read(own: Clients, path: str) -> TargetSet:
    return parse_targets(ParameterStore(own.ssm, path).read(), path)
