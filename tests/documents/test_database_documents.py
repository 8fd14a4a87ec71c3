"""The database documents: what is copied while frozen, at different moments, starts elsewhere and adds up."""

import os
import re
import shutil
import signal
import subprocess
import time
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from documents.mysql import PARAMETERS, Mysql
from documents.session import run_client, value_of
from tests.documents.agent import document_content
from tests.documents.conftest import BY_ID, STATE, keepers, sh
from tests.documents.servers import MariaDb, PostgreSql, ServerError, restored_over
from tests.support.page_commands import Page

ROUNDS = int(os.environ.get("ROUNDS", "3"))
CONTROL_ROUNDS = 5


@pytest.fixture
def pair(disks):
    return disks.make("xfs", size_mb=400), disks.make("ext4", size_mb=300)


@pytest.fixture
def on_two_volumes(base, disks, pair):
    """Starts a server whose data lies on both volumes, with writers that never stop."""
    servers = []

    def start(kind):
        shutil.chown(pair[0].mount, kind.__name__.lower().replace("mariadb", "mysql").replace("postgresql", "postgres"))
        data = pair[0].mount / "data"
        second = [] if kind is MariaDb else [pair[1].mount / "wal"]
        server = kind.create(base, data, *second)
        servers.append(server)
        server.fill(pair[1].mount / "second")
        return server

    yield start
    disks.thaw()
    for server in servers:
        server.stop()


@pytest.fixture
def mysql(base):
    return document_content("MySqlDocument"), {"optionFile": f"{base}/client.cnf"}


@pytest.fixture
def postgresql(base):
    return document_content("PostgreSqlDocument"), {"socketDirectory": str(base)}


def copied(disk, name):
    copy = disk.image.with_name(name)
    sh("cp", "--sparse=always", str(disk.image), str(copy))
    return copy


@pytest.fixture
def is_sound(pair, disks, base):
    """Whether a second server starts on copies of the two volumes and finds the invariant kept."""
    elsewhere = base / "elsewhere"
    elsewhere.mkdir()

    def start(kind, copies):
        images = [copies[disk.volume_id] for disk in pair]
        try:
            server = kind.start(elsewhere, pair[0].mount / "data", prefix=restored_over(pair, images, disks))
        except ServerError as error:
            print(f"does not start: {error}")
            return False
        try:
            return server.is_sound()
        except ServerError as error:
            print(f"starts and fails: {error}")
            return False
        finally:
            server.stop()
            away(images)

    return start


def away(copies):
    for copy in copies:
        loop = sh("losetup", "--noheadings", "--output", "NAME", "--associated", str(copy)).stdout.strip()
        sh("losetup", "--detach", loop, check=False)
        copy.unlink()


CASES = [
    pytest.param(MariaDb, "mysql", {"lockMethod": "auto"}, id="mariadb_by_backup_stage"),
    pytest.param(MariaDb, "mysql", {"lockMethod": "flush"}, id="mariadb_by_flush_with_read_lock"),
    pytest.param(PostgreSql, "postgresql", {}, id="postgresql"),
]


@pytest.mark.parametrize(("kind", "document", "more"), CASES)
def test_a_copy_made_while_frozen_starts_elsewhere_and_adds_up(
    kind, document, more, agent, pair, on_two_volumes, is_sound, request
):
    content, needed = request.getfixturevalue(document)
    server = on_two_volumes(kind)
    server.write()
    for number in range(ROUNDS):
        time.sleep(1)
        fields = {"executionId": str(uuid.uuid4()), "volumeIds": ",".join(disk.volume_id for disk in pair)}
        fields |= {"timeoutSeconds": "60", **needed, **more}
        before = agent.run(content, command="pre-script", **fields)
        assert before.exit_code == 0, before.stderr
        assert set(before.said("frozen").split()) == {disk.volume_id for disk in pair}
        order = pair if number % 2 else pair[::-1]
        copies = {}
        for disk in order:
            copies[disk.volume_id] = copied(disk, f"copy-{disk.volume_id}-{number}.img")
            time.sleep(0.7)
        after = agent.run(content, command="post-script", **fields)
        assert (after.exit_code, after.said("held")) == (0, "yes"), after.stderr
        assert is_sound(kind, copies), f"round {number}"
    server.ask("SELECT 1")


