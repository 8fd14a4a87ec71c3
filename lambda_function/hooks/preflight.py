"""What can be checked before a hook runs: each document once per run, instances in pages."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from lambda_function.errors import AwsError, HookError
from lambda_function.hooks.command import FreezePlan, check_parameters
from lambda_function.model.period import Period
from lambda_function.plan.create_calls import FreezeGroup
from lambda_function.ports import Commands, HookDocument


@dataclass(frozen=True)
class HookReadiness:
    """Documents by name (or why one is unusable), unreachable instances with the reason, and platforms."""

    documents: Mapping[str, HookDocument | str]
    unreachable: Mapping[str, str]
    platforms: Mapping[str, str]

    def plan(self, group: FreezeGroup, period: Period) -> FreezePlan:
        """The freeze for this group. Raises HookError if a check has failed."""
        policy = group.policy
        document = self.documents[policy.hook_document or ""]
        if isinstance(document, str):
            raise HookError(document)
        plan = FreezePlan(
            document=document,
            instance_ids=group.instance_ids,
            volume_ids=tuple(plan.volume.id for plan in group.plans),
            policy=policy.name,
            period=period.value,
            timeout_seconds=policy.hook_timeout_seconds,
            devices=group.devices,
            attached={
                plan.volume.id: tuple(
                    instance_id for instance_id in plan.volume.instance_ids if instance_id in group.instance_ids
                )
                for plan in group.plans
            },
            parameters=policy.hook_parameters,
        )
        check_parameters(plan)
        for instance_id in group.instance_ids:
            if instance_id in self.unreachable:
                raise HookError(f"{instance_id} {self.unreachable[instance_id]}")
            platform = self.platforms.get(instance_id)
            if platform and document.platforms and platform not in document.platforms:
                # SSM would skip every step and report success: a freeze that froze nothing.
                raise HookError(f"{instance_id} runs {platform}, document {document.name} is for {_list(document)}")
        return plan


def preflight(commands: Commands, groups: Sequence[FreezeGroup]) -> HookReadiness:
    """Check these groups' documents and instances; failures are results, never exceptions."""
    names = {group.policy.hook_document or "" for group in groups}
    instance_ids = {instance_id for group in groups for instance_id in group.instance_ids}
    documents = {name: _document(commands, name) for name in sorted(names)}
    unreachable = _unreachable(commands, instance_ids) if instance_ids else {}
    return HookReadiness(documents, unreachable, commands.platforms())


def _list(document: HookDocument) -> str:
    return " and ".join(sorted(document.platforms))


def _document(commands: Commands, name: str) -> HookDocument | str:
    try:
        return commands.describe_document(name)
    except (HookError, AwsError) as error:
        return str(error)


def _unreachable(commands: Commands, instance_ids: Collection[str]) -> Mapping[str, str]:
    try:
        return commands.unreachable(instance_ids)
    except AwsError as error:
        return dict.fromkeys(instance_ids, f"could not be looked up: {error}")
