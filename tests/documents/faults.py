"""One fault at a time in a process of a freeze; run as a module, this is a slot: disks on which cases follow another.

A process that is to be hit says so and stops before its first statement; strace is attached, and from there on counts
the calls of this process alone. What comes before, the interpreter's start, fails like a command that is missing.
"""

import collections
import contextlib
import dataclasses
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

from documents.kernel import freeze, thaw
from tests.documents.agent import Agent, Result, document_content

LIMIT, MARGIN = 2, 2  # seconds: twice the time-out, and what a busy machine may take beyond
LONGEST_STAGE = 6  # then the agent kills it
STATE, BIN, FIFO, TRACE, ORDER, COUNT = map(
    Path, ("/run/faults", "/run/bin", "/run/fifo", "/run/trace", "/run/order", "/run/count")
)
HIT = r"\(INJECTED\)|= \?|stopped by"
PYTHON = "/usr/bin/python3"
MAIN = 'if __name__ == "__main__":'
HOOK = """
_forks = []


def _begins(role):
    if os.environ.get("FAULT_IN") == role:
        with open("/run/fifo", "w") as fifo:
            fifo.write("%d\\n" % os.getpid())
        os.kill(os.getpid(), signal.SIGSTOP)


_role = (sys.argv[1:] or [PARAMETERS["command"]])[0].strip("-")
os.register_at_fork(before=lambda: _forks.append(0), after_in_child=lambda: _begins(f"{_role}/{len(_forks)}"))
_begins(_role)
sys.executable = os.environ.get("FAULT_EXECUTABLE", sys.executable)
"""
# In front of each external command: does what is ordered for its n-th call, else what it should.
WRAPPER = """#!/bin/sh
name=${0##*/}; n=$(($(cat /run/count) + 1)); echo $n >/run/count
read -r ordered nth what </run/order
[ "$ordered $nth $what" != "$name $((n + 1)) missing" ] || rm "$0"
for PATH in /usr/lib/postgresql/*/bin; do PATH=$PATH:/usr/bin:/bin; done
if [ "$ordered $nth" = "$name $n" ]; then
  case $what in
    fail) exit 1 ;;
    nothing) exit 0 ;;
    hang) exec sleep 30 ;;
    kill) kill -9 $$ ;;
    -*) exec strace -D -s 64 -o /run/trace $what "$name" "$@" ;;
  esac
fi
exec "$name" "$@"
"""
CANNOT_FAIL = {"umask", "geteuid", "getuid", "gettid", "exit_group", "restart_syscall", "rt_sigreturn"}
# What a kill that comes later cannot take back.
EFFECTS = {"mkdir", "write", "rename", "unlink", "bind", "listen", "connect", "accept4", "sendmsg", "sendto", "recvmsg"}
EFFECTS |= {"recvfrom", "clone", "clone3", "fork", "vfork", "exit_group"}
ERRORS = {
    **dict.fromkeys(("mkdir", "write", "rename", "link"), "ENOSPC"),
    **dict.fromkeys(("clone", "clone3", "fork", "vfork"), "EAGAIN"),
    **dict.fromkeys(("mmap", "mlockall", "poll", "mremap", "munmap"), "ENOMEM"),
    **dict.fromkeys(("socket", "socketpair", "pipe2", "accept4"), "EMFILE"),
    **dict.fromkeys(("sendmsg", "sendto", "bind", "listen"), "ENOBUFS"),
    **dict.fromkeys(("recvmsg", "recvfrom", "connect"), "ECONNRESET"),
}


@dataclasses.dataclass(frozen=True)
class Fault:
    """In the n-th call, counted for each system call or command, of one process."""

    role: str
    call: str = ""
    nth: int = 0
    what: str = ""

    def __str__(self):
        return f"{self.role}: {self.call}#{self.nth} {self.what}"


def faults(role, calls, select=lambda _position: True):
    """Each call of a recorded run failing, and the process killed before each that has an effect."""
    seen: collections.Counter[str] = collections.Counter()
    for position, (call, arguments) in enumerate(calls):
        seen[call] += 1
        if not select(position):
            continue
        creates = "O_CREAT" in arguments
        if call == "brk":
            yield Fault(role, call, seen[call], "retval=0")  # as this call says that there is no memory
        elif call not in CANNOT_FAIL:
            yield Fault(role, call, seen[call], "error=" + ("ENOSPC" if creates else ERRORS.get(call, "EIO")))
        if call in EFFECTS or creates or "FIFREEZE" in arguments or "FITHAW" in arguments:
            yield Fault(role, call, seen[call], "signal=KILL")


