"""A database client that is held open: what it is told goes through its input, and its end is the connection's."""

import contextlib
import os
import re
import subprocess
from typing import IO, Dict, List, NamedTuple, Optional, cast

PIPE = "{pipe}"


class Client(NamedTuple):
    """How a client program is started. A secret, an option file's text, reaches it through a pipe and no file."""

    arguments: List[str]  # PIPE stands for the path of the secret's
    environment: Dict[str, str]
    secret: str = ""

    def start(self, *more: str) -> "subprocess.Popen[bytes]":
        """Starts it with further arguments; its errors come with its output."""
        reading, writing = os.pipe()
        try:
            os.write(writing, self.secret.encode())
            arguments = [word.replace(PIPE, f"/dev/fd/{reading}") for word in self.arguments]
            return subprocess.Popen(
                [*arguments, *more],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=self.environment,
                pass_fds=[reading],
            )
        finally:
            os.close(reading)
            os.close(writing)


def marked(name: str, value: str) -> str:
    """SQL for a row that is found again in whatever form a client prints it."""
    return f"SELECT CONCAT('[{name}=', {value}, ']');"


def value_of(output: str, name: str) -> Optional[str]:
    """What the last marked row of that name says: digits or hex digits, so nothing in it is escaped."""
    found = re.findall(rf"\[{name}=([0-9A-Fa-f]*)\]", output)
    return found[-1] if found else None


def last_line(output: str) -> str:
    """The client's last word, which is its error where there is one."""
    return output.strip().split("\n")[-1]


class Session:
    """One connection to the server, from lock to unlock."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.process = client.start()
        self.input = cast("IO[bytes]", self.process.stdin)
        self.descriptor = cast("IO[bytes]", self.process.stdout).fileno()
        self.output = ""
        self.is_over = False

    def tell(self, statements: str) -> None:
        """Sends statements; a client that has ended takes none."""
        try:
            self.input.write(statements.encode() + b"\n")
            self.input.flush()
        except OSError:
            self.is_over = True

    def read(self) -> None:
        """Takes what has been said."""
        said = os.read(self.descriptor, 65536)
        self.output += said.decode("utf-8", "replace")
        self.is_over = self.is_over or not said

    def end(self, seconds: float) -> None:
        """Ends the connection, at the server too: one that waits for its lock would stay, and others behind it."""
        with contextlib.suppress(OSError):
            self.input.close()
        try:
            self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """By force, which frees a lock; then by another connection, if the server is still waiting for it."""
        self.process.kill()
        self.process.wait()
        connection = value_of(self.output, "connection")
        if connection:
            # Without it, the server gives up waiting by its own time limit.
            with contextlib.suppress(OSError, subprocess.SubprocessError):
                run_client(self.client, f"KILL {connection};", 3)


def run_client(client: Client, statements: str, seconds: float) -> str:
    """What a client of its own prints for some statements. SubprocessError if it fails or takes too long."""
    process = client.start()
    try:
        output, _ = process.communicate(statements.encode() + b"\n", timeout=seconds)
    except BaseException:
        process.kill()
        process.wait()
        raise
    text = output.decode("utf-8", "surrogateescape")
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, os.path.basename(client.arguments[0]), text)
    return text
