"""Every call, file, fork and command of a freeze fails once: writable at the limit, and no claim that does not hold."""

import concurrent.futures
import contextlib
import dataclasses
import json
import queue
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from tests.documents.conftest import Disks, sh
from tests.documents.faults import Fault, besides_the_look, commands, faults, recorded, sessions
from tests.documents.servers import MariaDb, PostgreSql

SLOTS, SERVERS = 16, 8
COURSES = ("post", "limit")  # a post at once, or only after the limit
SUMMARY: list[str] = []
WORDS = "-e trace=read,write,sendto,recvfrom"
ENTER = 'mkdir -p /dev/disk && mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /dev/disk && "$@"; exit $?'
NAMESPACES = ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "--mount-proc", "sh", "-c", ENTER, "_"]
ROLES = ("pre-script", "keeper", "keeper/1", "keeper/2", "post-script")


class Remote:
    """A slot in its namespaces."""

    def __init__(self, disks: Disks, number: int) -> None:
        self.pair = [disks.make(kind, f"{number}-{kind}", {"xfs": 400}.get(kind)) for kind in ("xfs", "ext4")]
        self.base = disks.base / f"{number}"
        self.base.mkdir()
        self.more: dict[str, str] = {}

    def start(self):
        arguments = [
            str(self.base / "agent"),
            [str(disk.mount) for disk in self.pair],
            [disk.loop for disk in self.pair],
        ]
        command = [*NAMESPACES, sys.executable, "-m", "tests.documents.faults", json.dumps(arguments)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def run(self, kind, fault, course):
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps([kind, self.more, dataclasses.astuple(fault), course]) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


class Slots:
    """Cases wait for a slot."""

    def __init__(self, remotes):
        self.remotes = remotes
        self.free: queue.Queue[Remote] = queue.Queue()
        for remote in remotes:
            self.free.put(remote)

    def run(self, kind, fault, course):
        remote = self.free.get()
        try:
            return remote.run(kind, fault, course)
        finally:
            self.free.put(remote)

    def record(self, kind, fault, course):
        """The calls of a run without a fault, and how many commands it ran."""
        result = self.run(kind, fault, course)
        assert not result["problems"], result
        return recorded(result["trace"]), result["count"]

    def plan(self, kind, role, course, select=lambda _calls: None):
        calls, _ = self.record(kind, Fault(role), course)
        return list(faults(role, calls, select(calls) or (lambda _position: True)))

    def campaign(self, kind, plans):
        """Runs the faults of each course; one that left nothing after pre takes no second one. Returns the failures."""
        began = time.monotonic()
        keys = list(dict.fromkeys(fault for plan in plans.values() for fault in plan))
        results: list[tuple[Fault, str, dict[str, Any]]] = []

        def case(fault):
            for course, plan in plans.items():
                if fault in plan:
                    result = self.run(kind, fault, course)
                    for _ in range(2):
                        if not result["came"] and not result["problems"]:
                            result = self.run(kind, fault, course)
                    results.append((fault, course, result))
                    if result["quiet"]:
                        break

        with concurrent.futures.ThreadPoolExecutor(len(self.remotes)) as pool:
            list(pool.map(case, keys))
        came = [result for _, _, result in results if result["came"]]
        missed = [f"{fault}, {course}" for fault, course, result in results if not result["came"]]
        failures = [
            f"{fault}, {course}: {result['problems']}" for fault, course, result in results if result["problems"]
        ]
        seconds = time.monotonic() - began
        SUMMARY.append(
            f"{kind}: {len(keys)} faults, {len(came)} cases in {seconds:.0f} s, {len(missed)} not met {missed[:5]}"
        )
        assert not failures, f"{len(failures)} of {len(results)}:\n" + "\n".join(failures)
        assert len(missed) <= len(results) // 20, missed


@pytest.fixture(scope="module")
def slots(request):
    base = Path(tempfile.mkdtemp(dir="/mnt"))
    base.chmod(0o755)
    with contextlib.ExitStack() as undo:
        undo.callback(base.rmdir)
        sh("mount", "-t", "tmpfs", "tmpfs", str(base))
        undo.callback(sh, "umount", str(base))
        disks = Disks(base)
        undo.callback(disks.close)
        made = Slots([Remote(disks, number) for number in range(SLOTS)])
        yield made
    capture = request.config.pluginmanager.get_plugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print("", *SUMMARY, sep="\n")


@pytest.fixture(scope="module")
def started(slots):
    for remote in slots.remotes:
        remote.start()
    yield slots
    for remote in slots.remotes:
        with remote.process:
            remote.process.stdin.close()


@pytest.mark.parametrize("role", ROLES)
def test_each_call_of_the_filesystem_document_fails(role, started):
    courses = ("lone", "post", "limit") if role == "post-script" else ("post", "limit")
    started.campaign("filesystem", {course: started.plan("filesystem", role, course) for course in courses})


def test_each_command_of_the_filesystem_document_fails(started):
    plan = [*commands("systemd-run", [1]), Fault("command", "systemd-run", 1, "nothing")]
    plan += [Fault("executable", name) for name in ("/nonexistent", "/bin/false", "/run/bin/hang", "/run/bin/die")]
    plan += [Fault("python", stage) for stage in ("pre-script", "post-script")]
    started.campaign("filesystem", {"post": plan, "limit": plan})


@pytest.fixture(scope="module")
def mariadb(started):
    """Each slot's first disk has a server's data."""

    def start(remote):
        shutil.chown(remote.pair[0].mount, "mysql")
        server = MariaDb.create(remote.base, remote.pair[0].mount / "mysql")
        server.ask("CREATE DATABASE d; CREATE TABLE d.t (n INT)")
        remote.more = {"optionFile": f"{remote.base}/client.cnf"}
        return server

    yield from with_servers(started, start)


@pytest.fixture(scope="module")
def postgresql(started):
    def start(remote):
        server = PostgreSql.create(remote.base, remote.pair[0].mount / "postgresql", remote.pair[1].mount / "wal")
        remote.more = {"socketDirectory": str(remote.base)}
        return server

    yield from with_servers(started, start)


def with_servers(slots, start):
    chosen = slots.remotes[:SERVERS]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        starts = [pool.submit(start, remote) for remote in chosen]
    try:
        for started in starts:
            started.result()
        yield Slots(chosen)
    finally:
        for started in starts:
            if not started.exception():
                started.result().stop()
        for remote in chosen:
            remote.more = {}


def test_each_call_of_the_mysql_document_fails_in_pre(mariadb):
    mariadb.campaign(
        "mysql", {course: mariadb.plan("mysql", "pre-script", course, besides_the_look) for course in COURSES}
    )


def test_each_call_of_the_mysql_document_fails_in_keeper(mariadb):
    mariadb.campaign("mysql", {course: mariadb.plan("mysql", "keeper", course) for course in COURSES})


def test_each_command_of_the_mysql_document_fails(mariadb):
    plans = {}
    for course in COURSES:
        _, count = mariadb.record("mysql", Fault("none"), course)
        calls, _ = mariadb.record("mysql", Fault("session", "mariadb", count, WORDS), course)
        plans[course] = [*commands("mariadb", range(1, count + 1)), *commands("aws", [1]), *sessions(count, calls)]
    mariadb.campaign("mysql", plans)


def test_each_call_of_the_postgresql_document_fails(postgresql):
    plans = {}
    for course in COURSES:
        _, count = postgresql.record("postgresql", Fault("none"), course)
        calls = postgresql.plan("postgresql", "pre-script", course, besides_the_look)
        plans[course] = [*calls, *commands("psql", range(1, count + 1))]
    postgresql.campaign("postgresql", plans)
