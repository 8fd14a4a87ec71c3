from __future__ import annotations

import pytest

from lambda_function.change_stream import ChangeStream
from lambda_function.changes import BATCH


@pytest.fixture
def one_thread(monkeypatch):
    """Calls of a run one after another, so that a seed or a schedule decides and nothing else."""

    def one_by_one(function, items, workers=1):
        return map(function, items)

    class InTurn(ChangeStream):
        """Changes in the calling thread: before the creates what waits for none of them, the rest after all of them."""

        def add(self, changes):
            self._waiting += changes

        def flush(self):
            for result in self._apply_waiting():
                self._results.put(result)

        def finish(self):
            yield from self.results()
            yield from self._apply_waiting()

        def _apply_waiting(self):
            while self._waiting:
                batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
                yield from self._apply(batch)

    monkeypatch.setattr("lambda_function.runner.ChangeStream", InTurn)
    monkeypatch.setattr("lambda_function.runner.in_parallel", one_by_one)
    monkeypatch.setattr("lambda_function.changes.in_parallel", one_by_one)
    monkeypatch.setattr("lambda_function.hooked_creation.in_parallel", one_by_one)
