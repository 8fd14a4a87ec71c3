"""What the documents rely on in systemd, tried with a real one."""

import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.documents.systemd import booted


@pytest.fixture
def machine(disks, tmp_path):
    with booted(tmp_path) as booted_machine:
        yield booted_machine
        disks.thaw()  # what waits for a frozen file system cannot be killed


@pytest.fixture
def keeper(machine, tmp_path):
    """A transient service that says why it ended; returns a function that waits for that."""
    said, script = tmp_path / "said", tmp_path / "said.sh"
    script.write_text(f'echo "$SERVICE_RESULT" >{said}.new && mv {said}.new {said}')
    machine.run(
        "systemd-run",
        "--unit=keeper",
        "--collect",
        "--quiet",
        "--property=Type=exec",
        "--property=KillMode=process",
        "--property=TimeoutStopSec=5",
        f"--property=ExecStopPost=/bin/sh {script}",  # plain words: a reload reads $ and ; wrongly in systemd 252
        "sleep",
        "1000",
    )

    def ended(within=1):
        end = time.monotonic() + within
        while not said.exists() and time.monotonic() < end:
            time.sleep(0.01)
        return said.exists() and said.read_text().strip()

    return ended


def main_pid(machine):
    return machine.run("systemctl", "show", "--property=MainPID", "--value", "keeper").stdout.strip()


def test_a_service_that_runs_has_not_ended(machine, keeper):
    assert machine.state() == "running"
    assert keeper(within=0.2) is False


def test_execstoppost_runs_when_the_main_process_is_killed(machine, keeper):
    machine.run("kill", "-KILL", main_pid(machine))
    assert keeper() == "signal"


def test_execstoppost_runs_when_the_service_is_killed(machine, keeper):
    machine.run("systemctl", "kill", "--signal=KILL", "keeper")
    assert keeper() == "signal"


def test_execstoppost_runs_when_the_service_is_stopped(machine, keeper):
    machine.run("systemctl", "stop", "keeper")
    assert keeper() == "success"


@pytest.mark.parametrize("verb", ["daemon-reload", "daemon-reexec"])
def test_execstoppost_outlives_a_reload(machine, keeper, verb):
    machine.run("systemctl", verb)
    machine.run("systemctl", "stop", "keeper")
    assert keeper() == "success"


def test_execstoppost_runs_when_the_machine_shuts_down(machine, keeper):
    machine.power_off()
    assert keeper(within=0) == "success"


def test_execstoppost_does_not_run_when_the_machine_crashes(machine, keeper):
    machine.close()
    assert keeper(within=0.2) is False


def test_a_file_system_frozen_inside_is_frozen_outside(disks, tmp_path):
    disk = disks.make("ext4")
    with booted(tmp_path) as machine:
        machine.run("fsfreeze", "--freeze", str(disk.mount))
        assert not disk.is_writable(within=0.2)
        disks.thaw()
        assert disk.is_writable(within=5)


def test_a_shutdown_leaves_mounts_and_cgroups_as_they_were(disks, tmp_path):
    disks.make("ext4")
    before = Path("/proc/self/mountinfo").read_text(), Path("/proc/self/cgroup").read_text()
    with booted(tmp_path) as machine:
        machine.power_off()
    assert (Path("/proc/self/mountinfo").read_text(), Path("/proc/self/cgroup").read_text()) == before


def test_a_shutdown_ends_what_the_prefix_started(machine):
    process = subprocess.Popen([*machine.prefix, "sleep", "1000"], stderr=subprocess.DEVNULL)
    time.sleep(0.2)
    machine.power_off()
    assert process.wait(timeout=5) == 128 + signal.SIGTERM
