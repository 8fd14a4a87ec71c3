"""What stages and keeper say to each other, between root's processes only."""

from __future__ import annotations

import os
import socket
import threading
import uuid
from pathlib import Path

import pytest

from documents.messages import MOST_DESCRIPTORS, check_peer, connect, exchange, listen, receive, send


@pytest.fixture
def name():
    return f"test-{uuid.uuid4()}"


@pytest.fixture
def pair():
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.settimeout(30)
    yield ends
    for end in ends:
        end.close()


def test_a_message_comes_whole_and_in_order(pair):
    send(pair[0], {"stage": "pre", "mount": "/srv/\N{SNOWMAN}\udce9"})
    send(pair[0], {"stage": "done"})
    assert receive(pair[1]) == ({"stage": "pre", "mount": "/srv/\N{SNOWMAN}\udce9"}, [])
    assert receive(pair[1]) == ({"stage": "done"}, [])


def test_a_closed_end_has_no_message(pair):
    pair[0].close()
    assert receive(pair[1]) == (None, [])


@pytest.mark.parametrize("count", [1, 2, MOST_DESCRIPTORS])
def test_descriptors_come_along_in_their_order(pair, tmp_path, count):
    directories = []
    for number in range(count):
        (tmp_path / str(number)).mkdir()
        directories.append(os.open(tmp_path / str(number), os.O_RDONLY | os.O_DIRECTORY))
    send(pair[0], {"count": count}, directories)
    message, received = receive(pair[1])
    try:
        assert message == {"count": count}
        assert [Path(f"/proc/self/fd/{one}").readlink().name for one in received] == [
            str(number) for number in range(count)
        ]
        assert not any(map(os.get_inheritable, received))
    finally:
        for descriptor in directories + received:
            os.close(descriptor)


def test_more_descriptors_than_the_kernel_takes_are_refused(pair):
    with pytest.raises(ValueError, match="254 file systems at once are too many"):
        send(pair[0], {}, [0] * (MOST_DESCRIPTORS + 1))


def test_the_most_is_the_kernels_own_limit(pair):
    """One more by the system call itself."""
    rights = socket.SOL_SOCKET, socket.SCM_RIGHTS, memoryview(bytes(4 * (MOST_DESCRIPTORS + 1)))
    with pytest.raises(OSError, match="Invalid argument"):
        pair[0].sendmsg([b"x"], [rights])


def test_a_keepers_name_is_taken_once_and_free_after_it(name):
    assert connect(name) is None
    listener = listen(name)
    assert listener
    with listener:
        assert listen(name) is None
        connection = connect(name)
        assert connection
        connection.close()
    assert connect(name) is None


def test_another_users_keeper_is_none(name, monkeypatch):
    """SO_PEERCRED has who listens; this process is as little that user as if it were another."""
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    listener = listen(name)
    assert listener
    with listener:
        assert connect(name) is None


def test_a_keeper_knows_its_own_user_from_another(pair, monkeypatch):
    check_peer(pair[0])
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(PermissionError, match=f"process {os.getpid()} of user {os.getuid()} speaks"):
        check_peer(pair[0])


def test_an_exchange_has_the_answer(pair):
    answering = threading.Thread(target=lambda: send(pair[1], {"heard": receive(pair[1])[0]}))
    answering.start()
    assert exchange(pair[0], {"stage": "held"}, 30) == {"heard": {"stage": "held"}}
    answering.join()


@pytest.mark.parametrize("has_read", [False, True], ids=["before it heard", "after it heard"])
def test_a_keeper_that_ends_meanwhile_has_no_answer(pair, has_read):
    def end():
        if has_read:
            receive(pair[1])
        pair[1].close()

    ending = threading.Thread(target=end)
    ending.start()
    if not has_read:
        ending.join()
    assert exchange(pair[0], {"stage": "held"}, 30) is None
    ending.join()


@pytest.mark.parametrize("seconds", [0.1, 0, -5])
def test_a_keeper_that_says_nothing_is_waited_for_in_bounds(pair, seconds):
    with pytest.raises(socket.timeout):
        exchange(pair[0], {"stage": "held"}, seconds)
