"""The commands of a document: pre-script, post-script, dry-run, and the keeper that the first one starts."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from typing import Any, Dict, List, NamedTuple, NoReturn, Optional, Sequence, Tuple

from documents.keeper import Keeper, Lock, Request, attempt
from documents.kernel import open_mount, sync_filesystem
from documents.layout import (
    Layout,
    Mount,
    Plan,
    System,
    add_journals,
    make_plan,
    never_frozen,
    read_layout,
    read_mounts,
)
from documents.left_behind import thaw_all
from documents.messages import Answer, connect, exchange, is_taken, listen, receive, send
from documents.notes import Notes, write_whole

LONGEST_START = 5
KEEPER, REHEARSAL, HOLDERS, CLEAN_UP = "-keeper", "-rehearsal", "-holders", "-clean-up"
SILENT = Answer(-1)
NOT_FROZEN = Answer(205, ["held no"], ["nothing is frozen for this executionId"])


class NotReadyError(Exception):
    """Why nothing can be frozen: one line for each reason."""


class Document:
    """What a document adds to the freeze; the base adds nothing."""

    kind = "filesystem"
    lock_suffices = False
    longest_hold = 1800.0
    proof_seconds = 3.0  # what a keeper may take for its answer besides the thaw

    def __init__(self, parameters: Dict[str, str]) -> None:
        self.parameters = parameters
        self.execution = parameters["executionId"]
        self.volume_ids = [volume for volume in parameters["volumeIds"].split(",") if volume]
        pairs = [pair.split("=") for pair in parameters["volumeDevices"].split(",") if pair]
        self.volume_devices = dict(pairs)
        self.timeout = int(parameters["timeoutSeconds"])
        self.notes = Notes(self.kind)

    def database_paths(self) -> List[str]:
        """Where the database's files are. NotReadyError if it cannot be asked or may not be locked."""
        return []

    def quiesce(self) -> None:
        """What makes a recovery short and blocks nobody."""

    def lock(self, seconds: float) -> Optional[Lock]:
        """The lock to hold meanwhile, which the server itself ends after so many seconds."""
        return None


def main(document: Document, arguments: Sequence[str]) -> NoReturn:
    """Runs the command of the parameters, or what a keeper's start and end ask for."""
    script = os.path.abspath(sys.argv[0])
    os.umask(0o077)
    os.chdir("/")  # whatever directory the agent has chosen, it must not be on what is frozen
    if os.geteuid():
        sys.exit(report(Answer(206, [], ["this runs as root"])))
    if arguments:
        if arguments[0] == CLEAN_UP:  # after a keeper's service; something is left only if all of it was killed
            thaw_left_behind(document)
        else:
            keep(document, arguments[0])
        sys.exit()
    command = document.parameters["command"]
    stages = {"pre-script": (pre_script, 201), "post-script": (post_script, 202), "dry-run": (dry_run, 206)}
    if command not in stages:
        sys.exit(report(Answer(1, [], ["no such command: " + command])))
    stage, failed = stages[command]
    try:
        try:
            document.notes.prepare()
        except OSError:
            if command != "post-script":  # which thaws without it
                raise
        code = stage(document, script)
    except NotReadyError as error:
        code = report(Answer(failed, [], str(error).split("\n")))
    except Exception as error:
        code = report(Answer(failed, [], [f"{type(error).__name__}: {error}"]))
    sys.exit(code)


def report(answer: Answer) -> int:
    """Prints an answer; its lines are for the function, and only ASCII, since a mount point may have any name."""
    for stream, texts in ((sys.stderr, answer.warnings), (sys.stdout, answer.lines)):
        text = "".join(f"auto-snapshots: {line}\n" for line in texts if line)
        stream.buffer.write(text.encode("ascii", "backslashreplace"))
        stream.flush()
    return answer.code


# --- pre-script and dry-run ---


