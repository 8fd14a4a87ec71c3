"""The commands of a document: pre-script, post-script, dry-run, and the keeper that the first one starts."""

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
from documents.messages import Answer, connect, exchange, listen, receive, send
from documents.notes import Notes

KINDS = ("filesystem", "mysql", "postgresql")
LONGEST_START = 5
NOT_OURS, SILENT = "not ours", "silent"
KEEPER, REHEARSAL = "-keeper", "-rehearsal"  # the second is a dry run's, which must not be in the first one's way


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
        role = arguments[0]
        sys.exit(keep(document, role) if role in (KEEPER, REHEARSAL) else clean_up(document, arguments[1]))
    command = document.parameters["command"]
    stages = {"pre-script": (pre_script, 201), "post-script": (post_script, 202), "dry-run": (dry_run, 206)}
    if command not in stages:
        sys.exit(report(Answer(1, [], ["no such command: " + command])))
    stage, failed = stages[command]
    try:
        document.notes.prepare()
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
    marker = document.notes.held()  # read before the keeper is asked for, since a keeper is there before its mark
    answer = ask_keeper(document.kind, {"stage": "join", "execution": document.execution}, document.timeout * 2)
    if answer == SILENT:
        raise NotReadyError("a keeper is there and does not answer")
    if isinstance(answer, Answer):
        return report(answer)  # sent twice, or another freeze is held
    with Owner(document, began) as owner:
        try:
            thaw_left_behind(document, marker)
            refuse_if_over(document)
            prepared = prepare(document, script)
            for directory in owner.open(prepared):
                sync_filesystem(directory)  # most of the writing is done before anything stands still
            document.quiesce()
        except Exception:
            attempt(lambda: document.notes.fail(document.execution))
            raise
        answer = owner.ask(script, is_dry_run=False)
        # What was mounted or attached while the plan was made might be written to.
        if answer.code == 0 and look(document, script, prepared.paths)[1] != prepared.plan:
            raise NotReadyError("what is mounted has changed meanwhile")
        code = report(answer)
        if code == 0:
            owner.done()
        return code


def refuse_if_over(document: Document) -> None:
    """A pre-script that comes after its post would freeze for nobody."""
    if document.notes.how_ended(document.execution):
        raise NotReadyError("this executionId is over: its post-script, or its time limit, has already been")


def dry_run(document: Document, script: str) -> int:
    """Does all that a pre-script does, but for the lock and the freeze."""
    prepared = prepare(document, script)
    with Owner(document, time.monotonic()) as owner:
        owner.open(prepared)
        answer = owner.ask(script, is_dry_run=True)
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

    def ask(self, script: str, *, is_dry_run: bool) -> Answer:
        """The answer of the keeper, which is started for it."""
        document = self.document
        longest = min(2.0 * document.timeout, document.longest_hold)
        deadline = self.began + longest - min(0.5, longest / 4)
        lock = document.lock(longest)
        request = Request(
            execution=document.execution,
            is_dry_run=is_dry_run,
            began=self.began,
            deadline=deadline,
            patience=patience(document),
            claims=self.claims,
            freeze=[[mount.number, mount.point] for mount, _ in self.freeze],
            sync=[[mount.number, mount.point] for mount, _ in self.sync],
            lock=list(lock) if lock else None,
        )
        connection = self.connection = start_keeper(document, script, REHEARSAL if is_dry_run else KEEPER)
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
    with open(script, "rb") as source, open(program + ".new", "wb") as copy:
        copy.write(source.read())
    os.rename(program + ".new", program)
    arguments = [sys.executable, "-I", "-S", program]
    if not start_service(arguments, document, role):
        null = subprocess.DEVNULL
        subprocess.Popen([*arguments, role], stdin=null, stdout=null, stderr=null, start_new_session=True)
    limit = time.monotonic() + LONGEST_START
    while time.monotonic() < limit:
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
        "--property=ExecStopPost={} clean-up {}".format(" ".join(arguments), document.execution),
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


def keep(document: Document, role: str) -> int:
    """The keeper's process."""
    listener = listen(document.kind + role)
    if listener:
        Keeper(document.notes, listener).run()
    return 0