@pytest.mark.parametrize("kind", [MariaDb, PostgreSql])
def test_without_the_document_the_same_goes_wrong(kind, pair, on_two_volumes, is_sound):
    # Each copy is of one instant, as a snapshot of one volume is; the two instants differ.
    on_two_volumes(kind).write()
    for number in range(CONTROL_ROUNDS):
        copies = {}
        for disk in pair[::-1]:
            time.sleep(3)
            sh("fsfreeze", "-f", str(disk.mount))
            try:
                copies[disk.volume_id] = copied(disk, f"copy-{disk.volume_id}-{number}.img")
            finally:
                sh("fsfreeze", "-u", str(disk.mount))
        if not is_sound(kind, copies):
            return
    pytest.fail(f"{CONTROL_ROUNDS} copies of two moments were all sound: the test above could not have failed")


@pytest.fixture
def on_root(base, disks):
    """A MariaDB whose data lies on the root file system, which the document calls an EBS volume here."""
    device = base.stat().st_dev
    name = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve().name
    volume_id = disks.link(f"/dev/{name}")
    data = base / "data"
    data.mkdir()
    shutil.chown(data, "mysql")
    server = MariaDb.create(base, data)
    server.ask("CREATE DATABASE d; CREATE TABLE d.t (n INT) ENGINE=InnoDB; CREATE TABLE d.m (n INT) ENGINE=MyISAM")
    yield server, volume_id
    server.stop()


@pytest.fixture
def stage(agent, mysql, on_root, execution_id):
    content, needed = mysql

    def run(command, **parameters):
        fields = {"executionId": execution_id, "volumeIds": on_root[1], "timeoutSeconds": "20", **needed, **parameters}
        return agent.run(content, command=command, **fields)

    return run


def waits(server, table):
    """A writer that was made to wait, or none."""
    client = server.in_background(f"INSERT INTO d.{table} VALUES (1)")
    try:
        client.wait(timeout=1)
    except subprocess.TimeoutExpired:
        return client
    assert client.returncode == 0
    return None


@pytest.mark.parametrize("method", ["backup-stage", "flush"])
def test_the_lock_is_held_in_one_session_until_post(method, stage, on_root):
    """This is the way where nothing can be frozen."""
    server, volume_id = on_root
    before = stage("pre-script", lockMethod=method)
    assert before.exit_code == 0, before.stderr
    assert before.said("frozen") == volume_id
    writers = [waits(server, "t"), waits(server, "m")]
    assert all(writers)
    assert stage("pre-script").exit_code == 0
    after = stage("post-script")
    assert (after.exit_code, after.said("held")) == (0, "yes"), after.stderr
    for writer in writers:
        assert writer.wait(timeout=5) == 0
    assert stage("post-script").stdout == after.stdout


def test_a_session_that_died_is_found_out(stage, on_root):
    server, _ = on_root
    assert stage("pre-script").exit_code == 0
    session = server.ask("SELECT id FROM information_schema.processlist WHERE id <> CONNECTION_ID() AND user = 'root'")
    server.ask(f"KILL {session}")
    after = stage("post-script")
    assert (after.exit_code, after.said("held")) == (203, "no")
    assert waits(server, "t") is None


def test_the_lock_is_gone_within_twice_the_timeout(stage, on_root):
    """Nobody releases it once Lambda has died."""
    began = time.monotonic()
    assert stage("pre-script", timeoutSeconds="3").exit_code == 0
    writer = waits(on_root[0], "m")
    assert writer
    assert writer.wait(timeout=6) == 0
    assert time.monotonic() - began < 6.5
    after = stage("post-script")
    assert (after.exit_code, after.said("held")) == (203, "no")


def test_the_server_ends_the_lock_when_all_else_is_dead(stage, on_root):
    """Lambda and the agent have died, and neither the keeper nor its client can run."""
    assert stage("pre-script", timeoutSeconds="3").exit_code == 0
    sh("pkill", "-STOP", "-f", f"{STATE}/")
    sh("pkill", "-STOP", "-f", "mariadb --defaults-file")
    writer = waits(on_root[0], "m")
    assert writer
    assert writer.wait(timeout=9) == 0
    assert stage("post-script", timeoutSeconds="2").exit_code == 203
    sh("pkill", "-KILL", "-f", "mariadb --defaults-file")


