"""The parameters of a hook document: the contract's, optional extras, and the policy's own."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property

from lambda_function.errors import HookError, quoted
from lambda_function.escapes import escaped
from lambda_function.ports import CommandOutcome, HookDocument

CONTRACT = ("command", "executionId")
NO_EXECUTION = "None"
"""The contract's `executionId` for a dry run, of which no stage follows; some documents accept no other for it."""
OFFERED = ("period", "policy", "volumeIds", "volumeDevices", "snapshotIds", "notAfter", "timeoutSeconds")

# EC2 accepts any text as a device name and returns it as it was typed, `xvdf` too. One that a document's pattern
# rejects would fail the whole command.
_DEVICE = re.compile(r"(?:/dev/)?([a-z0-9]{1,16})")

_WORD = 8
"""A shorter value of a policy's parameter is redacted only as a whole word: `on` is part of many words."""


class Stage(StrEnum):
    """Values of the document parameter `command`."""

    PRE = "pre-script"
    POST = "post-script"
    DRY_RUN = "dry-run"


@dataclass(frozen=True)
class FreezePlan:
    """One freeze: its instances, document, parameters and volumes.

    `devices` maps each instance's volumes to device names, which identify them on Xen. `attached` maps
    a volume to its instances, if not all of them have it.
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
        """The text with values of the policy's own parameters replaced by their names.

        SSM's errors quote values and documents print them, but readers of the log need not know them.
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
        """The outcome for the log; what it proves is read from the original."""
        return replace(outcome, output=self.redact(outcome.output), error=self.redact(outcome.error))

    @cached_property
    def _names_by_value(self) -> dict[str, str]:
        """Parameter names by value; values also as Python, JSON and our own errors escape them in messages."""
        return {
            spelling: name
            for name, values in self.parameters.items()
            for value in values
            for spelling in (value, repr(value)[1:-1], json.dumps(value)[1:-1], escaped(value))
            if spelling.strip()
        }


def check_parameters(plan: FreezePlan) -> None:
    """Raise HookError if a required or policy parameter is undeclared, or the policy sets one of ours."""
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
    """The parameters of one command; those beyond the contract only if the document declares them.

    An instance gets only its own volumes.
    """
    volume_ids = [
        volume_id for volume_id in plan.volume_ids if instance_id in plan.attached.get(volume_id, (instance_id,))
    ]
    devices = plan.devices.get(instance_id, {})
    offered = {
        "period": plan.period,
        "policy": plan.policy,
        "volumeIds": ",".join(volume_ids),
        "volumeDevices": ",".join(
            f"{volume_id}=/dev/{device[1]}"
            for volume_id in volume_ids
            if (device := _DEVICE.fullmatch(devices.get(volume_id, "")))
        ),
        "snapshotIds": ",".join(snapshot_ids),
        "timeoutSeconds": str(plan.timeout_seconds),
        **({"notAfter": str(not_after)} if not_after is not None else {}),
    }
    declared = {name: [value] for name, value in offered.items() if name in plan.document.parameters and value}
    return {**plan.parameters, **declared, "command": [stage.value], "executionId": [execution_id]}
