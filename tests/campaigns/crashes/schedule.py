"""A run's calls one after another in the calling thread, so that the k-th call is the same each time.

Used by the process that dies, too, where there is no pytest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

from lambda_function.model.result import ChangeResult
from lambda_function.plan.retention import PlannedChange
from lambda_function.run.prune import BATCH
from lambda_function.run.prune_queue import PruneQueue


def _one_by_one(function: Callable[[Any], Any], items: Sequence[Any], workers: int = 1) -> Iterator[Any]:
    return map(function, items)


class _Last(PruneQueue):
    """Changes after all creates."""

    def add(self, changes: Sequence[PlannedChange]) -> None:
        self._waiting += changes

    def finish(self) -> Iterator[ChangeResult]:
        while self._waiting:
            batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
            yield from self._apply(batch)


class _InTurn(_Last):
    """Changes that wait for none of the creates before those, the rest after all of them."""

    def flush(self) -> None:
        for result in super().finish():
            self._results.put(result)

    def finish(self) -> Iterator[ChangeResult]:
        yield from self.results()
        yield from super().finish()


class _First(PruneQueue):
    """A volume's changes as soon as they are known, between the creates."""

    def add(self, changes: Sequence[PlannedChange]) -> None:
        for result in self._apply(changes) if changes else ():
            self._results.put(result)

    def finish(self) -> Iterator[ChangeResult]:
        return self.results()


class AtOnce:
    """A thread that does its work when it is started: whoever starts one here waits for it."""

    def __init__(self, *, target: Callable[[], object], daemon: bool) -> None:
        self.start = target

    def join(self, timeout: float) -> None: ...

    def is_alive(self) -> bool:
        return False


SCHEDULES = {"changes last": _Last, "changes first": _First}
"""With which runs are killed at each call; "in turn" is for what only wants an order."""


@contextmanager
def in_one_thread(schedule: str) -> Iterator[None]:
    """Runs are made so while this lasts."""
    with ExitStack() as stack:
        for module in ("runner", "prune", "create", "create_frozen"):
            stack.enter_context(mock.patch(f"lambda_function.run.{module}.in_parallel", _one_by_one))
        stack.enter_context(mock.patch("lambda_function.deadline.threading", SimpleNamespace(Thread=AtOnce)))
        stack.enter_context(
            mock.patch("lambda_function.run.runner.PruneQueue", {**SCHEDULES, "in turn": _InTurn}[schedule])
        )
        yield