def test_a_killed_keepers_lock_is_gone_at_once(stage, on_root):
    """Its client sees the end of its input."""
    assert stage("pre-script").exit_code == 0
    (keeper,) = keepers()
    os.kill(keeper, signal.SIGKILL)
    writer = waits(on_root[0], "m")
    assert writer is None or writer.wait(timeout=1) == 0
    assert stage("post-script").exit_code in {203, 205}


@pytest.mark.parametrize("method", ["backup-stage", "flush"])
def test_a_long_statement_makes_pre_fail_soon_and_stalls_nobody(method, stage, on_root):
    server, _ = on_root
    server.in_background("LOCK TABLES d.m WRITE; SELECT SLEEP(30)")
    time.sleep(0.5)
    before = stage("pre-script", lockMethod=method, lockWaitSeconds="2")
    assert before.exit_code == 201
    assert "no lock within 2 s" in before.stderr
    assert before.seconds < 6
    assert waits(server, "t") is None
    assert stage("post-script").exit_code == 205


def test_an_agent_killed_while_it_locks_leaves_no_lock(agent, mysql, on_root, execution_id):
    content, needed = mysql
    fields = {"executionId": execution_id, "volumeIds": on_root[1], "timeoutSeconds": "20", **needed}
    for delay in (0.2, 0.4, 0.6):
        fields["executionId"] = str(uuid.uuid4())
        running = agent.start(content, {"command": "pre-script", **fields})
        time.sleep(delay)
        running.kill()
        after = agent.run(content, command="post-script", **fields)
        assert after.exit_code in {0, 203, 205}
        assert waits(on_root[0], "m") is None


def test_a_server_that_cannot_be_reached_is_not_ready(stage, on_root, base):
    assert stage("dry-run").exit_code == 0
    assert stage("dry-run", optionFile="/etc/none.cnf").exit_code == 206
    on_root[0].stop()
    assert stage("dry-run").exit_code == 206
    assert stage("pre-script").exit_code == 201


@pytest.mark.parametrize(
    ("name", "grant", "is_ready"),
    [
        pytest.param("humble", "GRANT SELECT ON *.* TO humble@localhost", False, id="none"),
        pytest.param("humble", "GRANT ALL PRIVILEGES ON shop.* TO humble@localhost", False, id="all on one database"),
        pytest.param("RELOAD", "GRANT SELECT ON `RELOAD`.* TO RELOAD@localhost", False, id="a name like the right's"),
        pytest.param("humble", "GRANT RELOAD ON *.* TO humble@localhost", True, id="the right"),
        pytest.param(
            "humble",
            "CREATE ROLE r; GRANT RELOAD ON *.* TO r; GRANT r TO humble@localhost;"
            "SET DEFAULT ROLE r FOR humble@localhost",
            True,
            id="a role with the right",
        ),
    ],
)
@pytest.mark.parametrize("method", ["backup-stage", "flush"])
def test_a_dry_run_is_ready_when_pre_would_lock(method, name, grant, is_ready, stage, on_root, base):
    """The server is asked for the right; nothing is read from grants."""
    on_root[0].ask(f"CREATE DATABASE shop; CREATE DATABASE `RELOAD`; CREATE USER `{name}`@localhost IDENTIFIED BY 'x'")
    on_root[0].ask(grant)
    options = base / "humble.cnf"
    options.write_text(f"[client]\nuser={name}\npassword=x\nsocket={base}/mariadb.sock\n")
    options.chmod(0o600)
    fields = {"optionFile": str(options), "lockMethod": method}
    told = stage("dry-run", **fields)
    assert told.exit_code == (0 if is_ready else 206), told.stderr
    assert is_ready or "RELOAD" in told.stderr
    before = stage("pre-script", **fields)
    assert before.exit_code == (0 if is_ready else 201), before.stderr
    assert stage("post-script", **fields).said("held") == ("yes" if is_ready else "no")


