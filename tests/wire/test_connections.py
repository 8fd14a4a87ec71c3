"""Connections over TLS, which are opened before instances are frozen."""

from __future__ import annotations

import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from lambda_function.aws.clients import build_clients
from lambda_function.aws.connections import open_connections
from tests.support.certificate import certify

CONNECTIONS = 8


class Server(ThreadingHTTPServer):
    """Counts connections; its lists are answered all together."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.accepted: list[int] = []
        self.together = threading.Barrier(CONNECTIONS, timeout=60)


class Handler(BaseHTTPRequestHandler):
    """Answers as SSM does: an error to an unsigned request, and an empty list of commands."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self):
        self.answer(404, b"<UnknownOperationException/>\n")

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.together.wait()
        self.answer(200, b'{"CommandInvocations": []}')

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def setup(self):
        super().setup()
        self.server.accepted.append(1)

    def log_message(self, *_): ...


@pytest.fixture
def server(tmp_path, monkeypatch):
    made = Server()
    certify(tmp_path / "server.pem", tmp_path / "authorities.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    made.socket = context.wrap_socket(made.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    for name, value in {
        "AWS_ENDPOINT_URL": f"https://127.0.0.1:{made.server_port}",
        "AWS_CA_BUNDLE": str(tmp_path / "authorities.pem"),
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
    }.items():
        monkeypatch.setenv(name, value)
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.mark.parametrize("is_warm", [True, False])
def test_calls_made_at_once_use_the_connections_opened_before(server, is_warm):
    client = build_clients("eu-west-1").for_hooks.commands
    if is_warm:
        open_connections(client, CONNECTIONS)
        assert len(server.accepted) == CONNECTIONS
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        calls = [pool.submit(client.list_command_invocations) for _ in range(CONNECTIONS)]
        assert all(call.result()["CommandInvocations"] == [] for call in calls)
    assert len(server.accepted) == CONNECTIONS


def test_an_answer_that_breaks_off_is_no_error(server, monkeypatch):
    """Whatever library's error it is."""

    def break_off(handler):
        handler.send_response(404)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"1d\r\n<Unkn")
        handler.close_connection = True

    monkeypatch.setattr(Handler, "do_GET", break_off)
    open_connections(build_clients("eu-west-1").for_hooks.commands, 2)


def test_connections_that_cannot_be_opened_are_no_error(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://127.0.0.1:9")
    open_connections(build_clients("eu-west-1").for_hooks.commands, 2)
