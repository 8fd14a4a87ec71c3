"""Commands no faster than SSM takes them, and room for thaws, by a clock of the test's own."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from lambda_function.aws.send_pace import BURST, FIRST_PER_SECOND, SLOWEST_PER_SECOND, SendPace
from tests.support.clock import Clock


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def pace(clock):
    return SendPace(clock.elapsed, clock.sleep)


def give_up(seconds):
    raise TimeoutError


def admitted(pace, instances=1):
    """How many freezes of so many instances each are admitted without a wait."""
    with ExitStack() as stack:
        for number in range(100):
            try:
                stack.enter_context(pace.admitted(instances, give_up))
            except TimeoutError:
                return number
        return 100


def test_nothing_is_held_back_before_the_first_refusal(pace, clock):
    assert admitted(pace) == 100
    for _ in range(100):
        pace.take()
    assert clock.slept == 0


def test_after_a_refusal_commands_wait_for_their_turn(pace, clock):
    pace.refused()
    for _ in range(50):
        pace.take()
    assert clock.slept == pytest.approx(50 / FIRST_PER_SECOND, rel=0.5)


def test_refusals_of_commands_sent_together_count_once(pace, clock):
    for _ in range(48):
        pace.refused()
    pace.take()
    assert clock.slept <= 1 / FIRST_PER_SECOND + 0.01


def test_the_rate_never_falls_below_its_minimum(pace, clock):
    for _ in range(50):
        clock.sleep(1)
        pace.refused()
    before = clock.slept
    pace.take()
    assert clock.slept - before <= 1 / SLOWEST_PER_SECOND + 0.1


def test_time_raises_the_rate_again(pace, clock):
    pace.refused()
    clock.sleep(600)
    before = clock.slept
    for _ in range(500):
        pace.take()
    assert clock.slept - before < 15


def test_no_more_is_frozen_than_can_be_thawed_soon(pace, clock):
    """Within a second, if all need it at once."""
    pace.refused()
    clock.sleep(10)
    with ExitStack() as stack:
        frozen = 0
        while clock.slept < 20:
            try:
                stack.enter_context(pace.admitted(1, give_up))
                frozen += 1
            except TimeoutError:
                clock.sleep(0.1)
        assert BURST <= frozen <= BURST + 2 * FIRST_PER_SECOND
        clock.sleep(2)
        before = clock.slept
        for _ in range(frozen):
            pace.take()
        assert clock.slept - before <= 1.5


def test_a_freeze_that_ends_makes_room_for_another(pace, clock):
    pace.refused()
    clock.sleep(10)
    room = admitted(pace)
    assert room > 1
    clock.sleep(10)
    assert admitted(pace) == room


def test_a_group_larger_than_the_burst_is_admitted_alone(pace, clock):
    pace.refused()
    clock.sleep(10)
    with pace.admitted(16, give_up):
        clock.sleep(10)
        assert admitted(pace) == 0


def test_no_freeze_is_admitted_while_a_thaw_waits(pace, clock):
    pace.refused()
    seen = []

    def sleep(seconds):
        seen.append(admitted(pace))
        clock.sleep(seconds)
        seen.append(admitted(pace))

    pace._sleep = sleep
    pace.take()
    assert set(seen) == {0}


def test_a_late_command_does_not_wait_for_its_turn(pace, clock):
    """It gets a refusal at worst."""
    for _ in range(20):
        clock.sleep(1)
        pace.refused()
    before = clock.slept
    pace.take(lambda: True)
    assert clock.slept - before < 1
