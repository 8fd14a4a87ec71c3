"""The keeper as a service of a real systemd: whatever is done to it, the instance is writable within a second."""

import os
import signal
import time
from dataclasses import replace

import pytest

from tests.documents.systemd import booted


@pytest.fixture
def pair(disks):
    return disks.make("xfs"), disks.make("ext4")


@pytest.fixture
def machine(disks, pair, tmp_path):
    with booted(tmp_path, "--net") as machine:
        yield machine
        disks.thaw()  # before it ends: a process that writes to what is frozen cannot be killed


@pytest.fixture
def fields(pair, execution_id):
    volume_ids = ",".join(disk.volume_id for disk in pair)
    return {"executionId": execution_id, "volumeIds": volume_ids, "timeoutSeconds": "60"}


@pytest.fixture
def inside(agent, machine):
    """The agent on that machine; it finds its scripts there, and the disks."""
    return replace(agent, prefix=machine.prefix)


@pytest.fixture
def unit(execution_id):
    return f"auto-snapshots-filesystem-keeper-{execution_id}"


def all_writable(pair, within=1.0):
    end = time.monotonic() + within
    return all(disk.is_writable(max(0.05, end - time.monotonic())) for disk in pair)


@pytest.fixture
def frozen(inside, filesystem, fields, pair):
    before = inside.run(filesystem, command="pre-script", **fields)
    assert before.exit_code == 0, before.stderr
    assert before.said("frozen").split() == sorted(disk.volume_id for disk in pair)
    assert not any(disk.is_writable(0.2) for disk in pair)


def test_a_freeze_is_held_by_a_unit_until_post(frozen, inside, filesystem, fields, pair, machine, unit):
    assert machine.run("systemctl", "is-active", unit).stdout == "active\n"
    after = inside.run(filesystem, command="post-script", **fields)
    assert (after.exit_code, after.said("held")) == (0, "yes")
    assert all_writable(pair)
    end = time.monotonic() + 5
    while machine.run("systemctl", "list-units", "--all", "--no-legend", "auto-snapshots-*").stdout:
        assert time.monotonic() < end, "the unit is gone, and nothing of it is listed as failed"
        time.sleep(0.05)


@pytest.mark.parametrize(
    "command",
    [
        pytest.param("systemctl kill --signal=KILL --kill-who=main", id="the keeper killed"),
        pytest.param("systemctl kill --signal=KILL", id="all its processes killed"),
        pytest.param("systemctl kill --signal=TERM", id="terminated"),
        pytest.param("systemctl stop", id="stopped"),
    ],
)
def test_an_ended_unit_leaves_nothing_frozen(command, frozen, inside, filesystem, fields, pair, machine, unit):
    machine.run(*command.split(), unit)
    assert all_writable(pair)
    after = inside.run(filesystem, command="post-script", **fields)
    assert (after.exit_code, after.said("held")) == (203, "no")
    again = {**fields, "executionId": "00000000-0000-0000-0000-000000000001"}
    assert inside.run(filesystem, command="pre-script", **again).exit_code == 0
    assert inside.run(filesystem, command="post-script", **again).said("held") == "yes"


def test_a_shutdown_thaws_first(frozen, pair, machine):
    os.kill(machine.pid, signal.SIGRTMIN + 4)
    assert all_writable(pair)
    machine.power_off()


def test_what_a_killed_agent_had_frozen_is_thawed(inside, filesystem, fields, pair, machine, write_to):
    for disk in pair:
        write_to(disk)
    holding = machine.root / "run/auto-snapshots/filesystem/holding"
    running = inside.start(filesystem, {"command": "pre-script", **fields})
    end = time.monotonic() + 10
    while not holding.exists() and time.monotonic() < end:
        time.sleep(0.001)
    running.kill()
    assert all_writable(pair)
    assert inside.run(filesystem, command="post-script", **fields).exit_code in {0, 203, 205}


def test_a_freeze_outlives_a_killed_agent(frozen, inside, filesystem, fields, pair):
    """The unit is in no process group and no control group of the agent's."""
    assert not any(disk.is_writable(1.5) for disk in pair)
    assert inside.run(filesystem, command="post-script", **fields).said("held") == "yes"


def test_a_dry_run_leaves_no_unit(inside, filesystem, fields, machine):
    assert inside.run(filesystem, command="dry-run", **fields).exit_code == 0
    end = time.monotonic() + 5
    while machine.run("systemctl", "list-units", "--all", "--no-legend", "auto-snapshots-*").stdout:
        assert time.monotonic() < end
        time.sleep(0.05)
