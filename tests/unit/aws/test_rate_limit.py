"""Calls no faster than EC2 allows: the bucket as it is believed to be, by a clock of the test's own."""

from __future__ import annotations

import threading

import pytest

from lambda_function.aws.rate_limit import BURST, CREATES_PER_SECOND, SLOWEST, RateLimits, TokenBucket
from lambda_function.errors import InterruptedRunError
from lambda_function.interruption import Interruption


class Clock:
    def __init__(self):
        self.now = 1000.0
        self.slept = 0.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        assert seconds > 0
        self.slept += seconds
        self.now += seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def pace(clock):
    return TokenBucket(5.0, clock, clock.sleep)


EC2_BURST = 100.0


def take(pace, count, **how):
    for _ in range(count):
        pace.take(**how)


def test_the_burst_is_free_and_the_rest_waits_for_the_refill(pace, clock):
    take(pace, int(BURST))
    assert clock.slept == 0
    take(pace, 900)
    assert clock.slept == pytest.approx(900 / CREATES_PER_SECOND, rel=0.001)


def test_an_idle_bucket_fills_up_to_the_burst_and_no_further(pace, clock):
    take(pace, int(BURST))
    clock.now += 3600
    take(pace, int(BURST))
    assert clock.slept == 0
    pace.take()
    assert clock.slept > 0


def test_held_tokens_are_for_urgent_calls(pace, clock):
    with pace.held(40, clock.sleep):
        take(pace, int(BURST) - 40)
        assert clock.slept == 0
        take(pace, 40, urgent=True)
        assert clock.slept == 0
        pace.take()
        assert clock.slept == pytest.approx(1 / 5)


def test_unused_held_tokens_are_for_all_again(pace, clock):
    with pace.held(40, clock.sleep):
        take(pace, int(BURST) - 40)
        take(pace, 10, urgent=True)
    take(pace, 30)
    assert clock.slept == 0
    pace.take()
    assert clock.slept > 0


def test_tokens_are_held_before_they_are_needed(pace, clock):
    """Whoever is frozen waits for none; whoever will be does, and calls that are not urgent wait behind."""
    take(pace, int(BURST))
    order = []

    def wait(seconds):
        clock.sleep(seconds)
        if not pace._takes(1, urgent=False):
            order.append("others wait")

    with pace.held(10, wait):
        slept = clock.slept
        assert slept == pytest.approx(2.0, rel=0.01)
        take(pace, 10, urgent=True)
        assert clock.slept == slept
    assert order


def test_an_urgent_call_without_a_held_token_takes_any(pace, clock):
    """A second attempt, for instance."""
    take(pace, 1, urgent=True)
    assert clock.slept == 0


def test_more_than_the_burst_can_be_asked_for(pace, clock):
    with pace.held(1000, clock.sleep):
        take(pace, int(BURST), urgent=True)
    assert clock.slept == 0


def test_one_freeze_that_ends_leaves_others_their_tokens(pace, clock):
    with pace.held(5, clock.sleep):
        with pace.held(10, clock.sleep):
            take(pace, 10, urgent=True)
        take(pace, int(BURST) - 15)
        take(pace, 5, urgent=True)
        assert clock.slept == 0


def test_a_wait_for_tokens_that_is_given_up_leaves_nothing_held(pace, clock):
    take(pace, int(BURST))

    def give_up(seconds):
        raise TimeoutError

    with pytest.raises(TimeoutError), pace.held(5, give_up):
        pass
    pace.take()
    assert clock.slept == pytest.approx(1 / 5)


def test_a_refusal_takes_held_tokens_too(pace, clock):
    """They were never there."""
    with pace.held(40, clock.sleep):
        pace.refused()
        take(pace, 1, urgent=True)
        assert clock.slept > 0


def test_a_refusal_empties_the_bucket_and_slows_the_pace(pace, clock):
    pace.refused()
    pace.take()
    assert clock.slept == pytest.approx(1 / 4, rel=0.05)


