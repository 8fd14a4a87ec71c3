"""Which policy a volume's tag selects, and why a volume is skipped: one decision for runs and `status`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum, auto

from lambda_function.errors import quoted
from lambda_function.inputs.policy import OPTED_OUT, Policy, PolicySet
from lambda_function.model.ec2 import Volume
from lambda_function.model.tags import TagKeys, near_miss, policy_named_by

USABLE_STATES = ("in-use", "available")


class Obstacle(Enum):
    """Why no policy applies to a volume."""

    MISSPELT_TAG = auto()
    UNKNOWN_POLICY = auto()
    FAULTY_POLICY = auto()
    OUTSIDE_POLICY = auto()
    OPTED_OUT = auto()


@dataclass(frozen=True, slots=True)
class Selection:
    """The policy that a volume's tag names; `obstacle` and `reason` if it does not apply."""

    policy_name: str | None
    policy: Policy | None = None
    obstacle: Obstacle | None = None
    reason: str = ""


def select(volume: Volume, policies: PolicySet, keys: TagKeys) -> Selection | None:
    """What the volume's tags select; None if no tag has the selecting key or nearly does."""
    name = policy_named_by(volume.tags, keys)
    if name is None:
        misspelt = near_miss(volume.tags, keys)
        if misspelt is None:
            return None
        # Whatever is not ASCII as an escape: an en dash looks like a dash.
        reason = f"its tag {json.dumps(misspelt)} selects nothing; the key is {keys.selection}"
        return Selection(None, None, Obstacle.MISSPELT_TAG, reason)
    if name == OPTED_OUT:
        return Selection(name, None, Obstacle.OPTED_OUT, f"opted out: its tag says {OPTED_OUT}")
    policy = policies.valid.get(name)
    if policy is None and name in policies.faulty:
        reason = f"policy {name} is faulty: nothing created, nothing deleted"
        return Selection(name, None, Obstacle.FAULTY_POLICY, reason)
    if policy is None:
        reason = f"its tag names {quoted(name)}, which is no policy{policies.suggestion(name)}"
        return Selection(name, None, Obstacle.UNKNOWN_POLICY, reason)
    reason = _outside(volume, policy)
    return Selection(name, policy, Obstacle.OUTSIDE_POLICY if reason else None, reason)


def _outside(volume: Volume, policy: Policy) -> str:
    if volume.state not in USABLE_STATES:
        return f"the volume is {volume.state}, not in-use or available"
    if policy.only_attached_vols and not volume.is_attached:
        return "the policy wants attached volumes only; this one is detached"
    return ""
