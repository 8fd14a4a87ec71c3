"""The process that keeps a freeze, and ends it: at its post-script, at its limit, or when anything it rests on is gone.

It makes no call that can wait: one process per file system freezes and thaws (holder.py), and a database's lock is in
the hands of a client program. If the keeper itself is killed, all of these let go by themselves.
"""

import contextlib
import functools
import math
import os
import select
import signal
import socket
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

from documents.holder import FREEZING, SYNCING, Holder
from documents.kernel import lock_memory
from documents.messages import Answer, address, check_peer, new_socket, receive, send
from documents.notes import Notes
from documents.session import Client, Session, last_line, value_of

LONGEST_WAIT_FOR_OWNER = 10
LONGEST_PROOF = 3
LONGEST_FAREWELL = 0.3  # of a client whose input has ended: less than a limit comes before its time
POST_CAME = "its post-script came"
LIMIT_CAME = "its time limit came"


class Lock(NamedTuple):
    """A database's lock, in one session: what is said to take it, and to see that it is still held."""

    client: Client
    take: str  # prints `connection`, and then `errors`, which is 0 when the lock is held
    seconds: int
    prove: str  # prints `held`, the connection


class Request(NamedTuple):
    """What a pre-script asks for. Moments are the machine's monotonic clock, in seconds."""

    execution: str
    is_dry_run: bool
    began: float
    deadline: float
    patience: float  # a stage's answer must not take longer
    claims: List[str]
    sync: List[List[str]]  # number and mount point; their descriptors come along,
    freeze: List[List[str]]  # and then those of these, in order
    lock: Optional[List[Any]]


class EndedError(Exception):
    """Why the freeze ends before its post-script."""