def client_options():
    """Each option of the client with a value that it does not have by itself, as a line of an option file."""
    table = sh("mariadb", "--no-defaults", "--help").stdout.split("\n---------", 1)[1]
    special = {
        "delimiter": "delimiter=//",
        "init-command": "init-command=SET SESSION sql_select_limit=0, autocommit=0",
        "tee": "tee=/dev/null",
        "pager": "pager=cat >/dev/null",
        "default-character-set": "default-character-set=utf16",
        "max-allowed-packet": "max-allowed-packet=8192",
        "net-buffer-length": "net-buffer-length=2048",
        "select-limit": "select-limit=1",
        "database": "database=mysql",
    }
    how_to_connect = {"port", "host", "socket", "user", "protocol"}
    for line in table.split("\n"):
        name, _, value = line.partition(" ")
        value = value.strip()
        if re.fullmatch("[a-z][a-z-]+", name) and name not in how_to_connect and not name.startswith(("ssl", "tls")):
            if name in special:
                yield special[name]
            elif value in {"TRUE", "FALSE"}:
                yield name if value == "FALSE" else f"skip-{name}"
            elif re.fullmatch("[0-9]+", value):
                yield f"{name}=1"
    yield from ["one-database", "table\nvertical", "html\nxml", "verbose\nverbose\nverbose", "force\nsafe-updates"]


def test_no_option_of_the_client_shapes_what_is_proved(on_root, base):
    """What only chooses a form, and what changes how statements run: all of them, one at a time."""
    server, _ = on_root
    options = base / "options.cnf"
    parameters = dict.fromkeys(PARAMETERS, "") | {"executionId": "None", "timeoutSeconds": "20", "lockWaitSeconds": "5"}
    found = {}
    lines = list(client_options())
    for line in ["", *lines]:
        options.write_text(f"[client]\nuser=root\nsocket={base}/mariadb.sock\n{line}\n[mysql]\n{line}\n")
        options.chmod(0o600)
        document = Mysql(parameters | {"optionFile": str(options), "lockMethod": "auto"})
        paths = document.database_paths()
        lock = document.lock(20)
        output = run_client(lock.client, lock.take + "\n" + lock.prove, 10)
        held = value_of(output, "connection") == value_of(output, "held")
        found[line] = (paths, value_of(output, "errors"), held)
    assert {line: what for line, what in found.items() if what != found[""]} == {}
    assert found[""][1:] == ("0", True)
    assert len(lines) > 40
    server.ask("SELECT 1")


def test_no_setting_of_the_server_shapes_what_is_proved(stage, on_root):
    on_root[0].ask("SET GLOBAL max_statement_time=0.000001, GLOBAL sql_select_limit=0, GLOBAL autocommit=0")
    on_root[0].ask("SET GLOBAL sql_mode='ANSI,NO_BACKSLASH_ESCAPES', GLOBAL idle_transaction_timeout=1")
    before = stage("pre-script")
    assert before.exit_code == 0, before.stderr
    time.sleep(1.5)
    assert stage("post-script").said("held") == "yes"


def test_a_lock_is_believed_only_if_the_server_says_so(on_root, base):
    """With the option `force`, a client goes on after a lock that it did not get."""
    server, _ = on_root
    server.in_background("LOCK TABLES d.m WRITE; SELECT SLEEP(30)")
    time.sleep(0.5)
    parameters = dict.fromkeys(PARAMETERS, "") | {"executionId": "None", "timeoutSeconds": "20", "lockWaitSeconds": "1"}
    for method in ("backup-stage", "flush"):
        document = Mysql(parameters | {"optionFile": f"{base}/client.cnf", "lockMethod": method})
        document.database_paths()
        lock = document.lock(20)
        forced = lock.client._replace(arguments=[*lock.client.arguments, "--force"])
        assert value_of(run_client(forced, lock.take, 10), "errors") == "1"


