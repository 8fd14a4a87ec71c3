"""What a run, or a check of hooks, is asked to do, and where."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from lambda_function.model.period import Period


@dataclass(frozen=True, slots=True)
class Target:
    """An account's Region that the function serves beside its own, and the role that lets it."""

    account: str
    region: str
    role: str
    external_id: str | None = None

    @property
    def name(self) -> str:
        """As events and reports call it."""
        return place_name(self.account, self.region)


def place_name(account: str, region: str) -> str:
    """An account's Region in one word."""
    return f"{account}/{region}"


@dataclass(frozen=True)
class RunRequest:
    """What one run is asked to do; `time` is the moment for which the plan is made (UTC).

    `continuation` is 0 for an event from outside, and counts the runs before it that ran out of time.
    `target` names the account and Region to serve; None for the function's own. `target_faults` are the faults that
    kept other targets from being started, for this run to report.
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
    """What one check of hooks is asked to cover; empty means all. `target` is as in `RunRequest`."""

    policies: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    target: str | None = None
