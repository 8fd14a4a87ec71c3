"""Changes in parallel with creates: a volume is pruned once its own create is answered, not once all are.

EC2 limits deletions separately, so the two kinds of call need not wait for each other.
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
"""A recheck, which is a call, waits for this many changes, or this long, while more may come. The remainder at the
end is then deleted within EC2's burst of 100, or within half of it if other tools use the rest."""


class PruneQueue:
    """Applies added changes in order, at most BATCH at once, in a thread of its own.

    Use in a `with`: `add` changes as they become known, `flush` those that need not wait for others, read `results`
    now and then, `finish` at the end. Call all of them from one thread, so that one thread writes the run's report.
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
                # The run failed: leave alone what was not started.
                self._waiting.clear()
            self._is_complete = True
            self._changed.notify()
        self._pool.shutdown(wait=True)

    def add(self, changes: Sequence[PlannedChange]) -> None:
        """Queue changes; all of one volume in one call."""
        if not changes:
            return
        with self._changed:
            self._waiting += changes
            self._changed.notify()
        if self._work is None:
            self._work = self._pool.submit(self._apply_all)

    def flush(self) -> None:
        """Apply what was added so far, however little: a create may wait for the quota until time runs out."""
        with self._changed:
            self._pressing = len(self._waiting)
            self._changed.notify()

    def results(self) -> Iterator[ChangeResult]:
        """Those that are ready, without waiting."""
        while not self._results.empty():
            yield self._results.get()

    def finish(self) -> Iterator[ChangeResult]:
        """Accept no more changes; yield all remaining results as they complete."""
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
