"""A snapshot's description: what it says in words, and how ours are recognised.

Other tools copy a volume's tags onto their snapshots, but not a description.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from lambda_function.model.period import Period

MAX_DESCRIPTION = 255
"""Characters (EC2 API reference, CreateSnapshot)."""

_ADJECTIVES = "|".join(period.adjective.capitalize() for period in Period)
_OURS = re.compile(rf"(?:{_ADJECTIVES}) snapshot of (?:volume (?P<volume>\S+)|instance \S+), polic(?:y|ies) ")


def describe_volume(period: Period, volume_id: str, policy: str) -> str:
    """For a create of one volume."""
    return f"{period.adjective.capitalize()} snapshot of volume {volume_id}, policy {policy}"[:MAX_DESCRIPTION]


def describe_instance(period: Period, instance_id: str, policies: Iterable[str]) -> str:
    """For a set, all of whose snapshots get the one description."""
    names = sorted(set(policies))
    label = "policy" if len(names) == 1 else "policies"
    text = f"{period.adjective.capitalize()} snapshot of instance {instance_id}, {label} {', '.join(names)}"
    return text[:MAX_DESCRIPTION]


def is_our_description(description: str, volume_id: str) -> bool:
    """Whether the description is one of the above; a volume's names that volume."""
    found = _OURS.match(description)
    return found is not None and found["volume"] in (None, volume_id)
