"""Which of a volume's snapshots are ours, where other tools may have copied our tags: pure functions.

A volume restored with its snapshot's tags bears `AUTO-SNAPSHOT-PERIOD`, and every tool that copies a volume's tags puts
it on snapshots of its own. Descriptions are not copied.
"""

from __future__ import annotations

from collections.abc import Iterable

from lambda_function.model.ec2 import Snapshot, Volume
from lambda_function.model.tags import TagKeys


def stale_tags(volume: Volume, keys: TagKeys) -> str | None:
    """What to say of our snapshots' tags on the volume; None if it has none."""
    found = sorted(keys.written & volume.tags.keys())
    if not found:
        return None
    return (
        f"it bears {', '.join(found)}, as one restored with its snapshot's tags does, and other tools copy that: only "
        "snapshots with our description count; remove it from theirs first, then from the volume"
    )


def own_snapshots(volume: Volume, snapshots: Iterable[Snapshot], keys: TagKeys) -> list[Snapshot]:
    """Those of the volume's snapshots that a run may count and change.

    All of ours have our description. The cron script's have not, but name no policy and no set either; while the volume
    bears the period's tag as well, they cannot be told from copies.
    """
    is_stale = not keys.written.isdisjoint(volume.tags)
    copied_set = volume.tags.get(keys.set)

    def is_own(snapshot: Snapshot) -> bool:
        if not snapshot.has_our_description:
            return not (is_stale or snapshot.policy is not None or snapshot.set_id)
        # A stack with another key describes its snapshots as we do; the set that it copies is the volume's, if any.
        return not is_stale or snapshot.set_id not in (None, copied_set)

    return [snapshot for snapshot in snapshots if is_own(snapshot)]
