"""Pruning beside creating: what is applied, when, and what happens when either breaks."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime

import pytest

from lambda_function.model.ec2 import Snapshot, SnapshotState
from lambda_function.model.result import Change, ChangeOutcome, ChangeResult
from lambda_function.plan.retention import PlannedChange
from lambda_function.run.prune import BATCH
from lambda_function.run.prune_queue import BATCH_WORTH_CHECKING, PruneQueue


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """Nothing is applied because a test took long."""
    monkeypatch.setattr("lambda_function.run.prune_queue.MOST_SECONDS", 3600)


def change(number):
    snapshot = Snapshot(
        f"snap-{number}", f"vol-{number}", datetime(2026, 3, 2, tzinfo=UTC), SnapshotState.COMPLETED, ("hour",)
    )
    return PlannedChange(snapshot, Change.DELETE, "why")


def changes(count, first=0):
    return [change(number) for number in range(first, first + count)]


MOST = 120
"""Seconds after which something has failed that is waited for here."""


class Changer:
    """Stands in for the one that calls EC2."""

    def __init__(self, error=None):
        self.batches = []
        self.began = threading.Event()
        self.error = error

    def apply(self, batch):
        self.batches.append([each.snapshot.id for each in batch])
        self.began.set()
        if self.error:
            raise self.error
        for each in batch:
            yield each.result(ChangeOutcome.DONE)


def ids(results):
    return [each.snapshot_id for each in results]


def test_enough_changes_for_a_recheck_are_applied_at_once():
    """Others are still to come."""
    changer = Changer()
    with PruneQueue(changer.apply) as stream:
        stream.add(changes(BATCH_WORTH_CHECKING))
        assert changer.began.wait(MOST)
        stream.add(changes(3, first=1000))
        results = list(stream.finish())
    assert ids(results) == [f"snap-{n}" for n in (*range(BATCH_WORTH_CHECKING), 1000, 1001, 1002)]
    assert len(changer.batches) == 2


def test_fewer_changes_wait_for_more_or_for_the_end():
    """Each recheck is a call."""
    changer = Changer()
    with PruneQueue(changer.apply) as stream:
        for number in range(BATCH_WORTH_CHECKING - 1):
            stream.add([change(number)])
        time.sleep(0.05)
        assert changer.batches == []
        assert list(stream.results()) == []
        assert len(list(stream.finish())) == BATCH_WORTH_CHECKING - 1
    assert len(changer.batches) == 1


def test_few_do_not_wait_for_ever_for_more(monkeypatch):
    monkeypatch.setattr("lambda_function.run.prune_queue.MOST_SECONDS", 0.02)
    changer = Changer()
    with PruneQueue(changer.apply) as stream:
        for first in (0, 1000):
            stream.add(changes(3, first))
            assert changer.began.wait(MOST), "though it is not said that nothing more comes"
            changer.began.clear()
        assert len(list(stream.finish())) == 6
    assert [len(batch) for batch in changer.batches] == [3, 3]


def test_what_is_flushed_waits_neither_for_more_nor_for_the_end():
    changer = Changer()
    with PruneQueue(changer.apply) as stream:
        stream.add(changes(BATCH + 2))
        stream.flush()
        taken: list[ChangeResult] = []
        deadline = time.monotonic() + MOST
        while len(taken) < BATCH + 2 and time.monotonic() < deadline:
            taken += stream.results()
        assert len(taken) == BATCH + 2
        stream.add(changes(2, first=1000))
        time.sleep(0.05)
        assert len(changer.batches) == 2, "what is added later waits as before"
        assert ids(stream.finish()) == ["snap-1000", "snap-1001"]


def test_no_batch_is_larger_than_one_recheck_can_read():
    changer = Changer()
    with PruneQueue(changer.apply) as stream:
        stream.add(changes(2 * BATCH + 1))
        assert len(list(stream.finish())) == 2 * BATCH + 1
    assert [len(batch) for batch in changer.batches] == [BATCH, BATCH, 1]


def test_without_changes_nothing_is_started():
    changer = Changer()
    with PruneQueue(changer.apply) as stream:
        stream.add([])
        assert list(stream.finish()) == []
    assert changer.batches == []


def test_results_can_be_taken_while_creates_go_on():
    changer = Changer()
    taken: list[ChangeResult] = []
    with PruneQueue(changer.apply) as stream:
        stream.add(changes(BATCH_WORTH_CHECKING))
        deadline = time.monotonic() + MOST
        while len(taken) < BATCH_WORTH_CHECKING and time.monotonic() < deadline:
            taken += stream.results()
        assert list(stream.finish()) == []
    assert len(taken) == BATCH_WORTH_CHECKING


def test_an_error_within_is_raised_at_the_end_not_swallowed():
    with PruneQueue(Changer(RuntimeError("a fault of our own")).apply) as stream:
        stream.add(changes(BATCH_WORTH_CHECKING))
        with pytest.raises(RuntimeError, match="a fault of our own"):
            list(stream.finish())


def test_when_the_run_breaks_what_was_not_begun_is_left_alone():
    changer = Changer()

    def broken():
        with PruneQueue(changer.apply) as stream:
            stream.add(changes(5))
            raise RuntimeError("the run broke")

    with pytest.raises(RuntimeError, match="the run broke"):
        broken()
    assert changer.batches == []