def besides_the_look(calls):
    """Where a database's document differs before its keeper: it asks the server before the look, and flushes after."""
    texts = [f"{call} {arguments}" for call, arguments in calls]
    look = next(number for number, text in enumerate(texts) if '"/sys/block"' in text)
    synced = max(number for number, text in enumerate(texts) if text.startswith("syncfs"))
    start = next(number for number, text in enumerate(texts) if "/program." in text)
    return lambda position: position < look or synced < position < start


def commands(name, numbers):
    """Each call of a command fails: it is not there, fails, says nothing, or is killed."""
    return [Fault("command", name, nth, what) for nth in numbers for what in ("missing", "fail", "hang", "kill")]


def sessions(nth, calls):
    """A client that is killed, or hangs, at each of its words with the keeper and the server."""
    seen: collections.Counter[str] = collections.Counter()
    has_begun = False
    for call, arguments in calls:
        seen[call] += 1
        has_begun = has_begun or (call, arguments[:2]) == ("read", "0,")
        for stop in ("KILL", "STOP") if has_begun else ():
            what = f"-e trace={call} -e inject={call}:signal={stop}:when={seen[call]}"
            yield Fault("session", "mariadb", nth, what)


def recorded(text):
    """The calls of a trace: name and arguments."""
    return re.findall(r"^(\w+)\((.*)", text, re.MULTILINE)


