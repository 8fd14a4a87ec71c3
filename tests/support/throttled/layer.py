"""What stands before moto in the throttled endpoint: refusals, latency, counts and Lambda's queue.

A refused call never reaches moto. Latency is slept in the request's own thread, and what moto took to
answer is part of it.
"""

from __future__ import annotations

import functools
import json
import re
import threading
import time
import urllib.parse
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any
from unittest import mock

from moto.iam.models import get_account_id_from
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler

from tests.support.throttled.buckets import Buckets
from tests.support.throttled.clock import ServiceClock

CONTROL = "/throttled/"
INVOKE = re.compile(r"/2015-03-31/functions/[^/]+/invocations")
REFUSED = (
    '<?xml version="1.0" encoding="UTF-8"?><Response><Errors><Error><Code>RequestLimitExceeded</Code>'
    "<Message>Request limit exceeded.</Message></Error></Errors><RequestID>{}</RequestID></Response>"
)
NOT_ENABLED = REFUSED.replace("RequestLimitExceeded", "AuthFailure").replace(
    "Request limit exceeded.", "AWS was not able to validate the provided access credentials"
)
NO_ROLE = (
    "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>User is not authorized to perform: "
    "sts:AssumeRole</Message></Error><RequestId>{}</RequestId></ErrorResponse>"
)
CREDENTIAL = re.compile(r"Credential=([^/]+)/\d+/([^/]+)/([^/]+)/")
CODE = re.compile(rb"<Code>([\w.]+)</Code>|\"__type\": ?\"(?:[^\"]*#)?(\w+)\"")

Environ = dict[str, Any]
App = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]


@dataclass(frozen=True)
class Latency:
    """Seconds of service time that a call takes, a refused one too."""

    write: float = 0.15
    read: float = 0.1
    refusal: float = 0.05

    def of(self, action: str) -> float:
        return self.read if action.startswith(("Describe", "List", "Get")) else self.write


@dataclass(frozen=True)
class Broken:
    """Accounts without the member role, and accounts' Regions that are not enabled (`ACCOUNT/REGION`)."""

    without_role: frozenset[str] = frozenset()
    not_enabled: frozenset[str] = frozenset()


@dataclass
class Counts:
    """What was called since the last `clear`: answered and refused by API, error codes."""

    answered: Counter[str] = field(default_factory=Counter)
    throttled: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)

    def clear(self) -> None:
        for each in (self.answered, self.throttled, self.errors):
            each.clear()

    def as_json(self) -> dict[str, Any]:
        return {
            "answered": dict(self.answered),
            "throttled": dict(self.throttled),
            "errors_by_code": dict(self.errors),
        }


class Layer:
    """A WSGI application around moto's."""

    def __init__(self, buckets: Buckets | None, latency: Latency, clock: ServiceClock) -> None:
        self.buckets = buckets
        self.latency = latency
        self.clock = clock
        self.counts = Counts()
        self.broken = Broken()
        self.invocations: list[Any] = []
        self.controls: dict[str, Callable[[Any], Any]] = {"invocations": self._take_invocations}
        self._lock = threading.Lock()

    def around(self, app: App) -> App:
        """moto's application behind this layer."""

        def respond(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
            began = self.clock.monotonic()
            path = environ.get("PATH_INFO", "")
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            environ["wsgi.input"] = BytesIO(body)
            if path.startswith(CONTROL):
                told = self.controls[path.removeprefix(CONTROL)](json.loads(body or b"{}"))
                return _answer(start_response, "200 OK", "application/json", json.dumps(told).encode())
            if INVOKE.fullmatch(path):
                return self._invoke(body, start_response)
            return self._call(app, environ, body, start_response, began)

        return respond

    def _call(
        self, app: App, environ: Environ, body: bytes, start_response: Callable[..., Any], began: float
    ) -> Iterable[bytes]:
        target = environ.get("HTTP_X_AMZ_TARGET")
        asked = {} if target else dict(urllib.parse.parse_qsl(body.decode(), keep_blank_values=True))
        action = target.rpartition(".")[2] if target else asked.get("Action", "?")
        refusal = None if target else self._refusal(environ, action, asked)
        if refusal is not None:
            self._wait_until(began + self.latency.refusal)
            return _answer(start_response, "403 Forbidden", "text/xml", refusal.format(uuid.uuid4()).encode())
        if not target and not self._admits(environ, action, asked):
            with self._lock:
                self.counts.throttled[action] += 1
            self._wait_until(began + self.latency.refusal)
            return _answer(start_response, "503 Service Unavailable", "text/xml", REFUSED.format(uuid.uuid4()).encode())
        said: list[str] = []

        def begin(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            said.append(status)
            return start_response(status, headers, *rest)

        chunks = list(app(environ, begin))
        self._count(action, said[0], chunks)
        self._wait_until(began + self.latency.of(action))
        return chunks

    def _refusal(self, environ: Environ, action: str, asked: dict[str, str]) -> str | None:
        if action == "AssumeRole":
            return NO_ROLE if asked["RoleArn"].split(":")[4] in self.broken.without_role else None
        found = CREDENTIAL.search(environ.get("HTTP_AUTHORIZATION", ""))
        place = f"{get_account_id_from(found[1])}/{found[2]}" if found else ""
        return NOT_ENABLED if place in self.broken.not_enabled else None

    def _admits(self, environ: Environ, action: str, asked: dict[str, str]) -> bool:
        if self.buckets is None:
            return True
        found = CREDENTIAL.search(environ.get("HTTP_AUTHORIZATION", ""))
        key, region, service = found.groups() if found else ("", "", "")
        return service != "ec2" or self.buckets.take(get_account_id_from(key), region, action, asked)

    def _count(self, action: str, status: str, chunks: list[bytes]) -> None:
        with self._lock:
            self.counts.answered[action] += 1
            if not status.startswith("2"):
                code = CODE.search(b"".join(chunks))
                self.counts.errors[(code[1] or code[2]).decode() if code else status] += 1

    def _invoke(self, body: bytes, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Lambda's queue: the benchmark takes what lies there and invokes the handler with it."""
        self._wait_until(self.clock.monotonic() + self.latency.write)
        with self._lock:
            self.counts.answered["Invoke"] += 1
            self.invocations.append(json.loads(body or b"null"))
        return _answer(start_response, "202 Accepted", "application/json", b"")

    def _take_invocations(self, _: Any) -> Any:
        with self._lock:
            taken, self.invocations = self.invocations, []
        return taken

    def _wait_until(self, moment: float) -> None:
        left = (moment - self.clock.monotonic()) / self.clock.factor
        if left > 0:
            time.sleep(left)


@contextmanager
def before_moto(layer: Layer) -> Iterator[None]:
    """Servers of moto that are started meanwhile, in this process, have this layer before them."""
    original = DomainDispatcherApplication.__call__

    def call(app: Any, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        return layer.around(functools.partial(original, app))(environ, start_response)

    with (
        mock.patch.object(DomainDispatcherApplication, "__call__", call),
        # Head and body are sent apart; the body must not wait for the head's acknowledgement.
        mock.patch.object(MotoRequestHandler, "disable_nagle_algorithm", True),
    ):
        yield


def _answer(start_response: Callable[..., Any], status: str, kind: str, body: bytes) -> list[bytes]:
    start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [body]