# --- post-script, and where no keeper is ---


def post_script(document: Document, script: str) -> int:
    """Thaws, and says whether all was held until now."""
    notes = document.notes
    if document.execution == "None":
        raise NotReadyError("an executionId is needed: it says whose the freeze is")
    answer = ask_for_end(document)
    if not isinstance(answer, Answer):
        ended = notes.how_ended(document.execution)
        if ended and answer != SILENT:
            return report(ended)
        # A pre-script that comes later finds this note; one that came meanwhile has its keeper by now.
        attempt(lambda: notes.end(document.execution, Answer(205, ["held no"])))
        answer = ask_for_end(document) if answer != SILENT else answer
    if not isinstance(answer, Answer):
        if answer == NOT_OURS and notes.has_failed(document.execution):
            answer = Answer(205, ["held no"], ["its pre-script has touched nothing"])
        else:
            answer = thaw_found(document, script, is_silent=answer == SILENT)
        attempt(lambda: notes.end(document.execution, answer))
    code = report(answer)
    attempt(notes.clear_old)
    return code


def ask_for_end(document: Document) -> Any:
    """The answer of this execution's keeper; else NOT_OURS or SILENT."""
    return ask_keeper(
        document.kind, {"stage": "post", "execution": document.execution}, patience(document) + document.proof_seconds
    )


def ask_keeper(kind: str, message: Dict[str, Any], seconds: float) -> Any:
    """What a keeper says; else NOT_OURS where there is none with an answer, SILENT where it does not answer."""
    try:
        connection = connect(kind + KEEPER)
        if not connection:
            return NOT_OURS
        with connection:
            answer = exchange(connection, message, seconds)
    except socket.timeout:
        return SILENT
    if not answer:
        return NOT_OURS
    return Answer(**answer) if "code" in answer else answer["held"]


def thaw_found(document: Document, script: str, *, is_silent: bool) -> Answer:
    """Thaws what is frozen of the set's volumes, unless another execution's keeper holds it."""
    notes = document.notes
    marker = notes.held()
    layout, plan = look(document, script, [])
    numbers = set(plan.freeze)
    if marker and marker["execution"] == document.execution:
        numbers |= set(marker["numbers"])
    for kind in KINDS:
        held = SILENT if is_silent and kind == document.kind else ask_keeper(kind, {"stage": "held"}, 1)
        numbers -= set(held) if isinstance(held, list) else set()
    thawed = thaw_all(layout.mounts, sorted(numbers), patience(document))
    if marker and marker["execution"] == document.execution and not thawed.stuck:
        notes.release()
    if thawed.stuck:
        return Answer(202, ["held no"], ["cannot be seen to be writable: " + ", ".join(thawed.stuck)])
    if thawed.frozen or is_silent:
        return Answer(
            203,
            ["held no"],
            ["its keeper was gone or did not answer; thawed: " + (", ".join(thawed.frozen) or "nothing")],
        )
    return Answer(205, ["held no"], ["nothing is frozen for this executionId"])


def thaw_left_behind(document: Document, marker: Optional[Dict[str, Any]]) -> None:
    """Thaws what is held though its keeper and all its holders were killed."""
    if marker:
        report(Answer(0, [], ["the freeze of execution {} was left behind".format(marker["execution"])]))
        mounts = read_mounts(System())
        there = {mount.number for mount in mounts}  # what was detached meanwhile needs nobody
        thawed = thaw_all(mounts, [number for number in marker["numbers"] if number in there], patience(document))
        if thawed.stuck:
            raise NotReadyError("what was left behind cannot be thawed: " + ", ".join(thawed.stuck))
        attempt(lambda: document.notes.end(marker["execution"], Answer(203, ["held no"])))
        document.notes.release()


def clean_up(document: Document, execution: str) -> int:
    """After a keeper's service: something is left to do only if all its processes were killed."""
    marker = document.notes.held()
    if marker and marker["execution"] == execution and ask_keeper(document.kind, {"stage": "held"}, 1) == NOT_OURS:
        thaw_left_behind(document, marker)
    return 0