class Slot:
    """Two mounted disks, in namespaces where nobody else is."""

    def __init__(self, folder, mounts, loops):
        self.mounts = mounts
        self.directories = [os.open(mount, os.O_RDONLY) for mount in mounts]
        self.volumes = [f"vol-{number:08x}" for number in range(1, 1 + len(mounts))]
        self.agent = Agent(Path(folder), shell=(PYTHON, "-I", "-S"))
        by_id, blocks = Path("/dev/disk/by-id"), Path("/run/block")
        for directory in (by_id, blocks, BIN):
            directory.mkdir()
        for volume, loop in zip(self.volumes, loops, strict=True):
            (by_id / f"nvme-Amazon_Elastic_Block_Store_{volume.replace('-', '')}").symlink_to(loop)
            (blocks / Path(loop).name).symlink_to(f"../devices/virtual/block/{Path(loop).name}")
        subprocess.run(["mount", "--bind", blocks, "/sys/block"], check=True)  # the same calls whoever else has disks
        BIN.chmod(0o777)  # PostgreSQL's user runs the wrappers
        os.mkfifo(FIFO)

    def prepare(self, fault):
        """Writes what is to happen."""
        for name in ("systemd-run", "mariadb", "psql", "aws"):
            (BIN / name).write_text(WRAPPER)
            (BIN / name).chmod(0o755)
        for path, text in ((ORDER, f"{fault.call} {fault.nth} {fault.what}\n"), (COUNT, "0\n"), (TRACE, "")):
            path.write_text(text)
            path.chmod(0o666)
        for name, text in (("hang", "exec sleep 30"), ("die", "kill -9 $$")):
            (BIN / name).write_text(f"#!/bin/sh\n{text}\n")
            (BIN / name).chmod(0o755)
        if (fault.call, fault.nth, fault.what) in {(name.name, 1, "missing") for name in BIN.iterdir()}:
            (BIN / fault.call).unlink()

    def stage(self, command, env, timeout=LIMIT // 2, **fields):
        """Runs a stage; one that hangs is killed, as the agent would."""
        agent = dataclasses.replace(self.agent, env={"PATH": f"{BIN}:{os.environ['PATH']}", **env})
        content = self.content
        if "FAULT_PYTHON" in env:
            content = document_content(f"{self.kind}Document")
            hide = 'mount --bind /bin/false /usr/bin/python3 && exec "$@"'
            agent = dataclasses.replace(agent, shell=("sh",), prefix=("unshare", "--mount", "sh", "-c", hide, "_"))
        values = {"command": command, "volumeIds": ",".join(self.volumes), "timeoutSeconds": str(timeout)}
        running = agent.start(content, {**values, **self.fields, **fields})
        try:
            return running.wait(LONGEST_STAGE)
        except subprocess.TimeoutExpired:
            running.kill()
            return Result(-signal.SIGKILL, "", "the agent killed it", LONGEST_STAGE)

    def attach(self, fault):
        """Waits for the process and lets strace count its calls."""
        with FIFO.open() as fifo:
            pid = int(fifo.readline())
        while pid and Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "T":
            time.sleep(0.001)
        if pid:
            where = [
                "-e",
                f"trace={fault.call},sendmsg,sendto",
                "-e",
                f"inject={fault.call}:{fault.what}:when={fault.nth}",
            ]
            command = ["strace", "-s", "64", "-e", "signal=none", "-o", str(TRACE), "-p", str(pid)]
            tracer = subprocess.Popen(command + (where if fault.call else []), stderr=subprocess.PIPE)
            assert tracer.stderr
            tracer.stderr.readline()  # attached
            os.kill(pid, signal.SIGCONT)

    def run(self, kind, more, fault, course):
        """One case: what went wrong, whether the fault came, and whether it left nothing that time could change."""
        self.kind, self.content, self.fault = kind, instrumented(kind), fault
        self.fields = {"secretId": "db/backup"} if fault.call == "aws" else more
        self.problems: list[str] = []
        self.said: list[str] = []
        self.prepare(fault)
        attaching = threading.Thread(target=self.attach, args=(fault,))
        attaching.start()
        try:
            is_quiet = self.follow(course)
            self.fields = more
            self.trace, self.count = TRACE.read_text(), int(COUNT.read_text())
            folder = STATE / kind
            if not (folder / "ended").is_dir() or (folder / "program").exists() or any(processes()):
                self.freeze_afresh()  # else nothing is there that it could meet
        finally:
            with contextlib.suppress(OSError):  # it never came
                os.write(os.open(FIFO, os.O_WRONLY | os.O_NONBLOCK), b"0\n")
            for directory in self.directories:
                thaw(directory)
            with contextlib.suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)  # all of this slot's
            attaching.join()
            shutil.rmtree(STATE, ignore_errors=True)
            shutil.rmtree("/run/systemd", ignore_errors=True)
            shutil.rmtree(self.agent.orchestration)
        is_traced = fault.what.startswith(("error=", "retval=", "signal=", "-"))
        came = not is_traced or bool(re.search(HIT, self.trace))
        return {"problems": self.problems and [*self.problems, *self.said], "came": came, "quiet": is_quiet} | {
            "trace": self.trace,
            "count": self.count,
        }

    def follow(self, course):
        """Takes one course through a freeze and sees whether every claim holds."""
        fault, began = self.fault, time.monotonic()
        began -= LIMIT + MARGIN if course == "lone" else 0  # nothing is frozen, so there is nothing to wait for
        env = {"FAULT_IN": fault.role}
        if fault.call == "systemd-run":
            Path("/run/systemd/system").mkdir(parents=True)
        if fault.role == "executable":
            env["FAULT_EXECUTABLE"] = fault.call
        pre_env = {**env, "FAULT_PYTHON": "1"} if fault == Fault("python", "pre-script") else env
        post_env = {"FAULT_PYTHON": "1"} if fault == Fault("python", "post-script") else {}
        post_env = env if fault.role.startswith("post-script") else post_env
        claims: list[str] = []
        execution, pre = str(uuid.uuid4()), None
        if course != "lone":
            pre = self.told("pre-script", pre_env, execution, {0, 201})
            claims = (pre.said("frozen") or "").split() if pre.exit_code == 0 else []
            self.must(pre.exit_code or claims == self.volumes, f"claims {claims}")
            frozen = [is_frozen(directory) for directory in self.directories]
            is_early = time.monotonic() < began + LIMIT - 0.6
            self.must(not claims or all(frozen) or self.came_late() or not is_early, "claimed and not frozen")
        may_hold = pre and (claims or pre.exit_code < 0)  # it may be killed after its answer
        probes = [subprocess.Popen(["sh", "-c", 'echo x >"$0/probe"', mount]) for mount in self.mounts]
        time.sleep(0.1)  # for whoever could write
        is_quiet = bool(pre and pre.exit_code) and self.is_quiet_soon()
        if course == "limit":
            self.must_end(began)
        was_written = any(probe.poll() is not None for probe in probes)
        post = self.told("post-script", post_env, execution, {0, 202, 203, 205})
        self.must(post.said("held") != "yes" or (may_hold and not was_written), "held yes, but it was not")
        if post.exit_code in {0, 203, 205}:
            self.must_be_writable("post ended")
        else:
            self.must_end(began)
            post = self.told("post-script", {}, execution, {0, 203, 205})
            self.must(post.said("held") != "yes" or (may_hold and not was_written), "held yes, but it was not")
        return is_quiet

    def freeze_afresh(self):
        """Nothing of what was stands in the way of the next one."""
        self.prepare(Fault("none"))
        fresh = str(uuid.uuid4())
        self.told("pre-script", {}, fresh, {0}, timeout=20)
        self.must(self.told("post-script", {}, fresh, {0}, timeout=20).said("held") == "yes", "no fresh freeze")
        self.must_be_writable("all was over")

    def told(self, command, env, execution, codes, **more):
        """A stage's result, which is among the documented ones unless it was killed."""
        result = self.stage(command, env, executionId=execution, **more)
        self.said.append(f"{command} {result.exit_code}: {result.stdout.strip()} {result.stderr.strip()[-600:]}")
        killed = -signal.SIGKILL
        excuses = {"python": {206}, command: {1, killed}}.get(self.fault.role, set()) if env else set()
        excuses |= {killed} if self.fault.what == "hang" or "STOP" in self.fault.what else set()
        self.must(result.exit_code in codes | excuses, f"code {result.exit_code}")
        return result

    def is_quiet_soon(self):
        """Whether a pre-script that failed has left no process, so that waiting would change nothing."""
        end = time.monotonic() + 0.4
        while any(processes()) and time.monotonic() < end:
            time.sleep(0.02)
        return not any(processes())

    def must(self, is_so, problem):
        if not is_so:
            self.problems.append(problem)

    def must_end(self, began):
        time.sleep(max(0, began + LIMIT + MARGIN - time.monotonic()))
        self.must_be_writable("the limit had come", wait=0)

    def must_be_writable(self, when, wait=1):
        """The kernel and the server themselves say what is held; the server may take a moment to see a client gone."""
        self.must(not [1 for directory in self.directories if thaw(directory)], f"frozen when {when}")
        if "optionFile" in self.fields:
            insert = f"SET SESSION lock_wait_timeout={wait}; INSERT INTO d.t VALUES (1)"
            client = ["/usr/bin/mariadb", "--defaults-file=" + self.fields["optionFile"], "-e", insert]
            self.must(
                not subprocess.run(client, check=False, stderr=subprocess.DEVNULL).returncode, f"locked when {when}"
            )

    def came_late(self):
        """Whether what was held or answered already was hit afterwards, which only a post-script can tell."""
        before = re.split(HIT, TRACE.read_text())[0]
        is_held = "frozen" in before or '"held"' in before
        return self.fault.role == "session" or ("keeper" in self.fault.role and is_held)


