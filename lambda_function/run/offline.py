"""Whether what was planned as `offline` still is when its create is sent.

A create may wait for minutes: for EC2's rate of five a second, or for the quota of pending snapshots. Meanwhile an
instance may be started, or a volume attached, and then something may be writing.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from lambda_function.errors import AwsError
from lambda_function.model.ec2 import Consistency, Instance, Volume
from lambda_function.plan.create_calls import CreateCall, consistency_of
from lambda_function.run.context import RunContext

MAX_AGE_SECONDS = 16.0
"""Age of what is known when a create goes to its client. There it waits for a token at most as long as sixteen threads
need at five a second, with freezes beside them or at a lower rate up to a minute."""

MOST_AT_ONCE = 120
"""Volumes looked at in one call: its filters take 200 values, of which the tag keys are some."""


class OfflineCheck:
    """Looks again at volumes that were planned as `offline`; safe to use from several threads.

    One look is for those whose turn it is and for the next that wait, so that a long run costs a few calls more.
    """

    def __init__(self, context: RunContext, calls: Iterable[CreateCall], read_at: float) -> None:
        self._context = context
        self._read_at = read_at
        self._lock = threading.Lock()
        self._waiting = dict.fromkeys(
            volume_id for call in calls if call.consistency is Consistency.OFFLINE for volume_id in call.volume_ids
        )
        # By volume: when it was looked at, and why it is not offline; None if it is.
        self._seen: dict[str, tuple[float, str | None]] = {}

    def checked(self, call: CreateCall) -> CreateCall:
        """The call as it can be sent now: as `crash`, with the reason, if something may be writing."""
        if call.consistency is not Consistency.OFFLINE:
            return call
        with self._lock:
            for volume_id in call.volume_ids:
                self._waiting.pop(volume_id, None)
            oldest = self._context.deadline.elapsed() - MAX_AGE_SECONDS
            if any(self._seen.get(volume_id, (self._read_at, None))[0] < oldest for volume_id in call.volume_ids):
                self._look([*call.volume_ids, *islice(self._waiting, MOST_AT_ONCE - len(call.volume_ids))])
            reasons = [self._seen[volume_id][1] for volume_id in call.volume_ids if volume_id in self._seen]
        reason = next((reason for reason in reasons if reason is not None), None)
        return call if reason is None else self._as_crash(call, reason)

    def _look(self, volume_ids: Sequence[str]) -> None:
        """Note what is so now. If it cannot be seen, nothing is `offline`: that word must be true."""
        at = self._context.deadline.elapsed()
        try:
            volumes = {volume.id: volume for volume in self._context.ebs.list_volumes(volume_ids)}
            ids = {instance_id for volume in volumes.values() for instance_id in volume.instance_ids}
            listed = self._context.ebs.list_instances(sorted(ids)) if ids else []
        except AwsError as error:
            self._seen.update(dict.fromkeys(volume_ids, (at, f"could not be looked at again: {error}")))
            return
        instances = {instance.id: instance for instance in listed}
        self._seen.update((each, (at, _why_not_offline(volumes.get(each), instances))) for each in volume_ids)

    def _as_crash(self, call: CreateCall, reason: str) -> CreateCall:
        word = f"; planned as offline, but {reason}"
        return replace(
            call,
            plans=tuple(
                plan if word in plan.reason else replace(plan, reason=plan.reason + word) for plan in call.plans
            ),
            consistency=Consistency.CRASH,
            tags={**call.tags, self._context.keys.consistency: Consistency.CRASH.value},
        )


def _why_not_offline(volume: Volume | None, instances: Mapping[str, Instance]) -> str | None:
    if volume is None:
        return "no longer found by its tag"
    if consistency_of(volume, instances) is Consistency.OFFLINE:
        return None
    states = [
        f"{instance_id} is {instances[instance_id].state if instance_id in instances else 'unknown'}"
        for instance_id in volume.instance_ids
    ]
    return f"{', '.join(states) or 'attached'} by now"
