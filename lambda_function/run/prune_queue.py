"""Changes beside the creates: a volume is pruned once its own create was answered, not when all are.

EC2 has an allowance of its own for deletions, so the two kinds of call need not wait for each other.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from lambda_function.model.result import ChangeResult
from lambda_function.plan.retention import PlannedChange
from lambda_function.run.prune import BATCH

BATCH_WORTH_CHECKING = 100
MOST_SECONDS = 10.0
"""Changes that are waited for before the recheck, while more may come, and for how long: each look is a call. What
waits at the end is then deleted within EC2's burst of 100, or within half of it where other tools use the rest."""


class PruneQueue:
    """Applies what is added, at most BATCH at once, in the order in which it was added, in one thread of its own.

    Within a `with`: `add` as changes become known, `flush` those that need not wait for others, take `results` now and
    then, `finish` at the end. All of them are called from one thread, so that the run's report has one author.
    """

    def __init__(self, apply: Callable[[Sequence[PlannedChange]], Iterable[ChangeResult]]) -> None:
        self._apply = apply
        self._waiting: list[PlannedChange] = []
        self._is_complete = False
        self._pressing = 0
        self._changed = threading.Condition()
        self._results: queue.SimpleQueue[ChangeResult] = queue.SimpleQueue()
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._work: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            if error is not None:
                # Whatever broke the run: what was not begun is left alone.
                self._waiting.clear()
            self._is_complete = True
            self._changed.notify()
        self._pool.shutdown(wait=True)

    def add(self, changes: Sequence[PlannedChange]) -> None:
        """These are to be applied; the changes of one volume in one call."""
        if not changes:
            return
        with self._changed:
            self._waiting += changes
            self._changed.notify()
        if self._work is None:
            self._work = self._pool.submit(self._apply_all)

    def flush(self) -> None:
        """What was added so far is applied now, however little: a create may wait for room until time is over."""
        with self._changed:
            self._pressing = len(self._waiting)
            self._changed.notify()

    def results(self) -> Iterator[ChangeResult]:
        """Those that are ready; waits for none."""
        while not self._results.empty():
            yield self._results.get()

    def finish(self) -> Iterator[ChangeResult]:
        """Nothing more is added: the results of all that is left, as they come."""
        with self._changed:
            self._is_complete = True
            self._changed.notify()
        while self._work is not None and not (self._work.done() and self._results.empty()):
            try:
                yield self._results.get(timeout=0.05)
            except queue.Empty:
                continue
        if self._work is not None:
            self._work.result()

    def _apply_all(self) -> None:
        while batch := self._next_batch():
            for result in self._apply(batch):
                self._results.put(result)

    def _next_batch(self) -> list[PlannedChange]:
        with self._changed:
            self._changed.wait_for(lambda: self._is_complete or len(self._waiting) > 0)
            self._changed.wait_for(
                lambda: self._is_complete or self._pressing > 0 or len(self._waiting) >= BATCH_WORTH_CHECKING,
                timeout=MOST_SECONDS,
            )
            batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
            self._pressing = max(0, self._pressing - len(batch))
            return batch
