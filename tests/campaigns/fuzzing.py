"""Input that nobody would write, for the fuzz tests; and the real handler on a cloud in memory, to see what it does."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from datetime import datetime
from types import SimpleNamespace
from typing import Any
from unittest import mock

from hypothesis import strategies as st

from lambda_function import app, handler
from lambda_function.errors import AutoSnapshotsError
from lambda_function.output.log import logger
from tests.support.campaign import examples
from tests.support.cloud import FakeCloud
from tests.support.ssm import FakeSsm

MAX_TEXT = 8_000


def cases(whole: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """So many cases at night, a fortieth of them by day, and a fifth of those as a sample."""
    return examples(whole, whole // 40, whole // 200)


any_text = st.text(st.characters(), max_size=40)
"""Lone surrogates and control characters among it, as JSON's escapes can bring them in."""

numbers = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from([10**400, -(10**400), 2**63, -(2**63) - 1, 1e308, -0.0, float("nan"), float("inf")]),
)


class DeepList(list[Any]):
    """A list that hypothesis can print however deep it is."""

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text("DeepList(...)")


class DeepObject(dict[str, Any]):
    """An object of the same kind."""

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text("DeepObject(...)")


@st.composite
def nested(draw: st.DrawFn) -> Any:
    """Lists or objects in each other, a few or more than any recursion follows."""
    value: Any = draw(any_text | numbers | st.none())
    key = draw(st.none() | any_text)
    for _ in range(draw(st.sampled_from([3, 3, 3, 30, 90, 900, 5_000]))):
        value = DeepList([value]) if key is None else DeepObject({key: value})
    return value


plain_json = st.recursive(
    st.none() | st.booleans() | numbers | any_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=8,
)
json_values = plain_json | nested()


@st.composite
def altered(draw: st.DrawFn, text: str) -> str:
    """The text with a few pieces dropped, repeated or put in."""
    for _ in range(draw(st.integers(1, 3))):
        at, end = sorted((draw(st.integers(0, len(text))), draw(st.integers(0, len(text)))))
        piece = draw(
            st.sampled_from(["", text[at:end] * 2, '"', "{", "}", "[", ",", ":", "\\", "\x00", "\ufeff"]) | any_text
        )
        text = text[:at] + piece + text[end:]
    return text


class Stage:
    """The handler with `cloud` behind its ports; the log must be lines of JSON in UTF-8, or writing it raises."""

    def __init__(self) -> None:
        self.cloud = FakeCloud()
        self.clients_built = 0

    def clients(self) -> mock.MagicMock:
        self.clients_built += 1
        return mock.MagicMock()

    def ports(self, *_: object) -> FakeCloud:
        return self.cloud

    def commands(self, *_: object) -> FakeSsm:
        return self.cloud.ssm

    def now(self) -> datetime:
        return self.cloud.clock.now

    def sleep(self, seconds: float) -> None:
        self.cloud.clock.sleep(seconds)

    def elapsed(self) -> float:
        return self.cloud.clock.elapsed()

    def invoke(self, event: object) -> tuple[str | None, str]:
        """What the invocation failed with, if it did, and what it answered; both as Lambda sends them on."""
        self.clients_built = 0
        log = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
        ends = self.elapsed() + 900
        context = SimpleNamespace(
            aws_request_id="request",
            invoked_function_arn="arn",
            get_remaining_time_in_millis=lambda: (ends - self.elapsed()) * 1000,
        )
        with redirect_stdout(io.StringIO()), mock.patch.object(logger.registered_handler, "stream", log):
            try:
                answer = handler.lambda_handler(event, context)  # type: ignore[arg-type]  # all of it that is used
            except AutoSnapshotsError as error:
                failure, told = str(error), ""
            else:
                failure, told = "", json.dumps(answer)
        (failure + told).encode()
        assert len(failure) < MAX_TEXT
        log.seek(0)
        for line in log:
            json.loads(line)
        return failure or None, told


def _raise(*_: object) -> None:
    """In place of logging's own, which prints what went wrong and loses the line."""
    raise  # noqa: PLE0704


@contextmanager
def staged() -> Iterator[Stage]:
    """The stage; its cloud may be replaced before each invocation."""
    stage = Stage()
    time = SimpleNamespace(sleep=stage.sleep, monotonic=stage.elapsed)
    with (
        mock.patch.object(app, "ParameterStore", stage.ports),
        mock.patch.object(app, "Ec2Ebs", stage.ports),
        mock.patch.object(app, "RunCommand", stage.commands),
        mock.patch.object(app, "time", time),
        mock.patch.object(handler, "clients", stage.clients),
        mock.patch.object(handler, "utc_now", stage.now),
        mock.patch.object(logger.registered_handler, "handleError", _raise),
    ):
        yield stage


def is_clear(text: str, *beginnings: str) -> bool:
    """Whether the text begins by naming what is wrong, and says what is allowed."""
    allowed = (
        r"must be|unknown field|is not for|set the rule|is over|does not exist|is missing|stands twice|names no period"
    )
    return text.startswith(beginnings) and re.search(allowed, text) is not None