class Prepared(NamedTuple):
    """What is about to be frozen."""

    plan: Plan
    layout: Layout
    paths: List[str]

    def mounts(self, numbers: Sequence[str]) -> List[Tuple[Mount, int]]:
        """Each device's mount and an open descriptor of it. NotReadyError for one that no path leads to."""
        found = []
        for number in numbers:
            for mount in self.layout.mounts:
                directory = open_mount(mount) if mount.number == number else None
                if directory is not None:
                    found.append((mount, directory))
                    break
            else:
                raise NotReadyError(f"device {number} cannot be reached by any mount point")
        return found


def prepare(document: Document, script: str) -> Prepared:
    """The plan. NotReadyError with each reason why there is none."""
    paths = document.database_paths()
    layout, plan = look(document, script, paths)
    report(Answer(0, [], plan.notes))
    if plan.faults:
        raise NotReadyError("\n".join(plan.faults))
    return Prepared(plan, layout, paths)


def look(document: Document, script: str, paths: Sequence[str]) -> Tuple[Layout, Plan]:
    """The instance as it is now."""
    system = System()
    needs: Dict[str, str] = {}
    for path in paths:
        number = system.device_of(path)
        if not number:
            raise NotReadyError(f"the database needs {path}, which is not on this instance")
        needs.setdefault(number, path)
    layout = read_layout(system, document.volume_devices, is_named=bool(document.volume_ids))
    ours = [os.path.dirname(script), sys.executable, os.__file__]
    kept = never_frozen(layout, system, ours)
    add_journals(layout, system, kept)
    return layout, make_plan(layout, kept, document.volume_ids, needs, document.lock_suffices)


def pre_script(document: Document, script: str) -> int:
    """Locks and freezes."""
    began = time.monotonic()
    not_after = int(document.parameters["notAfter"])
    if document.execution == "None":
        raise NotReadyError("an executionId is needed: it says whose the freeze is")
    if not_after and time.time() > not_after:
        raise NotReadyError("this comes later than notAfter")
    refuse_if_over(document)
    answer = ask_keeper(document, {"stage": "join", "execution": document.execution}, document.timeout * 2)
    if answer == SILENT:
        raise NotReadyError("a keeper is there and does not answer")
    if answer:
        return report(answer)  # sent twice, or another freeze is held
    thaw_left_behind(document)
    refuse_if_over(document)
    prepared = prepare(document, script)
    with Owner(document, began) as owner:
        for directory in owner.open(prepared):
            sync_filesystem(directory)  # most of the writing is done before anything stands still
        document.quiesce()
        answer = owner.ask(script, KEEPER)
        # What was mounted or attached while the plan was made might be written to.
        if answer.code == 0 and look(document, script, prepared.paths)[1] != prepared.plan:
            raise NotReadyError("what is mounted has changed meanwhile")
        code = report(answer)
        if code == 0:
            owner.done()
        return code


def refuse_if_over(document: Document) -> None:
    """A pre-script that comes after its post would freeze for nobody."""
    if document.notes.is_over(document.execution):
        raise NotReadyError("this executionId is over: its post-script, or its time limit, has already been")


def dry_run(document: Document, script: str) -> int:
    """Does all that a pre-script does, but for the lock and the freeze."""
    prepared = prepare(document, script)
    with Owner(document, time.monotonic()) as owner:
        owner.open(prepared)
        # Under a name of its own, so that it is in nobody's way.
        answer = owner.ask(script, f"{REHEARSAL}-{os.getpid()}")
        if answer.code:
            raise NotReadyError("\n".join(answer.warnings))
    points = {mount.number: mount.point for mount in reversed(prepared.layout.mounts)}
    lines = ["would freeze " + points[number] for number in prepared.plan.freeze]
    return report(Answer(0, [*lines, " ".join(["ready", *prepared.plan.claims])]))


