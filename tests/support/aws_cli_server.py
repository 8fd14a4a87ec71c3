"""Reads all that the AWS CLI reads before it looks at its arguments, then forks for each command.

`python -m tests.support.aws_cli_server SOCKET`, for `aws_cli.py`. A process of its own, since it must have no threads,
and since awscli puts its own copy of botocore in botocore's place.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import selectors
import signal
import socket
import sys
from typing import Any

import awscli.clidriver

from tests.support import botocore_models

SERVICES = ("cloudformation", "ec2", "events", "ssm")
"""Those whose commands are on the pages; others are read when they are called."""


def _read_all() -> None:
    botocore_models.share()
    driver = awscli.clidriver.create_clidriver()
    with contextlib.redirect_stdout(io.StringIO()):
        driver.main(["ec2", "describe-volumes", "--generate-cli-skeleton"])
    for service in SERVICES:
        client = driver.session.create_client(
            service, region_name="eu-west-1", aws_access_key_id="none", aws_secret_access_key="none"
        )
        assert client.waiter_names is not None


def _serve(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as server, selectors.DefaultSelector() as selector:
        server.bind(path)
        server.listen()
        selector.register(server, selectors.EVENT_READ)
        selector.register(sys.stdin, selectors.EVENT_READ)
        print("ready", flush=True)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while sys.stdin not in {key.fileobj for key, _ in selector.select()}:
            connection, _ = server.accept()
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                _answer(connection)
                os._exit(0)
            connection.close()


def _answer(connection: socket.socket) -> None:
    """In a process of its own: run one command with its caller's input and output, and send back its exit code."""
    size, files, _, _ = socket.recv_fds(connection, 8, 3)
    with connection.makefile("rb") as stream:
        arguments, cwd, environment = json.loads(stream.read(int.from_bytes(size, "big")))
    for number, file in enumerate(files):
        os.dup2(file, number)
    os.chdir(cwd)
    own = {"AWS_DATA_PATH": os.environ["AWS_DATA_PATH"]}  # where the CLI keeps its descriptions of itself
    os.environ.clear()
    os.environ.update(environment | own)
    code = _run(arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    connection.sendall(bytes([code]))


def _run(arguments: list[str]) -> int:
    sys.argv = ["aws", *arguments]
    try:
        code: Any = awscli.clidriver.main()
    except SystemExit as end:
        code = end.code
    return code if isinstance(code, int) else int(code is not None)


if __name__ == "__main__":
    _read_all()
    _serve(sys.argv[1])
