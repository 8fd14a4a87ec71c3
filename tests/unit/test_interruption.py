"""An interruption: which waits and steps it ends, and what it finds frozen."""

from __future__ import annotations

import pytest

from lambda_function.deadline import SLICE_SECONDS, Deadline
from lambda_function.errors import InterruptedRunError, OutOfTimeError
from lambda_function.interruption import Interruption
from tests.support.clock import Clock


@pytest.fixture
def interruption():
    return Interruption()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def deadline(clock, interruption):
    return Deadline(lambda: 900.0, clock.sleep, clock.elapsed, lambda: clock.now, interruption)


def after(seconds, clock, interruption):
    """Interrupt in the midst of the sleep that goes beyond these seconds."""
    sleep = clock.sleep

    def interrupted(length):
        sleep(length)
        if clock.slept > seconds:
            interruption.set()

    return interrupted


def test_a_step_may_begin_until_the_run_is_interrupted(deadline, interruption):
    deadline.require(45)
    interruption.set()
    with pytest.raises(InterruptedRunError, match=r"^not begun: the run was interrupted$"):
        deadline.require(45)


def test_what_is_interrupted_counts_as_left_for_another_run():
    assert issubclass(InterruptedRunError, OutOfTimeError)


@pytest.mark.parametrize("seconds", [0.15, 30.0, 0.0, 0.5, 7.3])
def test_a_wait_takes_its_time_if_nothing_interrupts(deadline, clock, seconds):
    deadline.wait(seconds, 45)
    assert clock.slept == pytest.approx(seconds)


def test_an_interruption_ends_a_long_wait(deadline, clock, interruption):
    deadline = Deadline(
        deadline.time_left, after(7, clock, interruption), clock.elapsed, deadline.now, deadline.interruption
    )
    with pytest.raises(InterruptedRunError):
        deadline.wait(30, 45)
    assert 7 < clock.slept <= 7 + SLICE_SECONDS


def test_an_interruption_in_the_last_moment_of_a_wait_counts(deadline, clock, interruption):
    deadline = Deadline(
        deadline.time_left, after(0, clock, interruption), clock.elapsed, deadline.now, deadline.interruption
    )
    with pytest.raises(InterruptedRunError):
        deadline.wait(0.1, 45)


def test_an_interrupted_run_does_not_begin_to_wait(deadline, clock, interruption):
    interruption.set()
    with pytest.raises(InterruptedRunError):
        deadline.wait(30, 45)
    assert clock.slept == 0


def test_a_thaw_keeps_its_time_and_its_sleep(deadline, clock, interruption):
    interruption.set()
    deadline.sleep(3)
    assert clock.slept == deadline.elapsed() == 3
    assert deadline.time_left() == 900


def test_what_is_frozen_is_known_while_it_is_frozen(interruption):
    assert interruption.held == ()
    with interruption.holding(["i-2"]):
        with interruption.holding(["i-3", "i-1"]):
            assert interruption.held == ("i-1", "i-2", "i-3")
        assert interruption.held == ("i-2",)
    assert interruption.held == ()


def test_what_ends_with_an_error_is_frozen_no_longer(interruption):
    with pytest.raises(ZeroDivisionError), interruption.holding(["i-1"]):
        raise ZeroDivisionError
    assert interruption.held == ()


def test_runs_without_an_interruption_share_none(deadline):
    first, second = (Deadline(deadline.time_left, deadline.sleep, deadline.elapsed, deadline.now) for _ in range(2))
    first.interruption.set()
    second.require(45)
