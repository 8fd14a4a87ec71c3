"""What a run or a hook check is asked to do, and where."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from lambda_function.model.period import Period


@dataclass(frozen=True, slots=True)
class Target:
    """Another account and Region that the function serves, and the role it assumes there."""

    account: str
    region: str
    role: str
    external_id: str | None = None

    @property
    def name(self) -> str:
        """The target's name in events and reports."""
        return place_name(self.account, self.region)


def place_name(account: str, region: str) -> str:
    """An account's Region in one word."""
    return f"{account}/{region}"


@dataclass(frozen=True)
class RunRequest:
    """What one run is asked to do; `time` is the moment for which the plan is made (UTC).

    `continuation` is the number of runs before it that ran out of time; 0 for an event from outside.
    `target` names the account and Region to serve; None for the function's own. `target_faults` say why other targets
    could not be started; this run reports them.
    """

    period: Period
    time: datetime
    dry_run: bool = False
    force: bool = False
    policies: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    continuation: int = 0
    target: str | None = None
    target_faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class HookCheckRequest:
    """What one hook check covers; empty means all. `target` is as in `RunRequest`."""

    policies: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    target: str | None = None
