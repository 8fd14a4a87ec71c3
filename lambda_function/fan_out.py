"""The run of the function's own account starts one for each other account and Region, before it begins its own work.

Lambda is the engine: each event has its own place in the queue, its own repetitions and its own failure. So a target
that is broken harms no other, and all are served at the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lambda_function.concurrency import in_parallel
from lambda_function.model import RunRequest
from lambda_function.targets import TargetSet


@dataclass(frozen=True)
class FanOut:
    """The targets whose runs were started, and in words those whose were not."""

    started: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()


def is_for_all_targets(request: RunRequest) -> bool:
    """Whether this event is about the targets too: it names no volumes, no target, and is no continuation."""
    return request.target is None and request.continuation == 0 and not request.volumes


def fan_out(
    request: RunRequest,
    event: Mapping[str, Any],
    targets: TargetSet,
    own: str,
    start: Callable[[dict[str, Any]], None],
) -> FanOut:
    """Start a run for every target but `own`, which the present run serves itself.

    Each gets the event with its own name, and the present run's `time`: one that begins when that slot is over fails,
    rather than serve the next slot and pass over this one.
    """
    failures = list(targets.faults)

    def begin(name: str) -> tuple[str, str | None]:
        try:
            start({**event, "time": request.time.isoformat(), "target": name})
        except Exception as error:
            # Whatever it was, the other targets must have their runs.
            return name, f"target {name}: its run could not be started, or that is not known: {error}"
        return name, None

    started = []
    for name, failure in in_parallel(begin, [name for name in targets.valid if name != own]):
        if failure is None:
            started.append(name)
        else:
            failures.append(failure)
    return FanOut(tuple(sorted(started)), tuple(sorted(failures)))
