"""What stands around the function in Lambda: the runtime API, and a supervisor that keeps the time.

One `Sandbox` is one execution environment: a process of AWS's runtime interface client with the package as its task
root, and the API it takes its invocations from. As in Lambda, loading the package is not on an invocation's time, a
process that reaches its deadline is killed with SIGKILL, and whatever is invoked next needs a new sandbox.
API: AWS's "Using the Lambda runtime API for custom runtimes".
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, Queue
from typing import Any

API = "/2018-06-01/runtime"
FUNCTION = "aws-automatic-snapshots"
REGION = "eu-west-1"
ARN = f"arn:aws:lambda:{REGION}:123456789012:function:{FUNCTION}"

LOAD_SECONDS = 60.0
"""How long a process may take until it asks for its first invocation; generous, for a busy machine."""

RESPONSE, ERROR, LOAD_ERROR, KILLED, EXITED = "response", "error", "init/error", "killed", "exited"


@dataclass(frozen=True)
class Invocation:
    """An event on its way; `seconds` is the time-out, which runs from the moment it is handed out."""

    request_id: str
    event: object
    seconds: float


@dataclass(frozen=True)
class Answer:
    """How an invocation ended, what was posted, and the seconds that were left then."""

    kind: str
    body: Any
    left: float
    request_id: str


class RuntimeApi(ThreadingHTTPServer):
    """The API of one sandbox; hands out what is in `waiting`, and tells what came of it by its queues."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Requests)
        self.waiting: Queue[Invocation | None] = Queue()
        self.handed_out: Queue[float] = Queue()
        self.answers: Queue[Answer] = Queue()
        self.current: Invocation | None = None
        self.deadline = 0.0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def take(self) -> Invocation | None:
        """The next invocation, once there is one; its deadline begins now. None when the sandbox ends."""
        self.current = self.waiting.get()
        if self.current is not None:
            self.deadline = time.time() + self.current.seconds
            self.handed_out.put(self.deadline)
        return self.current

    def post(self, path: str, body: Any) -> bool:
        """Take what the process posted; False for what no invocation waits for."""
        if path == f"{API}/{LOAD_ERROR}":
            self.answers.put(Answer(LOAD_ERROR, body, 0, ""))
            self.handed_out.put(time.time())
            return True
        current = self.current
        for kind in (RESPONSE, ERROR):
            if current is not None and path == f"{API}/invocation/{current.request_id}/{kind}":
                self.current = None
                self.answers.put(Answer(kind, body, self.deadline - time.time(), current.request_id))
                return True
        return False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A killed process leaves its connections as they are; anything else is a fault of this file."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Requests(BaseHTTPRequestHandler):
    server: RuntimeApi
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path != f"{API}/invocation/next":
            self._send(404, {"errorType": "NotFound"})
            return
        invocation = self.server.take()
        if invocation is None:
            self.close_connection = True
            return
        headers = {
            "Lambda-Runtime-Aws-Request-Id": invocation.request_id,
            "Lambda-Runtime-Deadline-Ms": str(round(self.server.deadline * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": ARN,
            "Lambda-Runtime-Trace-Id": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=0",
        }
        self._send(200, invocation.event, headers)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.post(self.path, body):
            self._send(202, {"status": "OK"})
        else:
            self._send(400, {"errorType": "InvalidRequestID"})

    def _send(self, code: int, body: object, headers: Mapping[str, str] | None = None) -> None:
        content = json.dumps(body).encode()
        self.send_response(code)
        for name, value in {**(headers or {}), "Content-Type": "application/json"}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None: ...  # noqa: A002 - the base class's name


class Sandbox:
    """A process and its API; `stdout` and `stderr` are files."""

    def __init__(self, api: RuntimeApi, process: subprocess.Popen[bytes], stdout: Path, stderr: Path) -> None:
        self._api = api
        self.process = process
        self.stdout = stdout
        self.stderr = stderr

    def invoke(self, event: object, seconds: float = 900) -> Answer:
        """Send one event and wait for its end: the answer, or SIGKILL when the seconds are over."""
        invocation = Invocation(str(uuid.uuid4()), event, seconds)
        self._api.waiting.put(invocation)
        try:
            deadline = self._api.handed_out.get(timeout=LOAD_SECONDS)
        except Empty:
            raise AssertionError(f"the process asked for nothing: {self.stderr.read_text()}") from None
        try:
            return self._api.answers.get(timeout=max(deadline - time.time(), 0))
        except Empty:
            kind = KILLED if self.process.poll() is None else EXITED
            self.kill()
            return Answer(kind, None, deadline - time.time(), invocation.request_id)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextmanager
def sandbox(
    python: Path, package: Path, scratch: Path, environ: Mapping[str, str], handler: str, extra_path: Path | None = None
) -> Iterator[Sandbox]:
    """Start the package's handler in a process of its own, whose environment is Lambda's and `environ`."""
    home = scratch / uuid.uuid4().hex
    home.mkdir(parents=True)
    stdout, stderr = home / "stdout", home / "stderr"
    api = RuntimeApi()
    thread = threading.Thread(target=api.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        with (
            stdout.open("wb") as out,
            stderr.open("wb") as err,
            subprocess.Popen(
                [python, "-m", "awslambdaric", handler],
                cwd=package,
                env={
                    **_lambda_s_own(api.address, package),
                    **environ,
                    "HOME": str(home),
                    # Lambda's task root cannot be written to, and so neither can bytecode be put there.
                    "PYTHONPYCACHEPREFIX": str(scratch / "bytecode"),
                    "PYTHONPATH": os.pathsep.join(str(path) for path in (package, extra_path) if path),
                },
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            ) as process,
        ):
            started = Sandbox(api, process, stdout, stderr)
            try:
                yield started
            finally:
                started.kill()
    finally:
        api.waiting.put(None)
        api.shutdown()
        thread.join()
        api.server_close()


def _lambda_s_own(address: str, package: Path) -> dict[str, str]:
    """Lambda's defined runtime environment variables, as its developer guide lists them."""
    return {
        "AWS_LAMBDA_RUNTIME_API": address,
        "AWS_LAMBDA_FUNCTION_NAME": FUNCTION,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{FUNCTION}",
        "AWS_LAMBDA_LOG_STREAM_NAME": "2026/03/02/[$LATEST]0123456789abcdef0123456789abcdef",
        # The client polls for events in a thread where it is that of Python 3.12 or newer: so also here.
        "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_SESSION_TOKEN": "testing",
        "LAMBDA_TASK_ROOT": str(package),
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
        "_HANDLER": "lambda_function.handler.lambda_handler",
        "TZ": ":UTC",
        "LANG": "en_US.UTF-8",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
    }