class Owner:
    """The pre-script's end of the connection to its keeper: when it closes before `done`, the keeper lets go."""

    def __init__(self, document: Document, began: float) -> None:
        self.document = document
        self.began = began
        self.connection: Optional[socket.socket] = None
        self.claims: List[str] = []
        self.freeze: List[Tuple[Mount, int]] = []
        self.sync: List[Tuple[Mount, int]] = []

    def __enter__(self) -> "Owner":
        return self

    def __exit__(self, *_: object) -> None:
        if self.connection:
            self.connection.close()

    def open(self, prepared: Prepared) -> List[int]:
        """Opens all that is to be held still; what is held open cannot be unmounted."""
        self.claims = list(prepared.plan.claims)
        self.freeze = prepared.mounts(prepared.plan.freeze)
        self.sync = prepared.mounts(prepared.plan.sync)
        return [directory for _, directory in self.sync + self.freeze]

    def ask(self, script: str, role: str) -> Answer:
        """The answer of the keeper, which is started for it."""
        document = self.document
        longest = min(2.0 * document.timeout, document.longest_hold)
        deadline = self.began + longest - min(0.5, longest / 4)
        lock = document.lock(deadline - time.monotonic())
        request = Request(
            execution=document.execution,
            is_dry_run=role != KEEPER,
            began=self.began,
            deadline=deadline,
            patience=patience(document),
            claims=self.claims,
            freeze=[[mount.number, mount.point] for mount, _ in self.freeze],
            sync=[[mount.number, mount.point] for mount, _ in self.sync],
            lock=list(lock) if lock else None,
        )
        connection = self.connection = start_keeper(document, script, role)
        longest_answer = patience(document) + document.proof_seconds
        connection.settimeout(max(0.0, deadline - time.monotonic()) + longest_answer)
        descriptors = [directory for _, directory in self.sync + self.freeze]
        send(connection, {"stage": "pre", "request": request._asdict()}, descriptors)
        answer = receive(connection)[0]
        if not answer:
            raise NotReadyError("the keeper was killed")
        return Answer(**answer)

    def done(self) -> None:
        """The answer is printed."""
        if self.connection:
            send(self.connection, {"stage": "done"})


def patience(document: Document) -> float:
    """How long a thaw is waited for before it is said not to be done, in seconds."""
    return min(5.0, max(2.0, document.timeout / 4))


def start_keeper(document: Document, script: str, role: str) -> socket.socket:
    """Starts a keeper outside the agent's process group; where systemd is, as a service of its own."""
    program = document.notes.program
    with open(script, "rb") as source:
        write_whole(program, source.read())
    arguments = [sys.executable, "-I", "-S", program]
    if not start_service(arguments, document, role):
        null = subprocess.DEVNULL
        subprocess.Popen([*arguments, role], stdin=null, stdout=null, stderr=null, start_new_session=True)
    limit = time.monotonic() + LONGEST_START
    while time.monotonic() < limit:
        with contextlib.suppress(BlockingIOError):
            connection = connect(document.kind + role)
            if connection:
                return connection
        time.sleep(0.01)
    raise NotReadyError("the automatic thaw did not start, or its name is taken by another user's program")


def start_service(arguments: List[str], document: Document, role: str) -> bool:
    """Whether systemd started the keeper: a service is stopped first at shutdown, and cleaned up after, if killed."""
    if not os.path.isdir("/run/systemd/system"):
        return False
    command = [
        "systemd-run",
        "--quiet",
        "--collect",
        f"--unit=auto-snapshots-{document.kind}{role}-{document.execution}",
        "--property=ExecStopPost={} {}".format(" ".join(arguments), CLEAN_UP),
        "--property=KillMode=process",  # a holder whose storage stalls must not delay what comes after the keeper
        "--property=TimeoutStopSec=10",
        *arguments,
        role,
    ]
    null = subprocess.DEVNULL
    try:
        return subprocess.call(command, stdin=null, stdout=null, stderr=null, timeout=LONGEST_START) == 0
    except (OSError, subprocess.SubprocessError):
        return False


