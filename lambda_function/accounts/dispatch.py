"""Where several accounts and Regions are served, a rule's event is given on: to each of them, and to the own place.

Lambda is the engine: each event has its own place in the queue, its own repetitions and its own failure. So a target
that is broken harms no other, a failure of one repeats that one alone, and all are served at the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lambda_function.inputs.targets import TargetSet
from lambda_function.model.request import RunRequest
from lambda_function.model.result import Dispatch
from lambda_function.parallel import in_parallel

MAX_TARGET_FAULTS = 20
"""Faults that the own place's event carries; the rest are counted, and all are in the log."""


def is_for_all_targets(request: RunRequest) -> bool:
    """Whether this event is about the targets too: no plan, no continuation, and not for one target or for volumes."""
    return request.target is None and request.continuation == 0 and not request.volumes and not request.dry_run


def fan_out(
    request: RunRequest,
    event: Mapping[str, Any],
    targets: TargetSet,
    own: str,
    start: Callable[[dict[str, Any]], None],
) -> Dispatch:
    """Start a run for every target, and then one for `own`, which is told what could not be started.

    Each gets the event with its own name and the `time` of this one: a run that begins when that slot is over fails,
    rather than serve the next slot and pass over this one. Raises what `start` raises for the own place, so that the
    event is repeated.
    """
    faults = list(targets.faults)
    moment = {"time": request.time.isoformat()}

    def begin(name: str) -> tuple[str, str | None]:
        try:
            start({**event, **moment, "target": name})
        except Exception as error:
            # Whatever it was, the other targets must have their runs.
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
    told = {"target_faults": [*faults[:MAX_TARGET_FAULTS], *more]} if faults else {}
    start({**event, **moment, "target": own, **told})
    return Dispatch(request, (own, *sorted(started)), tuple(faults))