def test_credentials_come_from_secrets_manager_and_are_not_kept(agent, mysql, on_root, execution_id, base):
    server, volume_id = on_root
    server.ask(
        """CREATE USER 'backup'@localhost IDENTIFIED BY 'p"a\\\\s s';GRANT RELOAD ON *.* TO 'backup'@localhost"""
    )
    (base / "aws").write_text(
        """#!/bin/sh
        [ "$1 $2 $3 $4" = "secretsmanager get-secret-value --secret-id db/backup" ] || exit 2
        echo '{"username": "backup", "password": "p\\"a\\\\\\\\s s", "engine": "mysql"}'\n""".replace("        ", "")
    )
    (base / "aws").chmod(0o755)
    # The client's default option files say where the socket is; both are this namespace's own.
    script = f"mount --make-rprivate / && mount -t tmpfs none /usr/local/bin && cp {base}/aws /usr/local/bin/aws && "
    script += f'printf "[client]\\nsocket={base}/mariadb.sock\\n" >{base}/my.cnf && '
    script += f'mount --bind {base}/my.cnf /etc/mysql/my.cnf && exec "$@"'
    inside = replace(agent, prefix=("unshare", "--mount", "sh", "-c", script, "_"), env={"HOME": "/nowhere"})
    fields = {"executionId": execution_id, "volumeIds": volume_id, "secretId": "db/backup"}
    before = inside.run(mysql[0], command="pre-script", **fields)
    assert before.exit_code == 0, before.stderr
    assert waits(server, "m")
    assert inside.run(mysql[0], command="post-script", **fields).said("held") == "yes"
    assert all(b'p"a' not in path.read_bytes() for path in STATE.rglob("*") if path.is_file())


@pytest.mark.parametrize(("kind", "document"), [(MariaDb, "mysql"), (PostgreSql, "postgresql")])
def test_a_set_without_all_of_the_database_is_refused(kind, document, agent, pair, on_two_volumes, request):
    content, needed = request.getfixturevalue(document)
    server = on_two_volumes(kind)
    for disk, other in (pair, pair[::-1]):
        fields = {"executionId": str(uuid.uuid4()), "volumeIds": disk.volume_id, **needed}
        before = agent.run(content, command="pre-script", **fields)
        assert before.exit_code == 201
        assert f"volume {other.volume_id} holds a part of the database" in before.stderr
        assert agent.run(content, command="dry-run", **fields).exit_code == 206
    server.ask("SELECT 1")


@pytest.mark.parametrize(("kind", "document"), [(MariaDb, "mysql"), (PostgreSql, "postgresql")])
def test_a_frozen_database_writes_again_without_a_post(kind, document, agent, pair, on_two_volumes, request):
    """It does so within the limit."""
    content, needed = request.getfixturevalue(document)
    server = on_two_volumes(kind)
    server.write()
    fields = {"executionId": str(uuid.uuid4()), "volumeIds": "", "timeoutSeconds": "4", **needed}
    assert agent.run(content, command="pre-script", **fields).exit_code == 0
    statement = "UPDATE {}left_side SET total = total WHERE id = 1".format("ledger." if kind is MariaDb else "")
    with pytest.raises(subprocess.TimeoutExpired):
        server.ask(statement, seconds=2)
    server.ask(statement, seconds=8)
    assert agent.run(content, command="post-script", **fields).exit_code == 203


def test_postgresql_on_the_root_file_system_is_refused(agent, postgresql, base, disks, execution_id):
    """Nothing would hold it."""
    content, needed = postgresql
    server = PostgreSql.create(base, base / "data", base / "wal")
    try:
        refused = agent.run(content, command="pre-script", executionId=execution_id, **needed)
        assert refused.exit_code == 201
        assert "is never frozen" in refused.stderr
        server.ask("CREATE ROLE humble LOGIN")
        assert agent.run(content, command="dry-run", osUser="nobody", **needed).exit_code == 206
    finally:
        server.stop()
    gone = agent.run(content, command="dry-run", **needed)
    assert gone.exit_code == 206
    assert "cannot be reached" in gone.stderr


@pytest.mark.parametrize("owner", ["DATABASE", "ROLE"])
def test_no_setting_of_postgresql_shapes_what_is_asked(owner, agent, postgresql, pair, on_two_volumes, execution_id):
    content, needed = postgresql
    server = on_two_volumes(PostgreSql)
    for setting in ("statement_timeout = '1ms'", "lock_timeout = '1ms'", "search_path = 'nowhere'"):
        server.ask(f"ALTER {owner} postgres SET {setting}")
    fields = {"executionId": execution_id, "volumeIds": ",".join(disk.volume_id for disk in pair), **needed}
    assert agent.run(content, command="dry-run", **fields).exit_code == 0
    before = agent.run(content, command="pre-script", **fields)
    assert before.exit_code == 0, before.stderr
    assert agent.run(content, command="post-script", **fields).said("held") == "yes"


