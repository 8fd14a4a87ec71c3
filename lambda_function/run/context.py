"""What a run or hook check depends on, and its policies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from lambda_function.deadline import Deadline
from lambda_function.errors import ConfigurationError, OutOfTimeError, RunFailedError
from lambda_function.inputs.event import MAX_FAULTS
from lambda_function.inputs.policy import PolicySet, parse_policies
from lambda_function.model.request import HookCheckRequest, RunRequest
from lambda_function.model.tags import TagKeys
from lambda_function.output.summary import truncated_list
from lambda_function.ports import Commands, Ebs, Observer, PolicySource

READ_RESERVE_SECONDS = 20.0
"""What a run that reads too slowly needs to end with a report, before Lambda ends it without one."""

Read = TypeVar("Read")


@dataclass(frozen=True)
class RunContext:
    """The dependencies of a run; the composition roots assemble them."""

    policies: PolicySource
    ebs: Ebs
    keys: TagKeys
    policies_path: str
    commands: Commands
    deadline: Deadline
    observer: Observer


def read_in_time(context: RunContext, read: Callable[[], Read], undone: str) -> Read:
    """What `read` returns or raises; RunFailedError that says what was not done if there is no time for it."""
    try:
        return context.deadline.bounded(read, READ_RESERVE_SECONDS)
    except OutOfTimeError as error:
        raise RunFailedError(
            f"policies, volumes and snapshots could not all be read in the time there was, so nothing was {undone} "
            f"({error}); a larger MemorySize makes a run faster"
        ) from error


def read_policies(request: RunRequest | HookCheckRequest, source: PolicySource, path: str) -> PolicySet:
    """All policies. Raises ConfigurationError if none is valid or a requested one is unknown."""
    policies = parse_policies(source.read())
    if not policies.names:
        raise ConfigurationError(f"no policy under {path}: put one parameter per policy there, or set POLICIES_PATH")
    if not policies.valid:
        raise ConfigurationError(truncated_list("no policy is valid:", policy_faults(policies, ())))
    unknown = [name for name in request.policies if name not in policies.names]
    if unknown:
        known = ", ".join(sorted(policies.names))
        lines = [f'policy "{name}" does not exist{policies.suggestion(name)}' for name in unknown[:MAX_FAULTS]]
        more = [f"and {len(unknown) - MAX_FAULTS} more do not"] if len(unknown) > MAX_FAULTS else []
        raise ConfigurationError("; ".join(lines + more) + f" (under {path}: {known})")
    return policies


def policy_faults(policies: PolicySet, asked_for: Sequence[str]) -> list[str]:
    """The faults of the requested policies, or of all."""
    return [
        str(fault)
        for name, faults in sorted(policies.faulty.items())
        if not asked_for or name in asked_for
        for fault in faults
    ]
