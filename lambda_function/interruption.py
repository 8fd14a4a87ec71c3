"""Whether a signal has interrupted the run, and which instances are frozen meanwhile."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from lambda_function.errors import InterruptedRunError


class Interruption:
    """Set from a signal handler, read by all threads of a run.

    It has no lock: a handler that interrupts the thread which holds that lock would wait forever. Each step is one
    operation on an attribute or a dictionary, which Python does as a whole.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._has_begun = False
        self._held: dict[object, tuple[str, ...]] = {}

    @property
    def is_set(self) -> bool:
        """Whether the run is to begin nothing more."""
        return self._is_set

    @property
    def has_begun(self) -> bool:
        """Whether the run has read its plan and carries it out: only now is there anything to thaw or to report."""
        return self._has_begun

    @property
    def held(self) -> tuple[str, ...]:
        """The instances that are frozen, or may be, in order of their ids."""
        return tuple(sorted({instance_id for ids in list(self._held.values()) for instance_id in ids}))

    def begin(self) -> None:
        """The run begins to carry out its plan."""
        self._has_begun = True

    def set(self) -> None:
        """Begin nothing more."""
        self._is_set = True

    def check(self, what: str = "not begun") -> None:
        """Raise InterruptedRunError if the run was interrupted; `what` says what then becomes of the step."""
        if self._is_set:
            raise InterruptedRunError(f"{what}: the run was interrupted")

    @contextmanager
    def holding(self, instance_ids: Collection[str]) -> Iterator[None]:
        """Count the instances as frozen.

        Enter it before the last `check` that precedes the freeze. Then whoever has set the interruption sees in `held`
        every freeze that can still take place.
        """
        key = object()
        self._held[key] = tuple(instance_ids)
        try:
            yield
        finally:
            del self._held[key]
