"""What a push of policies would change, and which snapshots retention would then delete: pure functions.

The runs' own planning decides twice: under the stored policies and under those after the push. What only the second
deletes, the push causes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from lambda_function.errors import quoted
from lambda_function.inputs.policy import FIELDS, Parameter, Policy, PolicySet, parse_policy
from lambda_function.model.ec2 import Snapshot, SnapshotState, Volume
from lambda_function.model.period import Period
from lambda_function.model.request import RunRequest
from lambda_function.model.result import Change, Outcome
from lambda_function.model.tags import TagKeys
from lambda_function.plan.due import VolumePlan, plan_run
from lambda_function.plan.failed import plan_failed
from lambda_function.plan.retention import change_for, plan_prune


class Standing(StrEnum):
    """How a policy in the files compares with the stored one."""

    NEW = "new"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    UNREADABLE = "not to be compared"
    STAYS = "only in the store: stays"
    REMOVED = "only in the store: deleted by --prune"


@dataclass(frozen=True)
class PolicyChange:
    """One policy: its standing, and its differences in words, field by field."""

    name: str
    standing: Standing
    details: tuple[str, ...] = ()


def compare(files: Mapping[str, Policy], stored: Iterable[Parameter], *, prune: bool) -> list[PolicyChange]:
    """Every policy of both sides by name. An absent field equals its default."""
    parameters = {parameter.policy_name: parameter for parameter in stored}
    changes = []
    for name in sorted({*files, *parameters}):
        if name not in files:
            changes.append(PolicyChange(name, Standing.REMOVED if prune else Standing.STAYS))
        elif name not in parameters:
            given = files[name].model_dump(exclude={"name"}, exclude_defaults=True)
            details = tuple(f"{field}: {_shown(files[name], field)}" for field in given)
            changes.append(PolicyChange(name, Standing.NEW, details))
        else:
            changes.append(_compared(name, files[name], parameters[name]))
    return changes


def _compared(name: str, policy: Policy, parameter: Parameter) -> PolicyChange:
    if parameter.error is not None:
        return PolicyChange(name, Standing.UNREADABLE, (parameter.error,))
    present = parse_policy(parameter)
    if not isinstance(present, Policy):
        faults = tuple(f"replaces a faulty value: {fault}" for fault in present)
        return PolicyChange(name, Standing.CHANGED, faults)
    different = [field for field in FIELDS if getattr(policy, field) != getattr(present, field)]
    if not different:
        return PolicyChange(name, Standing.UNCHANGED)
    return PolicyChange(
        name,
        Standing.CHANGED,
        tuple(
            f"{field}: {'(SecureString, not shown)' if parameter.secure else _shown(present, field)}"
            f" -> {_shown(policy, field)}"
            for field in different
        ),
    )


def _shown(policy: Policy, field: str) -> str:
    value = getattr(policy, field)
    return "absent" if value is None else quoted(value)


def merged(stored: PolicySet, files: Mapping[str, Policy], removed: Collection[str]) -> PolicySet:
    """The policies as they would be stored after a push."""
    valid = {name: policy for name, policy in stored.valid.items() if name not in removed}
    faulty = {name: faults for name, faults in stored.faulty.items() if name not in removed and name not in files}
    return PolicySet({**valid, **files}, faulty)


@dataclass(frozen=True)
class Deletion:
    """A snapshot that a run would delete: the last period that keeps it, and why it is released."""

    snapshot: Snapshot
    period: Period
    reason: str


@dataclass(frozen=True)
class VolumeEffect:
    """A volume that the push brings under a policy, or takes out of one."""

    volume_id: str
    policy_name: str
    text: str


@dataclass(frozen=True)
class Effects:
    """The effects of a push. `due_anyway` counts the deletions that the stored policies cause already."""

    volumes: tuple[VolumeEffect, ...] = ()
    deletions: tuple[Deletion, ...] = ()
    due_anyway: int = 0


@dataclass(frozen=True)
class Comparison:
    """What a push would do to policies, and through them to volumes and snapshots."""

    policies: tuple[PolicyChange, ...]
    effects: Effects

    def names(self, *standings: Standing) -> list[str]:
        """The policies of these standings."""
        return [change.name for change in self.policies if change.standing in standings]


def affected(old: PolicySet, new: PolicySet, volumes: Iterable[Volume], keys: TagKeys, now: datetime) -> list[Volume]:
    """The volumes whose policy the push changes in any way."""
    changed = {
        name
        for name in old.names | new.names
        if old.valid.get(name) != new.valid.get(name) or (name in old.faulty) != (name in new.faulty)
    }
    request = RunRequest(Period.HOUR, now)
    return [plan.volume for plan in plan_run(request, old, volumes, (), keys).volumes if plan.policy_name in changed]


def predict_effects(
    old: PolicySet,
    new: PolicySet,
    volumes: Iterable[Volume],
    snapshots: Iterable[Snapshot],
    keys: TagKeys,
    now: datetime,
) -> Effects:
    """What the next runs of all periods delete under `new` and would not under `old`.

    Only existing snapshots count: a run that creates one first releases one more, with or without a push. A pending
    snapshot counts as completed, which it will be by the next runs.
    """
    fleet = list(volumes)
    held = [
        replace(snapshot, state=SnapshotState.COMPLETED) if snapshot.state is SnapshotState.PENDING else snapshot
        for snapshot in snapshots
    ]
    before, after = (_deletions(policies, fleet, held, keys, now) for policies in (old, new))
    caused = [deletion for snapshot_id, deletion in after.items() if snapshot_id not in before]
    return Effects(
        volumes=tuple(_volume_effects(old, new, fleet, keys, now)),
        deletions=tuple(
            sorted(
                caused,
                key=lambda deletion: (deletion.snapshot.volume_id, deletion.snapshot.start_time, deletion.snapshot.id),
            )
        ),
        due_anyway=len(before.keys() & after.keys()),
    )


def _deletions(
    policies: PolicySet, volumes: list[Volume], snapshots: Iterable[Snapshot], keys: TagKeys, now: datetime
) -> dict[str, Deletion]:
    """Deletions by all periods in turn: a snapshot is deleted when its last period releases it."""
    held = {snapshot.id: snapshot for snapshot in snapshots}
    gone: dict[str, Deletion] = {}
    for period in Period:
        plan = plan_run(RunRequest(period, now), policies, volumes, held.values(), keys)
        for volume_plan in plan.volumes:
            if volume_plan.rule is None:
                continue
            done = volume_plan.slot_snapshot if volume_plan.outcome is Outcome.ALREADY_DONE else None
            rule, known = volume_plan.rule, volume_plan.snapshots
            changes = plan_prune(rule, known, done.id if done else None)
            for planned in (*changes, *plan_failed(rule, volume_plan.failed, known)):
                snapshot = planned.snapshot
                if planned.change is Change.DELETE:
                    gone[snapshot.id] = Deletion(held.pop(snapshot.id), period, planned.reason)
                else:
                    held[snapshot.id] = replace(snapshot, periods=change_for(snapshot, period)[1])
    return gone


def _volume_effects(
    old: PolicySet, new: PolicySet, volumes: list[Volume], keys: TagKeys, now: datetime
) -> Iterable[VolumeEffect]:
    request = RunRequest(Period.HOUR, now)
    before, after = (plan_run(request, policies, volumes, (), keys).volumes for policies in (old, new))
    for was, will_be in zip(before, after, strict=True):
        if _is_covered(was) != _is_covered(will_be) or (was.policy is None) != (will_be.policy is None):
            yield VolumeEffect(was.volume.id, was.policy_name or "", _effect(was, will_be))


def _is_covered(plan: VolumePlan) -> bool:
    return plan.policy is not None and plan.outcome is not Outcome.OUTSIDE


def _effect(was: VolumePlan, will_be: VolumePlan) -> str:
    if _is_covered(will_be):
        return f"the policy applies to it from then on; until now: {was.reason}"
    return f"no more snapshots, and none deleted: {will_be.reason}"
