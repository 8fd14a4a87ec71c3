"""What a hook document is sent: the contract's parameters, those offered beyond it, and the policy's own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from lambda_function.errors import HookError
from lambda_function.ports import HookDocument

CONTRACT = ("command", "executionId")
OFFERED = ("period", "policy", "volumeIds", "volumeDevices", "snapshotIds", "notAfter", "timeoutSeconds")

# EC2 takes any text for a device name; a document's pattern would refuse the whole command for an odd one.
_DEVICE = re.compile(r"/dev/[a-z0-9]{1,16}")


class Stage(StrEnum):
    """The values of the document's parameter `command`."""

    PRE = "pre-script"
    POST = "post-script"
    DRY_RUN = "dry-run"


@dataclass(frozen=True)
class HookPlan:
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
    parameters: Mapping[str, list[str]] = field(default_factory=dict)


def check_parameters(plan: HookPlan) -> None:
    """Raise HookError when the document lacks the contract's parameters or does not declare the policy's."""
    declared = plan.document.parameters
    lacking = [name for name in CONTRACT if name not in declared]
    if lacking:
        raise HookError(f"document {plan.document.name} does not declare the parameter {' and '.join(lacking)}")
    reserved = [name for name in plan.parameters if name in (*CONTRACT, *OFFERED)]
    if reserved:
        raise HookError(f"hook_parameters must not set {', '.join(reserved)}: the run itself does")
    unknown = [name for name in plan.parameters if name not in declared]
    if unknown:
        raise HookError(f"hook_parameters: document {plan.document.name} does not declare {', '.join(unknown)}")


def parameters_for(
    plan: HookPlan,
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
