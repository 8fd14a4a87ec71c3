"""A server without manners: it answers each request with given bytes and hangs up, in one way or another."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Manner = Callable[[socket.socket, bytes], None]
"""What to do with a connection on which a request came, given the body that was meant."""


def _head(*lines: str) -> bytes:
    return "\r\n".join(("HTTP/1.1 200 OK", "Content-Type: text/xml", *lines, "", "")).encode()


def resets(connection: socket.socket, body: bytes) -> None:
    """RST in place of an answer."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def hangs_up(connection: socket.socket, body: bytes) -> None:
    """Closed in good order, without a word."""


def ends_within_the_head(connection: socket.socket, body: bytes) -> None:
    connection.sendall(_head(f"Content-Length: {len(body)}")[:40])


def ends_before_its_length(connection: socket.socket, body: bytes) -> None:
    connection.sendall(_head(f"Content-Length: {len(body)}") + body[: len(body) // 2])


def ends_before_the_last_chunk(connection: socket.socket, body: bytes) -> None:
    half = body[: len(body) // 2]
    connection.sendall(_head("Transfer-Encoding: chunked") + f"{len(half):x}\r\n".encode() + half + b"\r\n")


def ends_early_without_a_length(connection: socket.socket, body: bytes) -> None:
    connection.sendall(_head("Connection: close") + body[: len(body) // 2])


def speaks_no_http(connection: socket.socket, body: bytes) -> None:
    connection.sendall(b"220 mail.example.com ESMTP\r\n")


def _read_request(connection: socket.socket) -> None:
    """The whole request: closed with a part unread, a connection ends in RST, which may outrun the answer."""
    length = 0
    with connection.makefile("rb") as request:
        while (line := request.readline()) not in (b"\r\n", b""):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        request.read(length)


@contextmanager
def rude_server(manner: Manner, body: bytes) -> Iterator[str]:
    """Its address; every connection gets one request answered in this manner."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:  # closed: the test is over
                    return
                with connection:
                    _read_request(connection)
                    manner(connection, body)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
