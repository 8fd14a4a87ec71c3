"""The AWS CLI as a process that stays: to start one takes most of a second, and a page of docs has dozens of commands.

What stands as `aws` on the path is a client of `aws_cli_server.py`: it hands on arguments, environment and its own
input and output, and ends as the command does.
"""

from __future__ import annotations

import atexit
import functools
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CLIENT = f"""\
#!{sys.executable} -IS
import json, os, socket, sys
request = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
with socket.socket(socket.AF_UNIX) as server:
    server.connect(os.path.join(os.path.dirname(__file__), "socket"))
    socket.send_fds(server, [len(request).to_bytes(8, "big")], [0, 1, 2])
    server.sendall(request)
    code = server.recv(1)
sys.exit(code[0] if code else "the AWS CLI ended without an exit code")
"""


@functools.cache
def folder() -> Path:
    """Holds an executable `aws`, for as long as this process lives."""
    found = Path(tempfile.mkdtemp(prefix="aws-cli-"))
    command = [sys.executable, "-m", "tests.support.aws_cli_server", str(found / "socket")]
    # It ends when its input does: with this process, however that ends.
    server = subprocess.Popen(command, cwd=Path(__file__).parents[2], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    atexit.register(_end, server, found)
    assert server.stdout is not None
    assert server.stdout.readline() == b"ready\n"
    (found / "aws").write_text(CLIENT, encoding="utf-8")
    (found / "aws").chmod(0o755)
    return found


def _end(server: subprocess.Popen[bytes], found: Path) -> None:
    server.communicate()
    shutil.rmtree(found)
