"""Plans create calls for the due volumes: one per instance if EC2 can express it.

`CreateSnapshots` snapshots all volumes of an instance at one instant, less the exclusions it allows
(the boot volume, up to 40 data volumes), and copies each volume's tags. If that does not fit, each
volume gets a call of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from lambda_function.inputs.policy import Policy
from lambda_function.model.description import describe_instance, describe_volume
from lambda_function.model.ec2 import HIBERNATED, STOPPED, Consistency, Instance, Volume
from lambda_function.model.period import Period
from lambda_function.model.tags import TagKeys, own_tags, set_can_copy, snapshot_tags
from lambda_function.plan.due import VolumePlan

MAX_EXCLUSIONS = 40
"""`InstanceSpecification.ExcludeDataVolumeIds` (EC2 API reference)."""

MAX_SET = 40
"""Volumes per set (EBS user guide, 2021; no larger figure is confirmed)."""


@dataclass(frozen=True)
class CreateCall:
    """One create call: a single volume, or the set of an instance's due volumes.

    `tags` are sent with the call: all tags for a single volume, only ours for a set, since EC2 copies each
    volume's own. `left_out` are the volume's tag keys that do not fit on a single snapshot. `notes` say why
    a volume planned as part of a set is created singly.
    """

    plans: tuple[VolumePlan, ...]
    consistency: Consistency
    description: str
    tags: Mapping[str, str]
    instance_id: str | None = None
    exclude_boot: bool = False
    exclude_data: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_set(self) -> bool:
        return self.instance_id is not None

    @property
    def volume_ids(self) -> tuple[str, ...]:
        return tuple(plan.volume.id for plan in self.plans)

    @property
    def tag_warnings(self) -> tuple[str, ...]:
        return (f"tags left out, no room: {', '.join(self.left_out)}",) if self.left_out else ()


@dataclass(frozen=True)
class FreezeGroup:
    """The scope of one freeze: the due volumes of one policy on an instance, and their create calls.

    Several instances only if volumes attached to more than one link them.
    """

    policy: Policy
    instance_ids: tuple[str, ...]
    calls: tuple[CreateCall, ...]
    devices: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def plans(self) -> tuple[VolumePlan, ...]:
        return tuple(plan for call in self.calls for plan in call.plans)

    @property
    def calls_under_freeze(self) -> tuple[CreateCall, ...]:
        """The calls without their notes: one freeze holds around all, so that a split costs nothing."""
        return tuple(replace(call, notes=()) for call in self.calls)


def plan_freezes(
    due: Sequence[VolumePlan], instances: Mapping[str, Instance], keys: TagKeys, period: Period
) -> tuple[list[FreezeGroup], list[VolumePlan]]:
    """The freezes that the due volumes need, and the volumes that need none.

    A volume needs none if its policy names no document, or if no instance could run it: those it is attached to are
    stopped, hibernated or not of this account. Of a hibernated one a freeze of the others would prove nothing.
    """
    plain: list[VolumePlan] = []
    found: dict[tuple[str, str], _Freeze] = {}
    for plan in due:
        states = _states(plan.volume, instances)
        writing = {instance_id for instance_id, state in states.items() if state != STOPPED}
        is_hooked = plan.policy is not None and plan.policy.hook_document is not None
        if plan.policy is None or not is_hooked or not writing or HIBERNATED in states.values():
            plain.append(plan)
            continue
        name = plan.policy.name
        freeze = _Freeze(plan.policy, set(writing), [plan])
        # A volume on several instances merges their groups into one.
        overlapping = (found.get((name, instance_id)) for instance_id in writing)
        for other in {id(group): group for group in overlapping if group}.values():
            freeze.instance_ids |= other.instance_ids
            freeze.members[:0] = other.members
        found.update(dict.fromkeys(((name, instance_id) for instance_id in freeze.instance_ids), freeze))
    groups = {id(freeze): freeze for freeze in found.values()}.values()
    return [freeze.group(instances, keys, period) for freeze in groups], plain


@dataclass
class _Freeze:
    """A group being built."""

    policy: Policy
    instance_ids: set[str]
    members: list[VolumePlan]

    def group(self, instances: Mapping[str, Instance], keys: TagKeys, period: Period) -> FreezeGroup:
        volume_ids = {plan.volume.id for plan in self.members}
        devices = {
            instance_id: {
                volume_id: device
                for volume_id, device in instances[instance_id].devices.items()
                if volume_id in volume_ids
            }
            for instance_id in self.instance_ids & instances.keys()
        }
        calls = tuple(plan_creates(self.members, instances, keys, period))
        return FreezeGroup(self.policy, tuple(sorted(self.instance_ids)), calls, devices)


def plan_creates(
    due: Sequence[VolumePlan], instances: Mapping[str, Instance], keys: TagKeys, period: Period
) -> list[CreateCall]:
    """The create calls for the due volumes, ordered by their first volume's id.

    `instances` are those that could be described; a volume whose instance is not among them is created
    singly, and so is one whose last snapshot failed, since it would turn the whole set to `error`. Every volume is in
    exactly one call. Volumes of one instance that cannot be one call have a note that says why, since then they are
    not of one instant.
    """
    by_instance: dict[str, list[VolumePlan]] = defaultdict(list)
    calls: list[CreateCall] = []
    for plan in due:
        attached_to = plan.volume.instance_ids
        if len(attached_to) == 1 and attached_to[0] in instances and plan.last_failed is None:
            by_instance[attached_to[0]].append(plan)
        else:
            calls.append(single(plan, instances, keys, period))
    for instance_id, members in by_instance.items():
        instance = instances[instance_id]
        why_not = _why_no_set(members, instance) if len(members) > 1 else None
        if len(members) > 1 and why_not is None:
            together = _set(members, instance, keys, period)
            untaggable = [p.volume.id for p in members if not set_can_copy(p.volume.tags, together.tags, keys)]
            if not untaggable:
                calls.append(together)
                continue
            why_not = f"not as a set: EC2 cannot copy the tags of {', '.join(untaggable)} (too many, or our keys)"
        calls.extend(single(plan, instances, keys, period, why_not) for plan in members)
    return sorted(calls, key=lambda call: call.volume_ids)


def single(
    plan: VolumePlan, instances: Mapping[str, Instance], keys: TagKeys, period: Period, note: str | None = None
) -> CreateCall:
    """The create call for one volume, with a note if it was planned as part of a set."""
    consistency = consistency_of(plan.volume, instances)
    own = own_tags(keys, period, consistency, plan.volume.instance_ids)
    notes = (note,) if note else ()
    tags, left_out = snapshot_tags(plan.volume.tags, own, keys)
    description = describe_volume(period, plan.volume.id, plan.policy_name or "")
    return CreateCall((plan,), consistency, description, tags, left_out=left_out, notes=notes)


def _why_no_set(members: Sequence[VolumePlan], instance: Instance) -> str | None:
    """Why one call cannot take just these volumes of the instance; None if it can."""
    wanted = {plan.volume.id for plan in members}
    if not wanted <= instance.volume_ids:
        return f"not as a set: {', '.join(sorted(wanted - instance.volume_ids))} came or went meanwhile"
    if len(wanted) > MAX_SET:
        return f"not as a set: {len(wanted)} volumes, and EC2 takes {MAX_SET} in one call"
    excluded = len(_excluded_data(wanted, instance))
    if excluded > MAX_EXCLUSIONS:
        return f"not as a set: {excluded} volumes of {instance.id} to leave out, and EC2 takes {MAX_EXCLUSIONS}"
    return None


def _excluded_data(wanted: Collection[str], instance: Instance) -> frozenset[str]:
    return instance.volume_ids.difference(wanted, (instance.root_volume_id or "",))


def _set(members: list[VolumePlan], instance: Instance, keys: TagKeys, period: Period) -> CreateCall:
    consistency = Consistency.OFFLINE if instance.state == STOPPED else Consistency.CRASH
    own = own_tags(keys, period, consistency, (instance.id,))
    wanted = {plan.volume.id for plan in members}
    exclude_boot = instance.root_volume_id is not None and instance.root_volume_id not in wanted
    return CreateCall(
        plans=tuple(members),
        consistency=consistency,
        description=describe_instance(period, instance.id, (plan.policy_name or "" for plan in members)),
        tags=own,
        instance_id=instance.id,
        exclude_boot=exclude_boot,
        exclude_data=tuple(sorted(_excluded_data(wanted, instance))),
    )


def consistency_of(volume: Volume, instances: Mapping[str, Instance]) -> Consistency:
    """OFFLINE only if nothing can be writing: detached, or every instance is known to be stopped."""
    states = set(_states(volume, instances).values())
    is_offline = states == {STOPPED} or not volume.is_attached
    return Consistency.OFFLINE if is_offline else Consistency.CRASH


def _states(volume: Volume, instances: Mapping[str, Instance]) -> dict[str, str]:
    """By instance that the volume is attached to."""
    return {
        instance_id: instances[instance_id].state if instance_id in instances else "unknown"
        for instance_id in volume.instance_ids
    }