class Keeper:
    """Holds one execution's freeze."""

    def __init__(self, notes: Notes, listener: socket.socket, holders_name: str) -> None:
        self.notes = notes
        self.listener = listener
        self.holders_name = holders_name
        self.life = new_socket()  # whose name is taken as long as a holder lives, even one that waits for its storage
        self.request: Optional[Request] = None
        self.directories: List[int] = []
        self.owner: Optional[socket.socket] = None
        self.connections: List[socket.socket] = []
        self.pres: List[socket.socket] = []
        self.posts: List[socket.socket] = []
        self.holders: List[Holder] = []
        self.session: Optional[Session] = None
        self.lock: Optional[Lock] = None
        self.is_locked = False
        self.pre_answer: Optional[Answer] = None
        self.reason = ""
        self.held_from = self.held_since = 0.0
        self.wake, self.waker = socket.socketpair()

    def run(self) -> None:
        """Waits for a pre-script, holds what it asks for, ends."""
        self.wake.setblocking(False)
        self.waker.setblocking(False)
        signal.set_wakeup_fd(self.waker.fileno())
        signal.signal(signal.SIGTERM, lambda *_: None)  # a shutdown: seen by the loop
        limit = time.monotonic() + LONGEST_WAIT_FOR_OWNER
        while not self.request and not self.reason and time.monotonic() < limit:
            self.turn(limit)
        if not self.request:
            return
        try:
            self.hold(self.request)
        except EndedError as ended:
            self.reason = str(ended)
        except Exception as error:
            self.reason = f"{type(error).__name__}: {error}"
        self.let_go(self.request)

    # --- holding ---

    def hold(self, request: Request) -> None:
        """Locks and freezes all, answers, and waits for the end."""
        attempt(spare_from_oom_killer)
        self.need(self.takes_holders_name, time.monotonic() + 1, "a process of an earlier freeze is still there")
        works = [(mount, SYNCING) for mount in request.sync] + [(mount, FREEZING) for mount in request.freeze]
        for ((_, point), work), directory in zip(works, self.directories):
            self.holders.append(Holder(point, directory, work, request.deadline, self.life))
        lock_memory()
        for holder in self.holders:
            self.expect(holder, "new", "ready", request.deadline)
        if request.lock:
            client, *rest = request.lock
            self.lock = Lock(Client(*client), *rest)
            self.session = Session(self.lock.client)
        if request.is_dry_run:
            self.pre_answer = Answer(0)
            return
        # Listening began before: a post-script that found no keeper has left its note by now.
        if self.notes.is_over(request.execution):
            raise EndedError("the post-script of this executionId, or its time limit, has already been")
        self.notes.hold(request.execution, [number for number, _ in request.freeze])
        self.held_from = time.monotonic()
        self.take_lock(request.deadline)
        for holder in self.holders:
            holder.tell("hold")
            self.expect(holder, "ready", "held", request.deadline)
        self.held_since = time.monotonic()
        lines = [
            " ".join(["frozen", *request.claims]),
            f"freeze-ms {(self.held_since - self.held_from) * 1000:.0f}",
            f"prepare-ms {(self.held_from - request.began) * 1000:.0f}",
        ]
        self.need(lambda: True, request.deadline, LIMIT_CAME)
        self.pre_answer = Answer(0, lines)
        if self.owner:  # others, when it has said that all is done
            self.pres.remove(self.owner)
            self.reply([self.owner], self.pre_answer)
        self.need(lambda: False, request.deadline, LIMIT_CAME)

    def takes_holders_name(self) -> bool:
        """Whether the name was free."""
        try:
            self.life.bind(address(self.holders_name))
        except OSError:
            return False
        return True

    def expect(self, holder: Holder, left: str, reached: str, deadline: float) -> None:
        """Waits until a holder has left one state for another; EndedError if it is in a third."""
        self.need(lambda: holder.state != left, deadline, LIMIT_CAME)
        if holder.state != reached:
            raise EndedError(f"{holder.name}: {holder.reason or holder.state}")

    def take_lock(self, deadline: float) -> None:
        """EndedError unless the server says that this session has its lock."""
        session, lock = self.session, self.lock
        if session and lock:
            session.tell(lock.take)
            limit = min(time.monotonic() + lock.seconds + 1, deadline)
            trouble = f"no lock within {lock.seconds} s"
            self.need(lambda: value_of(session.output, "errors") or session.is_over, limit, trouble)
            if value_of(session.output, "errors") != "0":
                raise EndedError(f"{trouble}: {last_line(session.output)}")
            self.is_locked = True

    def need(self, is_so: Callable[[], Any], until: float, trouble: str) -> None:
        """Waits for something; EndedError if the freeze must end, also if both have come."""
        while not self.reason:
            if is_so():
                return
            if time.monotonic() >= until:
                raise EndedError(trouble)
            self.turn(until)
        raise EndedError(self.reason)

    # --- letting go ---

    def let_go(self, request: Request) -> None:
        """Thaws, unlocks, answers; stays for what cannot be thawed yet."""
        limit = time.monotonic() + request.patience
        for holder in self.holders:
            holder.tell("release")
        if self.session and self.reason != POST_CAME:  # else it has something to prove, after the thaw
            self.session.end(LONGEST_FAREWELL)
        self.release_dead()
        while not self.is_thawed() and time.monotonic() < limit:
            self.turn_anyway(limit)
        held_ms = f"held-ms {(time.monotonic() - self.held_from) * 1000:.0f}"
        if self.reason == POST_CAME:
            self.reason = self.loss()
            if self.session:
                self.session.end(LONGEST_FAREWELL)
        while not self.is_thawed():
            stuck = ", ".join(holder.name for holder in self.holders if not holder.is_over)
            warning = [f"not everything could be thawed ({stuck}); the automatic thaw goes on"]
            self.reply(self.pres, Answer(201, [], [self.reason, *warning]))
            self.reply(self.posts, Answer(202, ["held no"], warning))
            self.turn_anyway(time.monotonic() + 1)
        end = self.end_of(held_ms)
        if not request.is_dry_run:
            attempt(lambda: self.notes.end(request.execution, end))
            attempt(self.notes.release)
        failed = Answer(201, [], [self.reason, "nothing is held any more"])
        self.reply(self.pres, self.pre_answer if self.pre_answer and not self.reason else failed)
        self.reply(self.posts, end)

    def loss(self) -> str:
        """What was not held until the post-script; empty if all was."""
        if not self.held_since:
            return "the post-script came before the freeze was complete"
        lost = [holder.name for holder in self.holders if holder.state != "released"]
        if lost:
            return "not held until the post-script: " + ", ".join(lost)
        return "" if self.is_proved() else "the server does not know the session any more"

    def end_of(self, held_ms: str) -> Answer:
        """What the post-script is told."""
        if not self.held_since:
            return Answer(205, ["held no"], [self.reason])
        if not self.reason:
            return Answer(0, [held_ms, "held yes"])
        return Answer(203, [held_ms, "held no"], [self.reason])

    def is_thawed(self) -> bool:
        """Whether no file system is held."""
        return all(holder.is_over for holder in self.holders)

    def release_dead(self) -> None:
        """Thaws for the holders that were killed; after the others were told, since it may have to wait."""
        for holder in self.holders:
            if holder.state == "dead":
                holder.release_for_it()

    def is_proved(self) -> bool:
        """Whether the server still knows the session; asked after the thaw, for it may have to write to answer."""
        session, lock = self.session, self.lock
        if not session or not lock:
            return True
        session.tell(lock.prove)
        limit = time.monotonic() + LONGEST_PROOF
        while not session.is_over and value_of(session.output, "held") is None and time.monotonic() < limit:
            self.turn_anyway(limit)
        connection = value_of(session.output, "connection")
        return connection is not None and connection == value_of(session.output, "held")

    # --- the loop ---

    def turn(self, until: float) -> None:
        """Waits for one event, and no longer than that moment."""
        readers: Dict[int, Callable[[], None]] = {
            self.wake.fileno(): self.hear_signal,
            self.listener.fileno(): self.hear_newcomer,
        }
        for connection in self.connections:
            readers[connection.fileno()] = functools.partial(self.hear_stage, connection)
        for holder in self.holders:
            if not holder.is_over and holder.state != "dead":
                readers[holder.control.fileno()] = functools.partial(self.hear_holder, holder)
        if self.session and not self.session.is_over:
            readers[self.session.descriptor] = self.hear_session
        poll = select.poll()
        for descriptor in readers:
            poll.register(descriptor, select.POLLIN)
        for descriptor, _ in poll.poll(max(0, math.ceil((until - time.monotonic()) * 1000))):
            readers[descriptor]()

    def turn_anyway(self, until: float) -> None:
        """The same while letting go, which nothing may end."""
        try:
            self.turn(until)
        except Exception:
            time.sleep(0.01)
        self.release_dead()

    def hear_signal(self) -> None:
        """A SIGTERM: the service is stopped, or the machine."""
        self.wake.recv(64)
        self.end("it was stopped")

    def hear_newcomer(self) -> None:
        """A stage connects."""
        connection, _ = self.listener.accept()
        try:
            check_peer(connection)
        except PermissionError:
            connection.close()
            return
        connection.settimeout(1)  # for its answers: a stage that takes none must not hold up the thaw
        self.connections.append(connection)

    def hear_holder(self, holder: Holder) -> None:
        """A file system's process says something, or is dead."""
        held = holder.state == "held"
        holder.hear()
        if held or holder.state == "dead":
            self.end(f"{holder.name}: not held any more")

    def hear_session(self) -> None:
        """The database's client says something, or has ended."""
        session = self.session
        if session:
            session.read()
            if session.is_over and self.is_locked:
                self.end("the session with the server has ended")

    def hear_stage(self, connection: socket.socket) -> None:
        """A stage says something, or is gone."""
        try:
            message, descriptors = receive(connection)
        except (OSError, ValueError):
            message, descriptors = None, []
        if message is None:
            self.connections.remove(connection)
            if connection is self.owner:
                self.end("its pre-script is dead")
        elif message["stage"] == "pre":
            self.hear_pre(connection, Request(**message["request"]), descriptors)
        elif message["stage"] == "post" and self.request and message["execution"] == self.request.execution:
            self.posts.append(connection)
            self.end(POST_CAME if time.monotonic() < self.request.deadline else LIMIT_CAME)
        elif message["stage"] == "join" and self.request:
            self.join(connection, message["execution"])
        elif message["stage"] == "done":
            if connection is self.owner:
                self.owner = None
                self.reply(self.pres, self.pre_answer or Answer(201))
        else:
            attempt(lambda: send(connection, {"code": None}))

    def hear_pre(self, connection: socket.socket, request: Request, directories: Sequence[int]) -> None:
        """The first is the owner."""
        if self.request:
            for directory in directories:
                os.close(directory)
            self.join(connection, request.execution)
        else:
            self.request, self.directories = request, list(directories)
            self.owner = connection
            self.pres.append(connection)

    def join(self, connection: socket.socket, execution: str) -> None:
        """Another pre-script: of this execution it gets the same answer, of another it is refused."""
        if self.request and execution != self.request.execution:
            text = f"the freeze of execution {self.request.execution} is held; its post-script is expected"
            self.reply([connection], Answer(204, [], [text]))
        elif self.pre_answer and not self.owner and not self.reason:
            self.reply([connection], self.pre_answer)
        else:
            self.pres.append(connection)

    def end(self, reason: str) -> None:
        """The freeze is to end; the first reason is the one that is told."""
        self.reason = self.reason or reason

    def reply(self, askers: List[socket.socket], answer: Answer) -> None:
        """Answers all that wait; one that is gone needs no answer."""
        while askers:
            attempt(functools.partial(send, askers.pop(), answer._asdict()))


def spare_from_oom_killer() -> None:
    """Where root may; some containers' may not."""
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("-1000")


def attempt(action: Callable[[], Any]) -> Any:
    """What helps but is not needed; None if it fails."""
    with contextlib.suppress(Exception):
        return action()
    return None