@functools.cache
def instrumented(kind):
    """A document whose processes tell that they begin, compiled once, in a folder where no other test cleans up."""
    content = document_content(f"{kind}Document")
    (text,) = content["mainSteps"][0]["inputs"]["runCommand"]
    text, run = text.replace("/run/auto-snapshots", str(STATE)).split(MAIN)
    code = Path(f"/run/{kind}.code")
    compiler = "import marshal, sys; marshal.dump(compile(sys.stdin.read(), 'document', 'exec'), sys.stdout.buffer)"
    with code.open("wb") as file:
        subprocess.run([PYTHON, "-I", "-c", compiler], input=text, text=True, stdout=file, check=True)
    parameters = {name: f"{{{{ {name} }}}}" for name in content["parameters"] if f"{{{{ {name} }}}}" in text}
    load = f"import marshal\nexec(marshal.loads(open({str(code)!r}, 'rb').read()))\nPARAMETERS.update({parameters})\n"
    content["mainSteps"][0]["inputs"]["runCommand"] = [load + HOOK + MAIN + run]
    return content


def is_frozen(directory):
    try:
        freeze(directory)
    except OSError:
        return True
    thaw(directory)
    return False


def processes():
    """Those of a freeze."""
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if f"{STATE}/".encode() in command.read_bytes():
                yield command


def main():
    slot = Slot(*json.loads(sys.argv[1]))
    for line in sys.stdin:
        kind, more, fault, course = json.loads(line)
        print(json.dumps(slot.run(kind, more, Fault(*fault), course)), flush=True)


if __name__ == "__main__":
    main()
