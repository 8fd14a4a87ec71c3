"""Fans a rule's event out: one run for each account and Region served, the function's own included.

Lambda queues, retries and fails each event on its own. So a broken target does not affect the others, a failure
retries only its own target, and all targets are served in parallel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lambda_function.inputs.targets import TargetSet
from lambda_function.model.request import RunRequest
from lambda_function.model.result import Dispatch
from lambda_function.parallel import in_parallel

MAX_TARGET_FAULTS = 20
"""Faults in the event for home; the rest are counted, and the log has all."""


def is_for_all_targets(request: RunRequest) -> bool:
    """Whether the event is for all targets: no dry run, no continuation, and not for one target or for volumes."""
    return request.target is None and request.continuation == 0 and not request.volumes and not request.dry_run


def fan_out(
    request: RunRequest,
    event: Mapping[str, Any],
    targets: TargetSet,
    own: str,
    start: Callable[[dict[str, Any]], None],
) -> Dispatch:
    """Start a run for every target, then one for `own`, which reports those that could not be started.

    Each gets the event with its own name and this event's `time`: a run that begins after that slot is over fails,
    rather than serve the next slot and skip this one. Raises what `start` raises for home, so that Lambda
    retries the event.
    """
    faults = list(targets.faults)
    moment = {"time": request.time.isoformat()}

    def begin(name: str) -> tuple[str, str | None]:
        try:
            start({**event, **moment, "target": name})
        except Exception as error:
            # Whatever the error, the other targets must have their runs.
            return name, f"target {name}: its run could not be started, or that is not known: {error}"
        return name, None

    started = []
    for name, fault in in_parallel(begin, [name for name in targets.valid if name != own]):
        if fault is None:
            started.append(name)
        else:
            faults.append(fault)
    faults.sort()
    more = [f"and {len(faults) - MAX_TARGET_FAULTS} more, each in the log"] if len(faults) > MAX_TARGET_FAULTS else []
    reported = {"target_faults": [*faults[:MAX_TARGET_FAULTS], *more]} if faults else {}
    start({**event, **moment, "target": own, **reported})
    return Dispatch(request, (own, *sorted(started)), tuple(faults))
