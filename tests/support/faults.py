"""AWS in a bad mood: other answers than the endpoint's, by operation, within this process.

botocore asks its `before-send` hooks for an answer before each attempt, so what it repeats, parses and raises is
its own.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from botocore.awsrequest import AWSResponse
from botocore.client import BaseClient
from botocore.exceptions import ConnectionClosedError, ReadTimeoutError
from botocore.httpsession import URLLib3Session

from lambda_function.aws.clients import Clients

Fault = Callable[[Any], AWSResponse | None]
"""What an attempt meets, by its request: an answer, an exception, or None for the endpoint itself."""


class _Body:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        yield self._content


def through(request: Any) -> AWSResponse | None:
    """No fault: the endpoint answers."""
    return None


def answer(content: bytes | str, status: int = 200) -> Fault:
    """This body in place of the endpoint's."""
    raw = content.encode() if isinstance(content, str) else content
    return lambda request: AWSResponse(request.url, status, {}, _Body(raw))  # type: ignore[arg-type]


def error(code: str, status: int = 400, message: str = "no") -> Fault:
    """An error as the service of the request words it."""
    as_xml = f"<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors></Response>"
    as_json = json.dumps({"__type": code, "message": message})

    def respond(request: Any) -> AWSResponse | None:
        return answer(as_json if _is_json(request) else as_xml, status)(request)

    return respond


def denied(request: Any) -> AWSResponse | None:
    """Access denied, as EC2 and SSM word it."""
    code = "AccessDeniedException" if _is_json(request) else "UnauthorizedOperation"
    return error(code, 400 if _is_json(request) else 403, "You are not authorized")(request)


def throttled(request: Any) -> AWSResponse | None:
    is_json = _is_json(request)
    return error("ThrottlingException" if is_json else "RequestLimitExceeded", 400 if is_json else 503)(request)


def reset(request: Any) -> AWSResponse | None:
    """The connection is closed before anything reached the service."""
    raise ConnectionClosedError(endpoint_url=request.url)


def lost_answer(request: Any) -> AWSResponse | None:
    """The service does what is asked, and its answer never comes."""
    URLLib3Session().send(request)
    raise ReadTimeoutError(endpoint_url=request.url)


def truncated_answer(request: Any) -> AWSResponse | None:
    """The service does what is asked, and half of its answer comes."""
    whole = URLLib3Session().send(request)
    return answer(whole.content[: len(whole.content) // 2], whole.status_code)(request)


def _is_json(request: Any) -> bool:
    return "X-Amz-Target" in request.headers or "/functions/" in request.url


def every_client(clients: Clients) -> list[BaseClient]:
    """Those too that are only built where there are hooks."""
    held = (*vars(clients).values(), clients.ssm, *vars(clients.for_hooks).values())
    return [each for each in held if isinstance(each, BaseClient)]


@dataclass
class Faults:
    """`seen` counts attempts by operation, those that met a fault included."""

    seen: dict[str, int] = field(default_factory=dict)
    _planned: dict[str, tuple[int, int | None, Fault]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def on(self, operation: str, fault: Fault, *, after: int = 0, times: int | None = None) -> None:
        """From the attempt after so many more on, this often or for good."""
        begin = self.seen.get(operation, 0) + after
        self._planned[operation] = (begin, None if times is None else begin + times, fault)

    def in_turn(self, operation: str, *faults: Fault) -> None:
        """One after another, the last one for good."""
        left = list(faults)

        def next_one(request: Any) -> AWSResponse | None:
            fault = left.pop(0) if len(left) > 1 else left[0]
            return fault(request)

        self.on(operation, next_one)

    def clear(self) -> None:
        self.seen.clear()
        self._planned.clear()

    def _before_send(self, request: Any, event_name: str, **_: Any) -> AWSResponse | None:
        operation = event_name.rsplit(".", 1)[-1]
        with self._lock:
            number = self.seen.get(operation, 0)
            self.seen[operation] = number + 1
        begin, end, fault = self._planned.get(operation, (0, 0, denied))
        return fault(request) if number >= begin and (end is None or number < end) else None

    @contextmanager
    def before(self, clients: Clients, *others: Any) -> Iterator[None]:
        """These clients meet the faults while the context lasts; nobody waits between attempts."""
        emitters = [each.meta.events for each in (*every_client(clients), *others)]
        for emitter in emitters:
            emitter.register("before-send", self._before_send)
        try:
            with (
                mock.patch("botocore.retries.standard.ExponentialBackoff.delay_amount", return_value=0),
                mock.patch("botocore.retries.bucket.TokenBucket.acquire", return_value=True),
                mock.patch("lambda_function.aws.rate_limit.TokenBucket.take"),
                mock.patch("botocore.retries.quota.RetryQuota.acquire", return_value=True),
            ):
                yield
        finally:
            for emitter in emitters:
                emitter.unregister("before-send", self._before_send)
