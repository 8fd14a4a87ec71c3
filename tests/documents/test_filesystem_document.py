"""The filesystem document on real XFS and ext4: still while frozen, writable again whatever dies."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
import uuid
from dataclasses import replace

import pytest

from documents.holder import FREEZING, Holder
from documents.messages import address, new_socket
from tests.documents.conftest import STATE, keepers, processes, sh

PROTECTED = ("/var/log", "/var", "/tmp", "/run", "/etc", "/var/lib/amazon")


def volumes(*disks):
    return ",".join(sorted(disk.volume_id for disk in disks))


@pytest.fixture
def pair(disks):
    """An XFS and an ext4 volume; the second has a name that needs care."""
    return disks.make("xfs"), disks.make("ext4", "it's \\a $(name) *\twith\N{SNOWMAN}blanks")


@pytest.fixture
def stage(agent, filesystem, execution_id, pair):
    def run(command, **parameters):
        fields = {"executionId": execution_id, "volumeIds": volumes(*pair), "timeoutSeconds": "20", **parameters}
        return agent.run(filesystem, command=command, **fields)

    return run


def all_writable(disks, within):
    end = time.monotonic() + within
    return all(disk.is_writable(max(0.1, end - time.monotonic())) for disk in disks)


def test_no_byte_changes_between_pre_and_post(stage, pair, write_to):
    """Programs write as hard as they can meanwhile."""
    progress = [write_to(disk) for disk in (*pair, *pair)]

    before = stage("pre-script")
    assert before.exit_code == 0, before.stderr
    prints, marks = [disk.fingerprint() for disk in pair], [mark() for mark in progress]
    time.sleep(2)
    assert [disk.fingerprint() for disk in pair] == prints
    assert [mark() for mark in progress] == marks
    assert not pair[0].is_writable(0.3)
    assert not pair[1].is_writable(0.3)

    after = stage("post-script")
    assert after.exit_code == 0, after.stderr
    assert after.said("held") == "yes"
    assert 2000 <= int(after.said("held-ms")) < 6000
    assert all_writable(pair, 2)
    time.sleep(0.5)
    assert all(mark() > old for mark, old in zip(progress, marks, strict=True))
    assert [disk.fingerprint() for disk in pair] != prints


def test_pre_names_the_volumes_it_froze_and_the_milliseconds(stage, pair):
    before = stage("pre-script")
    assert before.said("frozen").split() == volumes(*pair).split(",")
    assert 0 <= int(before.said("freeze-ms")) < 5000
    stage("post-script")


def test_neither_stage_keeps_the_agent_waiting_on_its_pipe(stage):
    assert stage("pre-script").seconds < 3
    assert stage("post-script").seconds < 3


def test_the_instance_thaws_itself_after_lambda_died(stage, pair, write_to):
    """It takes at most twice the timeout."""
    for disk in pair:
        write_to(disk)
    began = time.monotonic()
    assert stage("pre-script", timeoutSeconds="4").exit_code == 0
    assert not pair[0].is_writable(2)
    assert all_writable(pair, 8)
    assert 4 < time.monotonic() - began < 8.5

    after = stage("post-script")
    assert (after.exit_code, after.said("held")) == (203, "no")
    assert stage("post-script").exit_code == 203
    assert stage("pre-script").exit_code == 201


@pytest.mark.parametrize("delay", [0.03, 0.06, 0.09, 0.12])
def test_everything_is_writable_after_an_agent_killed_in_pre(delay, agent, filesystem, pair, execution_id, write_to):
    for disk in pair:
        write_to(disk)
    parameters = {"executionId": execution_id, "volumeIds": volumes(*pair), "timeoutSeconds": "2"}
    running = agent.start(filesystem, {"command": "pre-script", **parameters})
    time.sleep(delay)
    running.kill()
    assert all_writable(pair, 4)
    after = agent.run(filesystem, command="post-script", **parameters)
    assert after.exit_code in {0, 203, 205}
    assert after.said("held") in {"no", "yes"}
    assert all_writable(pair, 1)


def test_what_a_killed_pre_had_frozen_is_thawed_at_once(agent, filesystem, pair, execution_id):
    parameters = {"executionId": execution_id, "volumeIds": volumes(*pair), "timeoutSeconds": "30"}
    running = agent.start(filesystem, {"command": "pre-script", **parameters})
    end = time.monotonic() + 10
    holding = STATE / "filesystem" / "holding"
    while not holding.exists() and time.monotonic() < end:
        time.sleep(0.001)
    running.kill()
    assert all_writable(pair, 1), "the keeper sees that its pre is dead; the time limit would be a minute"
    assert agent.run(filesystem, command="post-script", **parameters).exit_code in {0, 203, 205}


def test_the_freeze_outlives_the_agent_and_post_ends_it(agent, filesystem, pair, execution_id):
    parameters = {"executionId": execution_id, "volumeIds": volumes(*pair), "timeoutSeconds": "20"}
    running = agent.start(filesystem, {"command": "pre-script", **parameters})
    running.process.wait(timeout=20)
    running.process.communicate()
    with pytest.raises(ProcessLookupError):
        os.killpg(running.process.pid, signal.SIGKILL)  # nobody of the agent's group is left
    assert not pair[0].is_writable(1.5)
    assert agent.run(filesystem, command="post-script", **parameters).said("held") == "yes"


def test_a_double_pre_changes_nothing_and_says_the_same(stage, pair):
    first, second = stage("pre-script"), stage("pre-script")
    assert second.exit_code == 0
    assert second.stdout == first.stdout
    after, again = stage("post-script"), stage("post-script")
    assert (after.exit_code, again.exit_code) == (0, 0)
    assert again.stdout == after.stdout
    assert all_writable(pair, 1)


def test_two_pres_at_the_same_time_freeze_once(agent, filesystem, pair, execution_id):
    parameters = {"executionId": execution_id, "volumeIds": volumes(*pair)}
    running = [agent.start(filesystem, {"command": "pre-script", **parameters}) for _ in range(4)]
    assert {one.wait().exit_code for one in running} == {0}
    assert len(keepers()) == 1
    assert agent.run(filesystem, command="post-script", **parameters).said("held") == "yes"
    assert all_writable(pair, 1)


def test_a_pre_after_its_post_refuses(stage, pair):
    assert stage("post-script").exit_code == 205
    late = stage("pre-script")
    assert late.exit_code == 201
    assert "is over" in late.stderr
    assert all_writable(pair, 1)


def test_a_post_that_meets_its_pre_at_work_leaves_nothing_frozen(agent, filesystem, pair, execution_id, write_to):
    for disk in pair:
        write_to(disk)
    parameters = {"executionId": execution_id, "volumeIds": volumes(*pair)}
    for delay in (0.02, 0.1, 0.2, 0.3):
        parameters["executionId"] = str(uuid.uuid4())
        before = agent.start(filesystem, {"command": "pre-script", **parameters})
        time.sleep(delay)
        after = agent.run(filesystem, command="post-script", **parameters)
        assert before.wait().exit_code in {0, 201}
        assert after.exit_code in {0, 203, 205}
        assert all_writable(pair, 1)


def test_a_pre_later_than_notafter_refuses(stage, pair):
    assert stage("pre-script", notAfter=str(int(time.time()) - 1)).exit_code == 201
    assert all_writable(pair, 1)
    assert stage("pre-script", notAfter=str(int(time.time()) + 60)).exit_code == 0
    assert stage("post-script").exit_code == 0


def test_a_mount_that_cannot_be_frozen_leaves_the_first_thawed(stage, pair):
    second = pair[1].mount
    sh("fsfreeze", "-f", str(second))
    try:
        before = stage("pre-script")
        assert before.exit_code == 201
        assert pair[0].is_writable(1)
        assert not pair[1].is_writable(0.3), "whoever froze it thaws it"
    finally:
        sh("fsfreeze", "-u", str(second))
    assert stage("post-script").exit_code == 205
    assert all_writable(pair, 1)


def test_another_freeze_is_neither_doubled_nor_thawed(stage, pair):
    """It belongs to another execution."""
    stranger = str(uuid.uuid4())
    assert stage("pre-script").exit_code == 0
    assert stage("pre-script", executionId=str(uuid.uuid4())).exit_code == 204
    assert stage("post-script", executionId=stranger).exit_code == 205
    assert stage("pre-script", executionId=stranger).exit_code == 201
    assert not pair[0].is_writable(0.3)
    assert stage("post-script").said("held") == "yes"


def test_a_thaw_by_somebody_else_is_found_out(stage, pair):
    assert stage("pre-script").exit_code == 0
    sh("fsfreeze", "-u", str(pair[0].mount))
    after = stage("post-script")
    assert (after.exit_code, after.said("held")) == (203, "no")
    assert all_writable(pair, 1)


def test_what_a_killed_keeper_held_is_thawed_at_once(stage, pair):
    """Its holders see that it is gone."""
    assert stage("pre-script").exit_code == 0
    (keeper,) = keepers()
    os.kill(keeper, signal.SIGKILL)
    assert all_writable(pair, 1)
    after = stage("post-script")
    assert (after.exit_code, after.said("held")) == (203, "no")


def test_a_killed_holder_ends_the_whole_freeze_at_once(stage, pair):
    assert stage("pre-script").exit_code == 0
    (keeper,) = keepers()
    os.kill(next(pid for pid in processes() if pid != keeper), signal.SIGKILL)
    assert all_writable(pair, 1)
    after = stage("post-script")
    assert (after.exit_code, after.said("held")) == (203, "no")


def test_post_thaws_what_is_frozen_with_all_processes_killed(stage, pair):
    assert stage("pre-script").exit_code == 0
    kill_all()
    assert not pair[0].is_writable(0.3)
    after = stage("post-script")
    assert (after.exit_code, after.said("held")) == (203, "no")
    assert all_writable(pair, 1)
    assert stage("post-script").stdout == after.stdout


def test_the_next_pre_thaws_what_killed_processes_left(stage, pair):
    assert stage("pre-script").exit_code == 0
    kill_all()
    other = str(uuid.uuid4())
    assert stage("pre-script", executionId=other).exit_code == 0
    assert stage("post-script", executionId=other).said("held") == "yes"
    assert stage("post-script").exit_code == 203
    assert all_writable(pair, 1)


def kill_all():
    """All at once: one by one, the others would thaw."""
    sh("pkill", "-STOP", "-f", f"{STATE}/")
    sh("pkill", "-KILL", "-f", f"{STATE}/")


def test_a_stopped_keeper_does_not_keep_post_from_thawing(stage, pair):
    assert stage("pre-script").exit_code == 0
    (keeper,) = keepers()
    os.kill(keeper, signal.SIGSTOP)
    after = stage("post-script", timeoutSeconds="2")
    assert (after.exit_code, after.said("held")) == (203, "no")
    assert all_writable(pair, 1)


def test_a_stopped_keepers_freeze_ends_at_its_limit(stage, pair):
    assert stage("pre-script", timeoutSeconds="2").exit_code == 0
    (keeper,) = keepers()
    os.kill(keeper, signal.SIGSTOP)
    assert all_writable(pair, 4)


def test_a_terminated_keeper_thaws_first(stage, pair):
    assert stage("pre-script").exit_code == 0
    (keeper,) = keepers()
    os.kill(keeper, signal.SIGTERM)
    assert all_writable(pair, 1)
    assert stage("post-script").exit_code == 203


def test_no_process_is_left_after_post(stage, pair):
    assert stage("pre-script").exit_code == 0
    assert len(processes()) == 1 + len(pair)
    assert stage("post-script").exit_code == 0
    end = time.monotonic() + 5
    while processes() and time.monotonic() < end:
        time.sleep(0.02)
    assert processes() == []


def test_tombstones_older_than_a_day_are_cleared(stage, pair):
    stage("post-script", executionId=str(uuid.uuid4()))
    old = list((STATE / "filesystem" / "ended").iterdir())
    for path in old:
        os.utime(path, (0, 0))
    stage("post-script")
    assert old
    assert not any(path.exists() for path in old)


def test_state_is_for_root_only(stage, pair):
    stage("pre-script")
    assert STATE.stat().st_mode & 0o077 == 0
    assert (STATE / "filesystem").stat().st_mode & 0o077 == 0
    stage("post-script")


def test_finding_nothing_to_freeze_is_an_error(stage, disks):
    unmounted = disks.link(disks.attach(disks.image("ext4", 64)))
    assert stage("pre-script", volumeIds=unmounted).exit_code == 201
    assert stage("dry-run", volumeIds=unmounted).exit_code == 206


def test_a_missing_volume_is_an_error_and_freezes_nothing(stage, pair):
    before = stage("pre-script", volumeIds=volumes(*pair) + ",vol-0123456789abcdef0")
    assert before.exit_code == 201
    assert "vol-0123456789abcdef0 is not to be found" in before.stderr
    assert all_writable(pair, 1)


def test_only_the_volumes_asked_for_are_frozen(stage, pair):
    before = stage("pre-script", volumeIds=pair[1].volume_id)
    assert before.said("frozen") == pair[1].volume_id
    assert pair[0].is_writable(0.5)
    assert not pair[1].is_writable(0.3)
    stage("post-script")


def test_without_volume_ids_every_volume_known_is_frozen(stage, pair):
    before = stage("pre-script", volumeIds="")
    assert set(volumes(*pair).split(",")) <= set(before.said("frozen").split())
    assert stage("post-script").said("held") == "yes"


def test_a_mount_seen_twice_is_frozen_once(stage, pair, disks, base):
    """A mount point that another mount covers is not mistaken for it."""
    sh("mkdir", str(pair[0].mount / "inner"))
    (base / "bound").mkdir()
    sh("mount", "--bind", str(pair[0].mount / "inner"), str(base / "bound"))
    over = disks.make("ext4", pair[1].mount.name)  # hides the second disk's mount point
    try:
        sh("mount", pair[1].loop, str(base / "beside"), check=False)
        (base / "elsewhere").mkdir()
        sh("mount", pair[1].loop, str(base / "elsewhere"))
        before = stage("pre-script")
        assert before.exit_code == 0, before.stderr
        assert over.is_writable(0.5)
        hidden = replace(pair[1], mount=base / "elsewhere")
        assert not hidden.is_writable(0.3)
        assert stage("post-script").said("held") == "yes"
        assert hidden.is_writable(1)
    finally:
        sh("umount", str(base / "bound"))
        sh("umount", "--lazy", str(base / "elsewhere"), check=False)


@pytest.mark.parametrize("point", PROTECTED)
def test_a_data_volume_that_agent_log_or_thaw_need_is_refused(point, agent, filesystem, pair, execution_id):
    # In a mount namespace of its own, so that this machine keeps its directory.
    keep = agent.orchestration  # the script must still be found when /tmp is hidden
    keep.mkdir()
    script = f"""
        mount --make-rprivate /
        mkdir -p /dev/shm/keep && mount --bind "{keep}" /dev/shm/keep
        [ {point} != /var/lib/amazon ] || {{ mount -t tmpfs none /var/lib && mkdir /var/lib/amazon; }}
        [ {point} != /etc ] || cp -a /etc/. "{pair[0].mount}"
        mount "{pair[0].loop}" {point}
        mkdir -p "{keep}" && mount --bind /dev/shm/keep "{keep}" && umount /dev/shm/keep
        exec "$@"
    """
    inside = replace(agent, prefix=("unshare", "--mount", "sh", "-e", "-c", script, "_"))
    fields = {"executionId": execution_id, "volumeIds": pair[0].volume_id}
    before = inside.run(filesystem, command="pre-script", **fields)
    assert before.exit_code == 201
    assert "is never frozen" in before.stderr
    assert pair[0].is_writable(0.5)
    assert inside.run(filesystem, command="dry-run", **fields).exit_code == 206

    together = inside.run(filesystem, command="pre-script", **{**fields, "volumeIds": volumes(*pair)})
    assert together.exit_code == 0, together.stderr
    assert together.said("frozen") == pair[1].volume_id
    assert pair[0].is_writable(0.5)
    assert inside.run(filesystem, command="post-script", **fields).said("held") == "yes"


def test_without_an_execution_id_nothing_is_frozen(stage, pair):
    assert stage("pre-script", executionId="None").exit_code == 201
    assert stage("post-script", executionId="None").exit_code == 202
    assert all_writable(pair, 1)


def test_an_agent_without_root_fails(stage, agent, filesystem, tmp_path):
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:2]:
        parent.chmod(0o755)
    agent.orchestration.mkdir(exist_ok=True)
    humble = replace(agent, prefix=("setpriv", "--reuid=65534", "--clear-groups", "sh", "-c", 'exec sh "$@"', "_"))
    assert humble.run(filesystem, command="dry-run").exit_code in {2, 126, 206}


def test_where_systemd_refuses_the_keeper_is_detached(agent, filesystem, pair, execution_id):
    script = "mount --make-rprivate / && mount -t tmpfs none /run && mkdir -p /run/systemd/system && "
    script += 'mount --bind /bin/false /usr/bin/systemd-run && exec "$@"'
    inside = replace(agent, prefix=("unshare", "--mount", "sh", "-c", script, "_"))
    fields = {"executionId": execution_id, "volumeIds": volumes(*pair), "timeoutSeconds": "2"}
    assert inside.run(filesystem, command="pre-script", **fields).exit_code == 0
    assert all_writable(pair, 4.5)


def test_the_same_holds_under_bash_as_sh(agent, filesystem, pair, execution_id):
    bash = replace(agent, shell=("bash", "--posix"))
    fields = {"executionId": execution_id, "volumeIds": volumes(*pair)}
    assert bash.run(filesystem, command="pre-script", **fields).exit_code == 0
    assert bash.run(filesystem, command="post-script", **fields).said("held") == "yes"
    assert all_writable(pair, 1)


def test_output_stays_within_what_ssm_shows(stage):
    before = stage("pre-script")
    assert len(before.stdout) + len(before.stderr) < 2500
    assert len(stage("post-script").stdout) < 2500


def test_a_busy_shell_in_a_frozen_directory_does_not_stop_a_thaw(stage, pair):
    busy = subprocess.Popen(["sh", "-c", "while :; do echo x >y; done"], cwd=pair[0].mount)
    try:
        assert stage("pre-script").exit_code == 0
        assert stage("post-script").said("held") == "yes"
    finally:
        busy.kill()
        busy.wait(timeout=10)


@pytest.fixture
def frozen_by_others(pair):
    for disk in pair:
        sh("fsfreeze", "-f", str(disk.mount))
    yield
    for disk in pair:
        sh("fsfreeze", "-u", str(disk.mount))


@pytest.mark.parametrize(
    "pre",
    [
        pytest.param(None, id="no pre"),
        pytest.param({"notAfter": "1"}, id="a pre that came too late"),
        pytest.param({}, id="a pre that could not freeze"),
        pytest.param({"volumeIds": "vol-0123456789abcdef0"}, id="a pre that found nothing"),
    ],
)
def test_post_leaves_alone_what_somebody_else_has_frozen(pre, frozen_by_others, stage, pair):
    if pre is not None:
        assert stage("pre-script", **pre).exit_code == 201
    assert stage("post-script").exit_code == 205
    assert not any(disk.is_writable(0.2) for disk in pair)


def test_a_holder_killed_before_its_freeze_thaws_nobodys(frozen_by_others, pair):
    directory = os.open(pair[0].mount, os.O_RDONLY)
    with new_socket() as life:
        holder = Holder("name", directory, FREEZING, time.monotonic() + 60, life)
        holder.hear()
        assert holder.state == "ready"
        os.kill(holder.process, signal.SIGKILL)
        os.waitpid(holder.process, 0)
        holder.hear()
        assert holder.state == "dead"
        holder.release_for_it()
        holder.control.close()
    os.close(directory)
    assert holder.is_over
    assert not pair[0].is_writable(0.2)


def test_post_thaws_after_an_earlier_pre_of_its_id_had_failed(stage, pair):
    assert stage("pre-script", volumeIds="vol-0123456789abcdef0").exit_code == 201
    assert stage("pre-script").exit_code == 0
    kill_all()
    assert stage("post-script").exit_code == 203
    assert all_writable(pair, 5)


def test_a_post_that_could_not_thaw_is_tried_again(stage, pair):
    assert stage("pre-script", timeoutSeconds="8").exit_code == 0
    kill_all()
    sh("mount", "-t", "tmpfs", "tmpfs", str(pair[0].mount))
    after = stage("post-script", timeoutSeconds="8")
    assert (after.exit_code, after.said("held")) == (202, "no")
    assert "cannot be seen to be writable" in after.stderr
    sh("umount", str(pair[0].mount))
    assert stage("post-script").exit_code == 203
    assert all_writable(pair, 5)


def test_nothing_is_called_writable_while_a_holder_lives(stage, pair):
    """One whose storage has stalled may still come to its freeze."""
    assert stage("pre-script").exit_code == 0
    kill_all()
    for disk in pair:
        sh("fsfreeze", "-u", str(disk.mount))
    with new_socket() as holder:
        end = time.monotonic() + 5
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                holder.bind(address("filesystem-keeper-holders"))
                break
        assert stage("post-script", timeoutSeconds="8").exit_code == 202
    assert stage("post-script").exit_code == 203


def test_another_executions_post_leaves_a_stopped_keepers_freeze(stage, pair):
    assert stage("pre-script").exit_code == 0
    (keeper,) = keepers()
    os.kill(keeper, signal.SIGSTOP)
    assert stage("post-script", executionId=str(uuid.uuid4()), timeoutSeconds="2").exit_code == 205
    assert not any(disk.is_writable(0.2) for disk in pair)
    os.kill(keeper, signal.SIGCONT)
    assert stage("post-script").said("held") == "yes"


def test_post_thaws_though_a_stopped_keeper_takes_no_connection(stage, pair):
    assert stage("pre-script").exit_code == 0
    (keeper,) = keepers()
    os.kill(keeper, signal.SIGSTOP)
    with contextlib.ExitStack() as waiting:
        for _ in range(20):
            connection = waiting.enter_context(new_socket())
            connection.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                connection.connect(address("filesystem-keeper"))
        assert stage("post-script", timeoutSeconds="2").exit_code == 203
        assert all_writable(pair, 5)


def test_post_needs_no_room_and_no_notes(stage, pair):
    assert stage("pre-script").exit_code == 0
    shutil.rmtree(STATE)
    STATE.mkdir()
    sh("mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(STATE))
    try:
        assert stage("post-script").said("held") == "yes"
    finally:
        sh("umount", str(STATE))


def test_dry_runs_beside_each_other_and_a_freeze_are_ready(agent, filesystem, pair, stage):
    running = [agent.start(filesystem, {"command": "dry-run", "volumeIds": volumes(*pair)}) for _ in range(3)]
    assert {one.wait().exit_code for one in running} == {0}
    assert stage("pre-script").exit_code == 0
    assert stage("dry-run", executionId="None").exit_code == 0
    assert stage("post-script").said("held") == "yes"


def test_a_volume_that_is_also_used_raw_is_not_claimed(stage, pair, disks):
    disks.attach(pair[0].loop)
    told = stage("dry-run")
    assert told.said("ready") == pair[1].volume_id
    assert "is not mounted, and might be in use" in told.stderr
