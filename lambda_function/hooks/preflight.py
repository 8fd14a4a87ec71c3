"""What can be checked before a hook runs: each document once per run, instances in pages."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from lambda_function.errors import AccessRefusedError, AwsError, HookError
from lambda_function.hooks.command import FreezePlan, check_parameters
from lambda_function.model.period import Period
from lambda_function.plan.create_calls import FreezeGroup
from lambda_function.ports import Commands, HookDocument

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class HookReadiness:
    """Documents by name (or why one is unusable), unreachable instances with the reason, and platforms.

    `obstacle` is why no command at all may be sent.
    """

    documents: Mapping[str, HookDocument | str]
    unreachable: Mapping[str, str]
    platforms: Mapping[str, str]
    obstacle: str | None = None

    def plan(self, group: FreezeGroup, period: Period) -> FreezePlan:
        """The freeze for this group. Raises HookError if a check has failed."""
        if self.obstacle is not None:
            raise HookError(self.obstacle)
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
    if not groups:
        return HookReadiness(documents, {}, {})
    unreachable = _unreachable(commands, instance_ids)
    return HookReadiness(documents, unreachable, commands.platforms(), _obstacle(commands))


def _list(document: HookDocument) -> str:
    return " and ".join(sorted(document.platforms))


def _document(commands: Commands, name: str) -> HookDocument | str:
    try:
        return commands.describe_document(name)
    except (HookError, AwsError) as error:
        return str(error)


def _obstacle(commands: Commands) -> str | None:
    """A freeze whose end cannot be seen would last until its time-out."""
    try:
        commands.check_access()
    except AccessRefusedError as error:
        return str(error)
    except AwsError as error:
        logger.warning("commands could not be listed: %s", error)
    return None


def _unreachable(commands: Commands, instance_ids: Collection[str]) -> Mapping[str, str]:
    try:
        return commands.unreachable(instance_ids)
    except AwsError as error:
        return dict.fromkeys(instance_ids, f"could not be looked up: {error}")
