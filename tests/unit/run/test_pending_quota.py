"""Room under EC2's cap on pending snapshots: who is let in, and what refusals and counts teach."""

from __future__ import annotations

import threading

import pytest

from lambda_function.deadline import Deadline
from lambda_function.errors import OutOfTimeError
from lambda_function.run.pending_quota import REFUSED_SECONDS, TRY_AGAIN_SECONDS, PendingQuota
from tests.support.clock import Clock


class Full:
    """An account with `pending` snapshots, of which `cap` are allowed; `uncapped` ones are counted all the same."""

    def __init__(self, pending: int, cap: int = 10, uncapped: int = 0, seconds: float = 10_000) -> None:
        self.clock = Clock()
        self.pending = pending
        self.cap = cap
        self.uncapped = uncapped
        self.seconds = seconds
        self.counts = 0
        self.refusals = 0
        self.room = PendingQuota(self._count, self.deadline())

    def deadline(self) -> Deadline:
        return Deadline(
            lambda: self.seconds - self.clock.slept, self.clock.sleep, self.clock.elapsed, lambda: self.clock.now
        )

    def _count(self) -> int:
        self.counts += 1
        return self.pending + self.uncapped

    def create(self) -> bool:
        """One create, as a run makes it; whether it was accepted. Raises OutOfTimeError as the room does."""
        with self.room.taken(1, 0):
            if self.pending < self.cap:
                self.pending += 1
                return True
        self.refusals += 1
        self.room.refused(0)
        return False

    def believed(self) -> int:
        """How many would be pending if all that is let in were accepted."""
        self.cap, self.pending = 10_000, 0
        while not self.is_full():
            self.create()
        return self.pending + self.uncapped

    def is_full(self) -> bool:
        """Whether a create has to wait now."""
        self.seconds = self.clock.slept + 0.01
        try:
            with self.room.taken(1, 0):
                return False
        except OutOfTimeError:
            return True
        finally:
            self.seconds = 10_000


def test_nobody_waits_and_nothing_is_counted_before_a_refusal():
    account = Full(0, cap=50)
    assert all(account.create() for _ in range(50))
    assert (account.counts, account.clock.slept) == (0, 0)


def test_what_is_pending_at_the_first_refusal_is_the_cap():
    account = Full(0)
    while account.create():
        pass
    account.pending = 4
    assert [account.create() for _ in range(6)] == [True] * 6
    assert (account.refusals, account.clock.slept) == (1, REFUSED_SECONDS)


def test_a_cap_counted_too_small_grows_until_a_try_is_refused():
    """Then it stays as it is."""
    account = Full(10, cap=30)
    account.room.refused(0)  # it was full a moment ago
    assert account.create()
    accepted, counts = 1, account.counts
    while account.create():
        accepted += 1
    assert accepted == 20
    assert account.counts - counts < 10, "each try is of twice as many"
    assert account.is_full()
    assert account.believed() == 30


def test_a_try_costs_one_refusal_after_half_a_minute():
    """The count is trusted until then."""
    account = Full(10)
    account.room.refused(0)
    began = account.clock.slept
    assert not account.create()
    assert account.clock.slept - began >= TRY_AGAIN_SECONDS
    assert account.believed() == 10


def test_creates_refused_together_teach_no_more_than_one():
    account = Full(10)
    deadline = account.deadline()
    account.room.refused(0)
    account.clock.sleep(REFUSED_SECONDS)
    waits = iter(range(16))

    def all_at_once(seconds: float) -> None:
        """While one waits after its refusal the next one is refused."""
        if next(waits, None) is not None:
            account.room.refused(0)

    account.room._deadline = Deadline(deadline.time_left, all_at_once, deadline.elapsed, deadline.now)
    account.room.refused(0)
    account.room._deadline = deadline
    assert account.believed() == 9


def test_a_cap_that_was_counted_too_large_shrinks_by_refusals():
    """Pending copies, say, are counted, and have a cap of their own."""
    account = Full(10, uncapped=3)
    account.room.refused(0)
    account.uncapped = 0
    while account.refusals < 4:
        account.create()
    assert account.believed() == 10


def test_a_refusal_is_known_at_once_while_others_wait():
    """Behind the one who waits it would be known when room was found, and all of that room thought free."""
    account = Full(10)
    account.room.refused(0)
    deadline, waits, told = account.deadline(), threading.Event(), threading.Event()

    def sleep(seconds: float) -> None:
        if threading.current_thread() is waiter:
            waits.set()
            assert told.wait(120)
            account.pending = 0

    account.room._deadline = Deadline(deadline.time_left, sleep, deadline.elapsed, deadline.now)
    waiter = threading.Thread(target=account.create)
    waiter.start()
    assert waits.wait(120)
    account.room.refused(0)
    told.set()
    waiter.join(120)
    assert not waiter.is_alive()


def test_creates_under_way_are_subtracted_from_the_room():
    """They may not be counted yet: admitted once more, they would be refused, and a refusal costs seconds."""
    account = Full(10, seconds=100)
    account.room.refused(0)
    account.pending = 7
    with account.room.taken(3, 0), pytest.raises(OutOfTimeError), account.room.taken(1, 0):
        raise AssertionError("the three that are free are taken, although none of them is counted")
    account.clock.slept = 0
    with account.room.taken(3, 0):
        assert account.clock.slept == 0, "what was answered is only what is counted"


def test_a_set_larger_than_the_cap_passes_if_nothing_is_pending():
    account = Full(3, cap=3)
    account.room.refused(0)
    account.pending = 0
    with account.room.taken(5, 0):
        assert account.clock.slept == REFUSED_SECONDS


def test_whoever_waits_gives_up_while_its_reserve_is_left():
    account = Full(10, seconds=60)
    account.room.refused(0)
    with pytest.raises(OutOfTimeError), account.room.taken(1, 45):
        raise AssertionError("there is no room")
    assert account.seconds - account.clock.slept >= 45