def test_a_checkpoint_too_long_for_its_stage_leaves_nothing(agent, postgresql, pair, on_two_volumes, execution_id):
    """The agent kills the stage; the post that follows finds nothing frozen, at once."""
    content, needed = postgresql
    server = on_two_volumes(PostgreSql)
    server.write()
    time.sleep(1)
    sh("fsfreeze", "-f", str(pair[1].mount))  # a checkpoint has to write there
    fields = {"executionId": execution_id, "volumeIds": ",".join(disk.volume_id for disk in pair), **needed}
    try:
        running = agent.start(content, {"command": "pre-script", "timeoutSeconds": "60", **fields})
        time.sleep(2)
        running.kill()
    finally:
        sh("fsfreeze", "-u", str(pair[1].mount))
    after = agent.run(content, command="post-script", timeoutSeconds="60", **fields)
    assert (after.exit_code, after.said("held")) == (205, "no"), after.stderr
    assert all(disk.is_writable(5) for disk in pair)


def restored_by_the_page(pair, copies, disks, block, **values):
    """What docs/restore.md says to do on the instance, on one whose mount points are the originals'."""
    page = Page("restore.md")
    lines = ["mount --make-rprivate /"]
    for disk in pair:
        volume_id = disks.link(disks.attach(copies[disk.volume_id]))
        link = BY_ID / f"nvme-Amazon_Elastic_Block_Store_{volume_id.replace('-', '')}"
        lines.append(page.script("mount", DEVICE=str(link), MOUNT=str(disk.mount)))
    script = "\n".join([*lines, page.script(block, **values)])
    done = sh("unshare", "--mount", "bash", "-euo", "pipefail", "-c", script, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def frozen_copies(agent, pair):
    """Copies of both volumes, made at different moments of one freeze."""

    def copy(content, needed):
        fields = {"executionId": str(uuid.uuid4()), "volumeIds": ",".join(disk.volume_id for disk in pair)}
        assert agent.run(content, command="pre-script", timeoutSeconds="60", **fields, **needed).exit_code == 0
        copies = {}
        for disk in pair:
            copies[disk.volume_id] = copied(disk, f"restore-{disk.volume_id}.img")
            time.sleep(0.7)
        after = agent.run(content, command="post-script", timeoutSeconds="60", **fields, **needed)
        assert (after.exit_code, after.said("held")) == (0, "yes"), after.stderr
        return copies

    return copy


def test_the_restore_page_brings_a_mariadb_back_from_a_set(mysql, base, disks, pair, on_two_volumes, frozen_copies):
    on_two_volumes(MariaDb).write()
    time.sleep(1)
    copies = frozen_copies(*mysql)
    options = base / "my.cnf"
    options.write_text("[mariadbd]\nlog-bin=mariadb-bin\n")  # the original's, whose name came from its pid file
    run = base / "run"
    out = restored_by_the_page(
        pair, copies, disks, "mariadb", OPTIONS=str(options), DATADIR=str(pair[0].mount / "data"), RUN=str(run)
    )
    checked = dict(line.split() for line in out.splitlines() if line.startswith("ledger."))
    assert checked == {"ledger.left_side": "OK", "ledger.right_side": "OK", "ledger.plain": "OK"}
    log = (run / "restored.log").read_text()
    assert "crash recovery" in log
    assert "Shutdown complete" in log


def test_the_restore_page_brings_a_postgresql_back_from_a_set(
    postgresql, base, disks, pair, on_two_volumes, frozen_copies
):
    on_two_volumes(PostgreSql).write()
    time.sleep(1)
    copies = frozen_copies(*postgresql)
    data, run = pair[0].mount / "data", base / "run"
    binaries = str(Path(PostgreSql.program("postgres")).parent)
    restored_by_the_page(pair, copies, disks, "postgresql", PGDATA=str(data), BIN=binaries, RUN=str(run))
    log = (run / "restored.log").read_text()
    assert "redo starts at" in log
    assert "database system is ready to accept connections" in log
    assert "database system is shut down" in log
    assert (data / "postmaster.pid").exists(), "the original's was left alone"
