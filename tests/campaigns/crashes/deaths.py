"""The ways to die, and the gate that numbers a run's calls and lets it die at one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from lambda_function.errors import AwsError, NoAnswerError
from lambda_function.model.result import RunReport
from tests.support.clock import Clock

READ_TIMEOUT = 25.0
"""Seconds that go by until a client gives up, all of botocore's attempts together."""

RESENT_WITHIN, RESENT_AFTER = 8.0, 16.0
"""Seconds until botocore sends a call again: within EC2's 15 seconds between two creates, and after them."""


class Way(StrEnum):
    """What happens at the call. Only EXIT ends the run; the others are what it must live with."""

    EXIT = "process exits"
    ERROR = "AWS error"
    UNEXPECTED = "unexpected exception before the call"
    UNEXPECTED_AFTER = "unexpected exception after the call"
    TIMEOUT = "no answer and no effect"
    LOST = "answer lost"
    RESENT = "answer lost and sent again by botocore within 15 seconds"
    RESENT_LATE = "answer lost and sent again by botocore after 15 seconds"


class Died(BaseException):
    """The process is no more. No `except Exception` sees this, and what a `finally` does reaches nobody."""


@dataclass
class Gate:
    """Every call of a run passes here, one at a time; the `at`-th of them goes wrong.

    `report` is what came of it, if it lived. `side` is for a process that ends: before the call is sent, or after it
    was answered.
    """

    clock: Clock | None = None
    way: Way | None = None
    at: int = 0
    side: str = "before"
    is_dead: bool = False
    calls: list[str] = field(default_factory=list)
    report: RunReport | None = None

    @property
    def victim(self) -> str:
        """The operation at which it happened."""
        return self.calls[self.at - 1] if 0 < self.at <= len(self.calls) else "the end"

    def call(self, operation: str, function: Callable[[], Any]) -> Any:
        if self.is_dead:
            raise Died
        self.calls.append(operation)
        if len(self.calls) != self.at or self.way is None:
            return function()
        return self._go_wrong(operation, function, self.way)

    def _go_wrong(self, operation: str, function: Callable[[], Any], way: Way) -> Any:
        if way is Way.EXIT:
            self.is_dead = True
            raise Died
        if way is Way.ERROR:
            # By EC2's name: a set that it refuses is created singly.
            api = {"create_snapshots": "CreateSnapshots"}.get(operation, operation)
            raise AwsError(api, "Refused", "as the harness has it")
        if way is Way.UNEXPECTED:
            raise RuntimeError("as the harness has it")
        if way is Way.TIMEOUT:
            self._wait(READ_TIMEOUT)
            raise NoAnswerError(operation, "ReadTimeoutError", "no effect either")
        function()
        if way is Way.UNEXPECTED_AFTER:
            raise RuntimeError("as the harness has it")
        if way is Way.LOST:
            self._wait(READ_TIMEOUT)
            raise NoAnswerError(operation, "ReadTimeoutError", "but it took effect")
        self._wait(RESENT_WITHIN if way is Way.RESENT else RESENT_AFTER)
        return function()

    def _wait(self, seconds: float) -> None:
        if self.clock is not None:
            self.clock.sleep(seconds)


class Gated:
    """A port behind the gate."""

    NO_CALLS = ("creates_held", "warm_up", "admitted", "platforms")

    def __init__(self, port: Any, gate: Gate) -> None:
        self._port, self._gate = port, gate

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)
        if name in self.NO_CALLS:
            return method

        def gated(*args: Any, **kwargs: Any) -> Any:
            operation = f"{name} {args[2]['command'][0]}" if name == "send" else name
            return self._gate.call(operation, lambda: method(*args, **kwargs))

        return gated