def test_refusals_of_calls_under_way_together_count_once(pace, clock):
    for _ in range(16):
        pace.refused()
    pace.take()
    assert clock.slept == pytest.approx(1 / 4, rel=0.05)


def test_the_rate_never_falls_below_its_minimum(pace, clock):
    """It rises to the published rate again."""
    for _ in range(100):
        clock.now += 1
        pace.refused()
    pace.take()
    assert clock.slept <= 1 / (5 * SLOWEST) + 0.01
    clock.now += 200
    take(pace, int(BURST))
    before = clock.slept
    take(pace, 50)
    assert clock.slept - before == pytest.approx(10, rel=0.01)


@pytest.mark.parametrize(("share", "most_refused"), [(0.5, 0.1), (0.2, 0.2)])
def test_most_of_a_shared_bucket_is_used_and_few_calls_refused(clock, pace, share, most_refused):
    """Others use the bucket too."""
    # EC2's own bucket, of which this one believes to have all.
    tokens, seen, refused, made = EC2_BURST * share, clock.now, 0, 0
    began = clock.now
    while made < 500:
        pace.take()
        tokens, seen = min(EC2_BURST * share, tokens + (clock.now - seen) * 5 * share), clock.now
        if tokens >= 1:
            tokens -= 1
            made += 1
        else:
            refused += 1
            pace.refused()
    least = (500 - EC2_BURST * share) / (5 * share)
    assert clock.now - began < least * 1.11
    assert refused / (made + refused) < most_refused


@pytest.fixture
def interruption():
    return Interruption()


@pytest.fixture
def interruptible(clock, interruption):
    rate_limits = RateLimits.at(clock, clock.sleep)
    rate_limits.interrupt_by(interruption.check)
    return rate_limits


def test_an_interruption_ends_the_wait_for_a_token(clock, interruption):
    def sleep(seconds):
        clock.sleep(seconds)
        interruption.set()

    rate_limits = RateLimits.at(clock, sleep)
    rate_limits.interrupt_by(interruption.check)
    take(rate_limits.create, int(BURST))
    with pytest.raises(InterruptedRunError, match="not sent, or not sent again"):
        rate_limits.create.take()
    assert 0 < clock.slept <= 1


@pytest.mark.parametrize("api", ["create", "create_set", "delete"])
def test_an_interrupted_run_takes_no_token(interruptible, interruption, api):
    """But for what is frozen."""
    bucket = getattr(interruptible, api)
    bucket.take()
    interruption.set()
    with pytest.raises(InterruptedRunError):
        bucket.take()
    assert bucket._tokens == BURST - 1
    bucket.take(urgent=True)


def test_an_interrupted_run_may_still_raise_a_tag(interruptible, interruption):
    """That a snapshot is application-consistent is known after the thaw only."""
    interruption.set()
    interruptible.tag.take()


def test_many_threads_together_take_no_more_than_the_bucket_has():
    taken: list[int] = []
    pace = TokenBucket(5.0, lambda: 0.0, lambda seconds: None)

    def take_six():
        for _ in range(6):
            pace.take()
            taken.append(1)

    threads = [threading.Thread(target=take_six) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 96
    assert pace._tokens == pytest.approx(BURST - 96)


def test_each_api_has_a_bucket_of_its_own(clock):
    """Tokens are held for creates of either kind."""
    rate_limits = RateLimits.at(clock, clock.sleep)
    with rate_limits.creates_held(int(BURST), 3, clock.sleep):
        take(rate_limits.delete, int(BURST))
        take(rate_limits.tag, int(BURST))
        take(rate_limits.create_set, int(BURST) - 3)
        assert clock.slept == 0
        take(rate_limits.create, int(BURST), urgent=True)
        take(rate_limits.create_set, 3, urgent=True)
        assert clock.slept == 0
