"""Room under EC2's cap on pending snapshots: who is let in, and what refusals and counts teach."""

from __future__ import annotations

import threading

import pytest

from lambda_function.deadline import Deadline
from lambda_function.errors import OutOfTimeError
from lambda_function.run.pending_quota import POLL_SECONDS, PendingQuota
from lambda_function.run.quota_line import REFUSED_SECONDS, TRY_AGAIN_SECONDS, Claim
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
        claim = Claim(1)
        with self.room.taken(claim, 0):
            if self.pending < self.cap:
                self.pending += 1
                return True
        self.refusals += 1
        self.room.refused(claim, 0)
        return False

    def refuse(self) -> None:
        """A create is refused."""
        self.room.refused(Claim(1), 0)

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
            with self.room.taken(Claim(1), 0):
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
    account.refuse()  # it was full a moment ago
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
    account.refuse()
    began = account.clock.slept
    assert not account.create()
    assert account.clock.slept - began >= TRY_AGAIN_SECONDS
    assert account.believed() == 10


def test_creates_refused_together_teach_no_more_than_one():
    account = Full(10)
    deadline = account.deadline()
    account.refuse()
    account.clock.sleep(REFUSED_SECONDS)
    waits = iter(range(16))

    def all_at_once(seconds: float) -> None:
        """While one waits after its refusal the next one is refused."""
        if next(waits, None) is not None:
            account.refuse()

    account.room._deadline = Deadline(deadline.time_left, all_at_once, deadline.elapsed, deadline.now)
    account.refuse()
    account.room._deadline = deadline
    assert account.believed() == 9


def test_a_cap_that_was_counted_too_large_shrinks_by_refusals():
    """Pending copies, say, are counted, and have a cap of their own."""
    account = Full(10, uncapped=3)
    account.refuse()
    account.uncapped = 0
    while account.refusals < 4:
        account.create()
    assert account.believed() == 10


def test_a_refusal_is_known_at_once_while_others_wait():
    """Behind the one who waits it would be known when room was found, and all of that room thought free."""
    account = Full(10)
    account.refuse()
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
    account.refuse()
    told.set()
    waiter.join(120)
    assert not waiter.is_alive()


def test_creates_under_way_are_subtracted_from_the_room():
    """They may not be counted yet: admitted once more, they would be refused, and a refusal costs seconds."""
    account = Full(10, seconds=100)
    account.refuse()
    account.pending = 7
    with account.room.taken(Claim(3), 0), pytest.raises(OutOfTimeError), account.room.taken(Claim(1), 0):
        raise AssertionError("the three that are free are taken, although none of them is counted")
    account.clock.slept = 0
    with account.room.taken(Claim(3), 0):
        assert account.clock.slept == 0, "what was answered is only what is counted"


def test_those_that_wait_are_polled_for_by_one_and_served(account_of_three):
    """The two behind it pass the set that waits longest and does not fit."""
    account, line = account_of_three
    claims = [Claim(5, since=0.0), Claim(1, since=0.1), Claim(1, since=0.2)]
    threads = [threading.Thread(target=line.take, args=(claim,)) for claim in claims]
    for thread in threads:
        thread.start()
    for thread in threads[1:]:
        thread.join(120)
    assert line.served == {claims[1]: 1, claims[2]: 1}
    assert account.counts <= 3, "one count for all, or one for each that polls in another's place"
    account.pending = 0
    line.may_go_on.set()
    threads[0].join(120)
    assert line.served[claims[0]] == 5


def test_one_that_leaves_the_line_without_room_leaves_the_others(account_of_three):
    """The thread that polled ran out of time; another one polls in its place."""
    account, line = account_of_three
    account.pending = 10
    line.may_go_on.set()
    account.seconds = account.clock.slept + 20
    claims = [Claim(1), Claim(1)]
    threads = [threading.Thread(target=line.take, args=(claim,)) for claim in claims]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert line.served == {}
    assert line.out_of_time == 2
    assert account.counts <= 20 / POLL_SECONDS + 3


class Line:
    """Claims in threads of their own. A sleeping one waits for `may_go_on`, so that time stands while others act."""

    def __init__(self, account: Full) -> None:
        self._account = account
        self.may_go_on = threading.Event()
        self.served: dict[Claim, int] = {}
        self.out_of_time = 0
        deadline = account.deadline()

        def sleep(seconds: float) -> None:
            assert self.may_go_on.wait(120)
            deadline.sleep(seconds)

        account.room._deadline = Deadline(deadline.time_left, sleep, deadline.elapsed, deadline.now)

    def take(self, claim: Claim) -> None:
        try:
            with self._account.room.taken(claim, 0) as granted:
                self.served[claim] = granted
        except OutOfTimeError:
            self.out_of_time += 1


@pytest.fixture
def account_of_three():
    """An account with room for three, and those that wait for it."""
    account = Full(10, seconds=10_000)
    account.refuse()
    account.pending, account.counts = 7, 0
    return account, Line(account)


def test_whoever_waits_gives_up_while_its_reserve_is_left():
    account = Full(10, seconds=60)
    account.refuse()
    with pytest.raises(OutOfTimeError), account.room.taken(Claim(1), 45):
        raise AssertionError("there is no room")
    assert account.seconds - account.clock.slept >= 45