def keep(document: Document, role: str) -> None:
    """The keeper's process."""
    listener = listen(document.kind + role)
    if listener:
        Keeper(document.notes, listener, document.kind + role + HOLDERS).run()


# --- post-script, and where no keeper is ---


def post_script(document: Document, _script: str) -> int:
    """Thaws, and says whether all was held until now."""
    notes, execution = document.notes, document.execution
    if execution == "None":
        raise NotReadyError("an executionId is needed: it says whose the freeze is")
    answer = ask_for_end(document)
    if answer is None:
        # A pre-script that comes later finds this mark; one that came meanwhile has its keeper by now.
        attempt(lambda: notes.refuse(execution))
        answer = ask_for_end(document)
    if answer is None or answer == SILENT:
        marker = attempt(notes.held)
        if marker and marker["execution"] == execution:
            answer = thaw_marked(document, marker)
        else:
            # Its keeper marks what it is about to freeze, and takes the mark away when the thaw is seen.
            answer = attempt(lambda: notes.how_ended(execution)) or NOT_FROZEN
        if answer.code in (203, 205):
            attempt(lambda: notes.end(execution, answer))
    code = report(answer)
    attempt(notes.clear_old)
    return code


def ask_for_end(document: Document) -> Optional[Answer]:
    """The answer of this execution's keeper; None without one, SILENT if there is one that does not answer."""
    seconds = max(3.0, min(patience(document) + document.proof_seconds, 0.6 * document.timeout))
    return ask_keeper(document, {"stage": "post", "execution": document.execution}, seconds)


def ask_keeper(document: Document, message: Dict[str, Any], seconds: float) -> Optional[Answer]:
    """What a keeper answers; None where there is none for this execution, SILENT where it does not answer."""
    try:
        connection = connect(document.kind + KEEPER)
        if not connection:
            return None
        with connection:
            answer = exchange(connection, message, seconds)
    except (socket.timeout, BlockingIOError):
        return SILENT
    return Answer(**answer) if answer and answer["code"] is not None else None


def thaw_marked(document: Document, marker: Dict[str, Any]) -> Answer:
    """Thaws what a keeper that is gone, or does not answer, has marked as held; what that means for its post."""
    mounts = read_mounts(System())
    there = {mount.number for mount in mounts}  # what was detached meanwhile needs nobody
    numbers = [number for number in marker["numbers"] if number in there]
    thawed = thaw_all(mounts, numbers, patience(document), lambda: is_taken(document.kind + KEEPER + HOLDERS))
    if thawed.stuck:
        warning = f"cannot be seen to be writable: {', '.join(thawed.stuck)}; the thaw is tried on"
        return Answer(202, ["held no"], [warning])
    attempt(document.notes.release)
    found = ", ".join(thawed.frozen) or "nothing was frozen any more"
    return Answer(203, ["held no"], ["its keeper is gone or does not answer; thawed: " + found])


def has_keeper(document: Document) -> bool:
    """Whether one is there, whatever it does."""
    try:
        connection = connect(document.kind + KEEPER)
    except (socket.timeout, BlockingIOError):
        return True
    if connection:
        connection.close()
    return connection is not None


def thaw_left_behind(document: Document) -> None:
    """Thaws what is held though its keeper and all its holders were killed."""
    marker = document.notes.held()
    # Asked for after the mark was read, for a keeper is there before its mark; and read again, for it may have ended.
    if marker and not has_keeper(document) and marker == document.notes.held():
        answer = thaw_marked(document, marker)
        report(Answer(0, [], [f"the freeze of execution {marker['execution']} was left behind", *answer.warnings]))
        if document.notes.held():
            raise NotReadyError("what was left behind cannot be thawed")
        attempt(lambda: document.notes.end(marker["execution"], answer))
