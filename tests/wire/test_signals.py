"""Signals to the real command: what is frozen is thawed, and the report comes before the end.

How long a stage takes is for the test to say: it ends when the test lets it. So nothing here depends on how fast the
machine is; `GIVE_UP` is for what never comes.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
import threading
import time
from dataclasses import replace

import pytest

from lambda_function.aws.clients import build_clients
from lambda_function.aws.errors import translated
from lambda_function.cli import main
from lambda_function.cli.signals import ONE_SIGNAL_SECONDS
from lambda_function.errors import InterruptedRunError
from lambda_function.interruption import Interruption
from lambda_function.parallel import WORKERS
from tests.support.endpoint import Account
from tests.support.instance import HANGS

pytestmark = pytest.mark.usefixtures("nothing_is_ignored")

GIVE_UP = 120.0
NAME = "auto-snapshots-filesystem"
HOOKED = f'{{"hour": 2, "hook_document": "{NAME}", "hook_timeout_seconds": 600}}'
NOT_BEGUN = "not begun: the run was interrupted (a repeated run does it)"
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def until(condition):
    end = time.monotonic() + GIVE_UP
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


class Shell:
    """The command in a process of its own; its streams are files, which can be read while it runs."""

    def __init__(self, folder):
        self._folder = folder
        self._started: list[subprocess.Popen[bytes]] = []
        self._has_signalled = False

    def start(self, *arguments, before=""):
        """`before` is for a shell to do, which then becomes the command."""
        command = ["sh", "-c", f'{before}\nexec "$@"', "sh", sys.executable, "-m", "lambda_function", *arguments]
        with (self._folder / "out").open("wb") as out, (self._folder / "err").open("wb") as err:
            self._started.append(subprocess.Popen(command, stdout=out, stderr=err, start_new_session=True))

    @property
    def process(self):
        return self._started[-1]

    @property
    def out(self):
        return (self._folder / "out").read_text()

    @property
    def err(self):
        return (self._folder / "err").read_text()

    def send(self, number, expected):
        """One signal, which counts as another one, and what the command then says."""
        if self._has_signalled:
            time.sleep(ONE_SIGNAL_SECONDS + 0.1)
        self._has_signalled = True
        self.process.send_signal(number)
        until(lambda: expected in self.err)

    def end(self):
        """The exit code, as a shell shows it."""
        return self.process.wait(GIVE_UP)

    def stop(self):
        for process in self._started:
            process.kill()
            process.wait()


@pytest.fixture
def shell(tmp_path):
    made = Shell(tmp_path)
    yield made
    made.stop()


@pytest.fixture
def account(rules):
    made = Account()
    made.policy("P", '{"hour": 2}')
    return made


@pytest.fixture
def agents(rules):
    return rules.agents


@pytest.fixture
def instance(account, agents):
    """It has two volumes, and a pre-script that freezes them and then does not end until it is let."""
    account.document(NAME)
    account.policy("H", HOOKED)
    made = account.instance()
    for _ in range(2):
        account.volume({"AUTO-SNAPSHOT": "H"}, made)
    is_let = threading.Event()

    def script(command):
        reply = agents.well_behaved(command)
        return replace(reply, seconds=HANGS) if command.stage == "pre-script" and not is_let.is_set() else reply

    def let():
        is_let.set()
        for sent in agents.sent:
            sent.reply = replace(sent.reply, seconds=0.0)

    agents.scripts[made] = script
    agents.let = let
    return made


def is_frozen(agents):
    return lambda: bool(agents.frozen)


def reported(shell):
    return json.loads(shell.out)


@pytest.mark.parametrize("number", SIGNALS)
def test_what_is_frozen_is_thawed_and_reported(account, agents, instance, shell, number):
    """The freeze that waits for this one is not begun."""
    account.policy("LATER", HOOKED)
    later = account.volume({"AUTO-SNAPSHOT": "LATER"}, instance)
    shell.start("hour", "--json")
    until(is_frozen(agents))
    (first,) = agents.sent
    shell.send(number, f"interrupted: nothing more is begun. Thawed first, then reported: {instance}")
    assert agents.frozen == {instance}
    agents.let()
    assert shell.end() == 128 + number
    assert agents.stages() == ["pre-script", "post-script"]
    assert agents.frozen == set()
    report = reported(shell)
    assert report["is_interrupted"]
    outcomes = {line["volume_id"]: line["outcome"] for line in report["volumes"]}
    frozen = set(first.parameters["volumeIds"].split(","))
    assert outcomes == {volume: "created" if volume in frozen else "deferred" for volume in (*frozen, *outcomes)}
    assert len(outcomes) == 3
    assert frozen in ({later}, outcomes.keys() - {later})
    assert {line["consistency"] for line in report["volumes"] if line["volume_id"] in frozen} == {"application"}
    assert report["failures"] == [f"{volume}: {NOT_BEGUN}" for volume in sorted(outcomes.keys() - frozen)]
    assert {snapshot["VolumeId"] for snapshot in account.snapshots() if snapshot["Tags"]} == frozen


def test_the_third_signal_leaves_the_instance_frozen(agents, instance, shell):
    shell.start("hour")
    until(is_frozen(agents))
    shell.send(signal.SIGTERM, "interrupted")
    shell.send(signal.SIGHUP, f"still being thawed: {instance}")
    assert shell.process.poll() is None
    shell.send(signal.SIGTERM, f"ended, and left frozen: {instance}. The shipped documents thaw by themselves")
    assert shell.end() == 128 + signal.SIGTERM
    assert agents.stages() == ["pre-script"]
    assert shell.out == ""


def test_two_signals_while_frozen_still_thaw_and_report(agents, instance, shell):
    shell.start("hour")
    until(is_frozen(agents))
    shell.send(signal.SIGINT, "interrupted")
    shell.send(signal.SIGINT, "still being thawed")
    agents.let()
    assert shell.end() == 130
    assert agents.frozen == set()
    assert shell.out.splitlines()[-1] == "hour: 2 created, 0 shared, 0 already done, 0 deleted"


def test_a_run_survives_its_terminal(agents, instance, shell):
    """As when ssh is closed: its streams are gone, and SIGHUP comes from the system."""
    ours, its = os.openpty()
    # The first terminal that the leader of a session opens is its own.
    shell.start("hour", before=f"exec <{os.ttyname(its)} >{os.ttyname(its)} 2>&1")
    until(is_frozen(agents))
    os.close(its)
    os.close(ours)
    with pytest.raises(subprocess.TimeoutExpired):
        shell.process.wait(ONE_SIGNAL_SECONDS)
    agents.let()
    assert shell.end() == 128 + signal.SIGHUP
    assert agents.stages() == ["pre-script", "post-script"]
    assert agents.frozen == set()


def test_a_run_under_nohup_is_not_interrupted(agents, instance, shell):
    shell.start("hour", "--json", before="trap '' HUP")
    until(is_frozen(agents))
    shell.process.send_signal(signal.SIGHUP)
    agents.let()
    assert shell.end() == 0, shell.err
    assert not reported(shell)["is_interrupted"]
    assert shell.err == ""


class Blocking(list[str]):
    """The calls that the endpoint has heard. One of this name gets no answer until the test lets it."""

    def __init__(self, name):
        super().__init__()
        self._name = name
        self.heard, self.let = threading.Event(), threading.Event()

    def append(self, name):
        super().append(name)
        if name == self._name:
            self.heard.set()
            self.let.wait(GIVE_UP)


@pytest.fixture
def block(rules):
    made = []

    def block(name):
        rules.calls = Blocking(name)
        made.append(rules.calls)
        return rules.calls

    yield block
    for calls in made:
        calls.let.set()


def test_a_second_signal_ends_where_nothing_is_frozen(account, shell, block):
    account.volume({"AUTO-SNAPSHOT": "P"}, account.instance())
    calls = block("describe_instances")
    shell.start("hour")
    until(calls.heard.is_set)
    shell.send(signal.SIGTERM, "interrupted: nothing more is begun, the report follows")
    assert shell.process.poll() is None
    shell.send(signal.SIGTERM, "ended: what was begun may be done")
    assert shell.end() == 128 + signal.SIGTERM
    assert not calls.let.is_set()
    assert shell.out == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_run_that_only_reads_ends_at_once(account, shell, block, number):
    account.volume({"AUTO-SNAPSHOT": "P"})
    calls = block("describe_volumes")
    shell.start("hour")
    until(calls.heard.is_set)
    shell.send(number, "interrupted: nothing was written\n")
    assert shell.end() == 128 + number
    assert not calls.let.is_set()
    assert shell.out == ""


def test_an_interrupted_hook_check_reports_what_it_found(agents, instance, shell):
    agents.scripts[instance] = lambda command: replace(agents.well_behaved(command), seconds=HANGS)
    shell.start("hooks", "check", "--json")
    until(lambda: agents.stages() == ["dry-run"])
    shell.send(signal.SIGTERM, "interrupted")
    agents.let()
    assert shell.end() == 128 + signal.SIGTERM
    assert reported(shell)["message"] == "hooks: 1 ready"


def test_volumes_that_wait_their_turn_are_reported(account, shell, block):
    """There are more than are created at once."""
    volumes = [account.volume({"AUTO-SNAPSHOT": "P"}) for _ in range(3 * WORKERS)]
    calls = block("create_snapshot")
    shell.start("hour", "--json")
    until(calls.heard.is_set)
    shell.send(signal.SIGINT, "interrupted")
    calls.let.set()
    assert shell.end() == 130
    lines = reported(shell)["volumes"]
    assert {line["volume_id"] for line in lines} == set(volumes)
    left = [line["reason"] for line in lines if line["outcome"] == "deferred"]
    assert len(left) >= 2 * WORKERS
    assert all(reason.endswith(": the run was interrupted") for reason in left)


def test_creates_that_wait_for_a_token_are_not_made(account, rules, monkeypatch, capfd):
    """There is one token, and the next one comes in a minute."""
    monkeypatch.setattr("lambda_function.aws.rate_limit.BURST", 1.0)
    monkeypatch.setattr("lambda_function.aws.rate_limit.CREATES_PER_SECOND", 1 / 60)
    volumes = [account.volume({"AUTO-SNAPSHOT": "P"}) for _ in range(3)]

    class Interrupting(list[str]):
        def append(self, name):
            super().append(name)
            if name == "create_snapshot" and self.count(name) == 1:
                os.kill(os.getpid(), signal.SIGTERM)

    rules.calls = Interrupting()
    assert main.main(["hour", "--json"]) == 128 + signal.SIGTERM
    assert rules.calls.count("create_snapshot") == 1
    lines = json.loads(capfd.readouterr().out)["volumes"]
    assert {line["volume_id"] for line in lines} == set(volumes)
    assert sorted(line["outcome"] for line in lines) == ["created", "deferred", "deferred"]


@pytest.mark.parametrize(
    ("kind", "call", "given"),
    [
        ("creating", "create_snapshot", {"VolumeId": "vol-1"}),
        ("creating", "create_snapshots", {"InstanceSpecification": {"InstanceId": "i-1"}}),
        ("changing", "delete_snapshot", {"SnapshotId": "snap-1"}),
    ],
)
@pytest.mark.usefixtures("account")
def test_a_write_of_an_interrupted_run_is_not_sent(rules, kind, call, given):
    """botocore neither retries what the interruption raises nor makes another error of it."""
    clients, interruption = build_clients(None), Interruption()
    clients.rate_limits.interrupt_by(interruption.check)
    interruption.set()
    with pytest.raises(InterruptedRunError), translated(call):
        getattr(getattr(clients, kind), call)(**given)
    assert call not in rules.calls


def test_a_create_under_a_freeze_is_sent_all_the_same(account, rules):
    clients, interruption = build_clients(None), Interruption()
    clients.rate_limits.interrupt_by(interruption.check)
    interruption.set()
    clients.for_hooks.urgent.create_snapshot(VolumeId=account.volume())
    assert "create_snapshot" in rules.calls


def test_a_signal_does_not_cut_the_report(account):
    """Even if Python does not buffer it, and the reader is late."""
    for _ in range(60):
        account.volume({"AUTO-SNAPSHOT": "P"})
    reading, writing = os.pipe()
    size = fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    process = subprocess.Popen(
        [sys.executable, "-m", "lambda_function", "hour", "--json"],
        stdout=writing,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    os.close(writing)
    try:
        until(lambda: int.from_bytes(fcntl.ioctl(reading, termios.FIONREAD, bytes(4)), sys.byteorder) == size)
        process.send_signal(signal.SIGTERM)
        with os.fdopen(reading, encoding="utf-8") as pipe:
            report = json.load(pipe)
        assert process.wait(GIVE_UP) == 128 + signal.SIGTERM
    finally:
        process.kill()
        process.wait()
    assert len(report["volumes"]) == 60
