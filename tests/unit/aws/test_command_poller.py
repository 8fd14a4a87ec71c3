"""Waiting for commands together: who polls, who waits for that, and whose time ends when.

A list call that is to take long lasts until an event, so no test here depends on how fast the machine is.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from lambda_function.aws.command_poller import CommandPoller, ListedInvocation
from lambda_function.deadline import Deadline
from lambda_function.errors import AwsError
from tests.support.clock import START, Clock

PATIENCE = 30.0
"""Seconds after which a test gives up; one that passes waits for none of them."""

Raw = dict[str, Any]


def ended(command_id: str, instance_id: str) -> Raw:
    plugin = {"Output": "done\n", "ResponseCode": 0}
    return {"CommandId": command_id, "InstanceId": instance_id, "Status": "Success", "CommandPlugins": [plugin]}


@dataclass
class Lists:
    """SSM's client, as far as it lists commands: `pages` gives a call's pages, and may block or raise.

    Leaving it as a context ends what `hang` holds up.
    """

    pages: Callable[[Raw], Iterable[list[Raw]]] = lambda _: [[]]
    asked: list[Raw] = field(default_factory=list)
    hanging: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def get_paginator(self, operation: str) -> Lists:
        assert operation == "list_command_invocations"
        return self

    def paginate(self, **selection: Any) -> Iterator[Raw]:
        self.asked.append(selection)
        for page in self.pages(selection):
            yield {"CommandInvocations": page}

    def hang(self) -> None:
        self.hanging.set()
        self.released.wait()

    @contextmanager
    def threads(self) -> Iterator[ThreadPoolExecutor]:
        with ThreadPoolExecutor(max_workers=8) as pool:
            try:
                yield pool
            finally:
                self.released.set()


@pytest.fixture
def lists():
    return Lists()


@pytest.fixture
def poller(lists):
    deadline = Deadline(lambda: 900.0, time.sleep, time.monotonic, lambda: datetime.now(UTC))
    return poller_of(lists, deadline)


def poller_of(lists: Lists, deadline: Deadline) -> CommandPoller:
    poller = CommandPoller(cast("Any", lists), deadline, "DOC")
    for command_id in ("a", "b"):
        poller.sent(command_id, START, START)
    return poller


def soon(seconds: float = 2 * PATIENCE) -> float:
    return time.monotonic() + seconds


def is_success(listed: ListedInvocation | None) -> bool:
    return listed is not None and listed.outcome.succeeded


def wait_for_waiting(poller: CommandPoller, waits: int) -> None:
    gives_up_at = soon()
    while len(poller._waiting) < waits:
        assert time.monotonic() < gives_up_at
        time.sleep(0.001)


def test_a_stuck_list_call_outlasts_nobody_else_s_time(lists, poller):
    def pages(_: Raw) -> Iterable[list[Raw]]:
        lists.hang()
        return [[ended("a", "i-a")]]

    lists.pages = pages
    with lists.threads() as pool:
        stuck = pool.submit(poller.wait, "a", "i-a", soon())
        assert lists.hanging.wait(PATIENCE)
        assert pool.submit(poller.wait, "b", "i-b", soon(0.1)).result(PATIENCE) is None
        assert not stuck.done()
        assert len(lists.asked) == 1
    assert is_success(stuck.result())


def test_the_last_poll_s_error_is_raised_beside_a_stuck_one(lists, poller):
    def pages(_: Raw) -> Iterable[list[Raw]]:
        if len(lists.asked) == 1:
            raise AwsError("ListCommandInvocations", "ThrottlingException", "Rate exceeded")
        lists.hang()
        return [[ended("a", "i-a")]]

    lists.pages = pages
    with lists.threads() as pool:
        stuck = pool.submit(poller.wait, "a", "i-a", soon())
        assert lists.hanging.wait(PATIENCE)
        unseen = pool.submit(poller.wait, "b", "i-b", soon(0.1))
        with pytest.raises(AwsError, match="ThrottlingException"):
            unseen.result(PATIENCE)
        assert not stuck.done()
    assert is_success(stuck.result())


def test_what_is_on_the_first_page_does_not_wait_for_the_next(lists, poller):
    def pages(_: Raw) -> Iterator[list[Raw]]:
        wait_for_waiting(poller, 2)
        yield [ended("b", "i-b")]
        lists.hang()
        yield [ended("a", "i-a")]

    lists.pages = pages
    with lists.threads() as pool:
        polling = pool.submit(poller.wait, "a", "i-a", soon())
        while not lists.asked:
            time.sleep(0.001)
        assert is_success(pool.submit(poller.wait, "b", "i-b", soon()).result(PATIENCE))
        assert not polling.done()
    assert is_success(polling.result())


def test_an_unexpected_error_is_raised_and_another_polls(lists, poller):
    def pages(_: Raw) -> Iterable[list[Raw]]:
        if len(lists.asked) == 1:
            wait_for_waiting(poller, 2)
            raise RuntimeError("out of the blue")
        return [[ended("a", "i-a"), ended("b", "i-b")]]

    lists.pages = pages
    with lists.threads() as pool:
        waits = [pool.submit(poller.wait, each, f"i-{each}", soon()) for each in ("a", "b")]
        errors = [wait.exception(PATIENCE) for wait in waits]
    assert sorted(map(repr, errors)) == ["None", "RuntimeError('out of the blue')"]
    assert len(lists.asked) == 2


def test_another_polls_on_when_the_polling_one_is_done(lists, poller):
    def pages(_: Raw) -> Iterable[list[Raw]]:
        if len(lists.asked) == 1:
            wait_for_waiting(poller, 2)
        return [[ended("a", "i-a"), *([ended("b", "i-b")] if len(lists.asked) == 3 else [])]]

    lists.pages = pages
    with lists.threads() as pool:
        first = pool.submit(poller.wait, "a", "i-a", soon())
        second = pool.submit(poller.wait, "b", "i-b", soon())
        assert is_success(first.result(PATIENCE))
        assert is_success(second.result(PATIENCE))
    assert len(lists.asked) == 3
    assert lists.asked[-1]["CommandId"] == "b"


def test_one_list_call_is_under_way_at_a_time(lists, poller):
    instances = [f"i-{number}" for number in range(8)]
    under_way = most = 0

    def pages(_: Raw) -> Iterator[list[Raw]]:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        if len(lists.asked) == 1:
            wait_for_waiting(poller, len(instances))
        yield [ended("a", each) for each in instances] if len(lists.asked) == 4 else []
        under_way -= 1

    lists.pages = pages
    with lists.threads() as pool:
        waits = [pool.submit(poller.wait, "a", each, soon()) for each in instances]
        assert all(is_success(each.result(PATIENCE)) for each in waits)
    assert (most, len(lists.asked)) == (1, 4)


def test_one_command_on_two_instances_is_waited_for_on_each(lists, poller):
    def pages(_: Raw) -> Iterable[list[Raw]]:
        if len(lists.asked) == 1:
            wait_for_waiting(poller, 2)
        return [[ended("a", "i-1"), *([ended("a", "i-2")] if len(lists.asked) > 1 else [])]]

    lists.pages = pages
    with lists.threads() as pool:
        waits: list[Future[ListedInvocation | None]] = [
            pool.submit(poller.wait, "a", each, soon()) for each in ("i-1", "i-2")
        ]
        assert all(is_success(each.result(PATIENCE)) for each in waits)
    assert {each["CommandId"] for each in lists.asked} == {"a"}


# On a simulated clock


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def simulated(lists, clock):
    return poller_of(lists, Deadline(lambda: 900.0, clock.sleep, clock.elapsed, lambda: clock.now))


def test_a_command_that_has_ended_is_seen_without_a_pause(lists, simulated, clock):
    lists.pages = lambda _: [[ended("a", "i-a")]]
    assert is_success(simulated.wait("a", "i-a", 60.0))
    assert clock.slept == 0


def test_nothing_is_remembered_of_what_nobody_waits_for(lists, simulated):
    lists.pages = lambda _: [[ended("a", "i-a"), ended("b", "i-b")]]
    assert is_success(simulated.wait("a", "i-a", 60.0))
    assert (simulated._waiting, simulated._ended) == ([], {})


def test_a_command_given_up_can_be_waited_for_again(lists, simulated, clock):
    assert simulated.wait("a", "i-a", 10.0) is None
    assert clock.elapsed() == 10.0
    lists.pages = lambda _: [[ended("a", "i-a")]]
    assert is_success(simulated.wait("a", "i-a", 15.0))


def test_a_long_wait_polls_less_often(lists, clock):
    pauses: list[tuple[float, float]] = []

    def sleep(seconds: float) -> None:
        pauses.append((clock.elapsed(), seconds))
        clock.sleep(seconds)

    poller = poller_of(lists, Deadline(lambda: 900.0, sleep, clock.elapsed, lambda: clock.now))
    assert poller.wait("a", "i-a", 120.0) is None
    *pauses, _ = pauses  # the last one ends with the wait
    assert {pause for began, pause in pauses if began < 10} == {0.3}
    assert {pause for began, pause in pauses if 10 <= began < 60} == {1.0}
    assert {pause for began, pause in pauses if began >= 60} == {3.0}


def test_a_poll_that_fails_is_forgotten_after_one_that_does_not(lists, simulated):
    def pages(_: Raw) -> Iterable[list[Raw]]:
        if len(lists.asked) == 1:
            raise AwsError("ListCommandInvocations", "ThrottlingException", "Rate exceeded")
        return [[]]

    lists.pages = pages
    assert simulated.wait("a", "i-a", 10.0) is None
