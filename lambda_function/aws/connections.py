"""Opens a client's connections before they are needed."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from botocore.awsrequest import AWSRequest

from lambda_function.parallel import in_parallel

if TYPE_CHECKING:
    from botocore.client import BaseClient


def open_connections(client: BaseClient, count: int) -> None:
    """Have so many open connections in the client's pool.

    A new one takes some 25 ms of CPU, most of it to load the certificate authorities: with many at once, seconds at a
    small memory size. The requests are unsigned, so they take no permission and no part of any rate limit. A service
    answers them with an error and keeps the connection.
    """
    if not client.meta.endpoint_url.startswith("https:"):
        return  # without TLS there is little to save
    # botocore has no public way to the pool. Should this one go, the first calls are slow again, and a test fails.
    session = getattr(getattr(client, "_endpoint", None), "http_session", None)
    if session is None:
        return
    request = AWSRequest("GET", client.meta.endpoint_url).prepare()
    # No connection is free for another request before its response is read, so each request gets its own.
    request.stream_output = True

    def send(_: int) -> Any:
        with suppress(Exception):  # the call that needs the connection will report it
            return session.send(request)
        return None

    responses = [response for response in in_parallel(send, range(count), count) if response is not None]
    with suppress(Exception):  # of any library; one that stalls is not worth waiting for the next
        for response in responses:
            _ = response.content
