"""What a hook document is sent: the contract's parameters, those offered beyond it, and the policy's own."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property

from lambda_function.errors import HookError, quoted
from lambda_function.ports import CommandOutcome, HookDocument

CONTRACT = ("command", "executionId")
OFFERED = ("period", "policy", "volumeIds", "volumeDevices", "snapshotIds", "notAfter", "timeoutSeconds")

# EC2 takes any text for a device name; a document's pattern would refuse the whole command for an odd one.
_DEVICE = re.compile(r"/dev/[a-z0-9]{1,16}")

_WORD = 8
"""A value of a policy's parameter shorter than this is hidden only where it stands as a word: `on` is in much."""


class Stage(StrEnum):
    """The values of the document's parameter `command`."""

    PRE = "pre-script"
    POST = "post-script"
    DRY_RUN = "dry-run"


@dataclass(frozen=True)
class FreezePlan:
    """One freeze: which instances, with which document and parameters, for which volumes.

    `devices` are each instance's volumes with their device names, by which Xen knows them; `attached`
    says which of the instances have a volume, where not all of them do.
    """

    document: HookDocument
    instance_ids: tuple[str, ...]
    volume_ids: tuple[str, ...]
    policy: str
    period: str
    timeout_seconds: int
    devices: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    attached: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    parameters: Mapping[str, list[str]] = field(default_factory=dict, repr=False)

    def redact(self, text: str) -> str:
        """The text without values of the policy's own parameters: their names stand in their place.

        SSM's refusals quote values, and documents print them; who may read the log need not know them.
        """
        names = self._names_by_value
        if not names:
            return text
        longest_first = sorted(names, key=len, reverse=True)
        pattern = "|".join(
            re.escape(value) if len(value) >= _WORD else rf"(?<![\w-]){re.escape(value)}(?![\w-])"
            for value in longest_first
        )
        return re.sub(pattern, lambda found: f"(hook_parameters.{names[found[0]]})", text)

    def redact_outcome(self, outcome: CommandOutcome) -> CommandOutcome:
        """The outcome as it may be told: for the log, not for what is proved by it."""
        return replace(outcome, output=self.redact(outcome.output), error=self.redact(outcome.error))

    @cached_property
    def _names_by_value(self) -> dict[str, str]:
        """The parameter that each value belongs to; values also as Python and JSON write them in messages."""
        return {
            spelling: name
            for name, values in self.parameters.items()
            for value in values
            for spelling in (value, repr(value)[1:-1], json.dumps(value)[1:-1])
            if spelling.strip()
        }


def check_parameters(plan: FreezePlan) -> None:
    """Raise HookError when the document lacks the contract's parameters or does not declare the policy's."""
    declared = plan.document.parameters
    lacking = [name for name in CONTRACT if name not in declared]
    if lacking:
        raise HookError(f"document {plan.document.name} does not declare the parameter {' and '.join(lacking)}")
    reserved = [name for name in plan.parameters if name in (*CONTRACT, *OFFERED)]
    if reserved:
        raise HookError(f"hook_parameters must not set {_listed(reserved)}: the run itself does")
    unknown = [name for name in plan.parameters if name not in declared]
    if unknown:
        raise HookError(f"hook_parameters: document {plan.document.name} does not declare {_listed(unknown)}")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(quoted(name).strip('"') for name in names)


def parameters_for(
    plan: FreezePlan,
    stage: Stage,
    instance_id: str,
    execution_id: str,
    snapshot_ids: Sequence[str] = (),
    not_after: int | None = None,
) -> dict[str, list[str]]:
    """The parameters of one command; those beyond the contract only where the document declares them.

    An instance is told of its own volumes only.
    """
    volume_ids = [each for each in plan.volume_ids if instance_id in plan.attached.get(each, (instance_id,))]
    devices = plan.devices.get(instance_id, {})
    offered = {
        "period": plan.period,
        "policy": plan.policy,
        "volumeIds": ",".join(volume_ids),
        "volumeDevices": ",".join(
            f"{each}={devices[each]}" for each in volume_ids if _DEVICE.fullmatch(devices.get(each, ""))
        ),
        "snapshotIds": ",".join(snapshot_ids),
        "timeoutSeconds": str(plan.timeout_seconds),
        **({"notAfter": str(not_after)} if not_after is not None else {}),
    }
    declared = {name: [value] for name, value in offered.items() if name in plan.document.parameters and value}
    return {**plan.parameters, **declared, "command": [stage.value], "executionId": [execution_id]}
