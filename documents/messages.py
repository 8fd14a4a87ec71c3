"""What stages and keeper say to each other, over an abstract Unix socket: it needs no room anywhere (unix(7))."""

import array
import json
import os
import socket
import struct
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

LARGEST = 1 << 17
MOST_DESCRIPTORS = 253  # SCM_MAX_FD


class Answer(NamedTuple):
    """How a stage ends: its exit code, its lines for the function, its warnings for people."""

    code: int
    lines: Sequence[str] = ()
    warnings: Sequence[str] = ()


def listen(name: str) -> Optional[socket.socket]:
    """The socket of a keeper; None where there is one already."""
    listener = new_socket()
    try:
        listener.bind(address(name))
    except OSError:
        listener.close()
        return None
    listener.listen(16)
    return listener


def is_taken(name: str) -> bool:
    """Whether a process has this name, or holds on to a copy of its socket."""
    with new_socket() as probe:
        try:
            probe.bind(address(name))
        except OSError:
            return True
    return False


def connect(name: str) -> Optional[socket.socket]:
    """A connection to a keeper; None where there is none, or somebody else has taken its name."""
    connection = new_socket()
    try:
        connection.settimeout(5)
        connection.connect(address(name))
        check_peer(connection)
    except (ConnectionRefusedError, PermissionError):
        connection.close()
        return None
    except BaseException:
        connection.close()
        raise
    return connection


def new_socket() -> socket.socket:
    """Of a type that keeps messages whole."""
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def address(name: str) -> str:
    """An abstract name, which any user can take: so whoever answers there must be root."""
    return "\0auto-snapshots/" + name


def check_peer(connection: socket.socket) -> None:
    """PermissionError unless root is at the other end."""
    process, user, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    if user != os.geteuid():
        raise PermissionError(f"process {process} of user {user} speaks for our keeper")


def send(connection: socket.socket, message: Dict[str, Any], descriptors: Sequence[int] = ()) -> None:
    """One message, with open descriptors for the other process."""
    if len(descriptors) > MOST_DESCRIPTORS:
        raise ValueError(f"{len(descriptors)} file systems at once are too many")
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    connection.sendmsg([json.dumps(message).encode()], rights)


def receive(connection: socket.socket) -> Tuple[Optional[Dict[str, Any]], List[int]]:
    """The next message and its descriptors; no message when the other end has closed."""
    size = socket.CMSG_SPACE(MOST_DESCRIPTORS * array.array("i").itemsize)
    data, rights, _, _ = connection.recvmsg(LARGEST, size, socket.MSG_CMSG_CLOEXEC)
    descriptors = array.array("i")
    for _, _, numbers in rights:
        descriptors.frombytes(numbers)
    return (json.loads(data.decode()) if data else None), list(descriptors)


def exchange(connection: socket.socket, message: Dict[str, Any], seconds: float) -> Optional[Dict[str, Any]]:
    """The answer; None if the keeper has ended meanwhile. socket.timeout if it says nothing for so long."""
    connection.settimeout(max(0.1, seconds))
    try:
        send(connection, message)
        return receive(connection)[0]
    except ConnectionError:
        return None
