"""Database servers of the test's own: temporary directories and sockets, no port, never the machine's clusters."""

import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.documents.conftest import Disks, sh


class ServerError(Exception):
    """A server did not start or did not answer."""


def restored_over(originals, copies, disks: Disks):
    """A shell line that mounts copied images where the originals are, in a mount namespace of its own.

    The server then finds every file under the name it has on the original instance, as it would on a restored one.
    """
    lines = ["mount --make-rprivate /"]
    for original, copy in zip(originals, copies, strict=True):
        loop = disks.attach(copy)
        kind = sh("blkid", "-p", "-o", "value", "-s", "TYPE", loop).stdout.strip()
        options = "-o nouuid" if kind == "xfs" else ""  # a copy has its original's identity
        lines.append(f"mount {options} {loop} '{original.mount}'")
    # It names a process that lives here, but would not on another machine.
    lines.append(f"rm -f '{originals[0].mount}/data/postmaster.pid'")
    return ["unshare", "--mount", "sh", "-e", "-c", "\n".join([*lines, 'exec "$@"']), "_"]


@dataclass
class Server:
    """A running server and the way to ask it something."""

    base: Path
    process: subprocess.Popen[bytes]
    log: Path
    clients: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def ask(self, sql: str, seconds: float = 30) -> str:
        done = subprocess.run(self.client(sql), check=False, capture_output=True, text=True, timeout=seconds)
        if done.returncode:
            raise ServerError(done.stderr)
        return done.stdout.strip()

    def client(self, sql: str) -> list[str]:
        raise NotImplementedError

    def in_background(self, sql: str) -> subprocess.Popen[bytes]:
        client = subprocess.Popen(self.client(sql), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.clients.append(client)
        return client

    def up(self, seconds: float = 60):
        """This server once it answers; ended if it does not."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            try:
                self.ask("SELECT 1", 5)
            except (ServerError, subprocess.TimeoutExpired):
                time.sleep(0.1)
            else:
                return self
        self.stop()
        raise ServerError(self.log.read_text()[-3000:])

    def stop(self, how=signal.SIGKILL):
        for client in self.clients:
            client.kill()
            client.wait(timeout=30)
        self.process.send_signal(how)
        self.process.wait(timeout=60)


class MariaDb(Server):
    """MariaDB, whose tables `left_side` and `right_side` lie on two file systems."""

    def client(self, sql):
        return ["mariadb", f"--defaults-file={self.base}/client.cnf", "--batch", "--skip-column-names", "-e", sql]

    @classmethod
    def create(cls, base: Path, datadir: Path):
        install = ["mariadb-install-db", "--no-defaults", "--user=mysql", f"--datadir={datadir}", "--skip-test-db"]
        install.append("--auth-root-authentication-method=normal")
        if sh(*install, check=False).returncode:
            # It failed once on a busy machine, with nothing of ours begun; a second failure says what it printed.
            shutil.rmtree(datadir, ignore_errors=True)
            sh(*install)
        return cls.start(base, datadir)

    @classmethod
    def start(cls, base: Path, datadir: Path, prefix=(), name="mariadb"):
        (base / "client.cnf").write_text(f"[client]\nuser=root\nsocket={base}/{name}.sock\n")
        log = base / f"{name}.log"
        arguments = [
            "mariadbd",
            "--no-defaults",
            "--user=mysql",
            f"--datadir={datadir}",
            f"--socket={base}/{name}.sock",
            f"--pid-file={base}/{name}.pid",
            f"--log-error={log}",
            "--skip-networking",
            "--log-bin",
            "--sync-binlog=1",
            # Pages and checkpoints are written all the time, so that moments apart really differ.
            "--innodb-buffer-pool-size=6M",
            "--innodb-log-file-size=4M",
            "--innodb-max-dirty-pages-pct=0",
        ]
        log.touch()
        shutil.chown(log, "mysql")
        shutil.chown(base, "mysql")
        return cls(base, subprocess.Popen([*prefix, *arguments], stderr=subprocess.DEVNULL), log).up()

    def fill(self, second: Path):
        second.mkdir()
        shutil.chown(second, "mysql")
        self.ask(f"""
            CREATE DATABASE ledger;
            USE ledger;
            CREATE TABLE left_side (id INT PRIMARY KEY, total BIGINT, filler CHAR(200)) ENGINE=InnoDB;
            CREATE TABLE right_side (id INT PRIMARY KEY, total BIGINT, filler CHAR(200)) ENGINE=InnoDB
                DATA DIRECTORY='{second}';
            CREATE TABLE plain (id INT PRIMARY KEY AUTO_INCREMENT, filler CHAR(200), KEY (filler)) ENGINE=MyISAM;
            INSERT INTO left_side SELECT seq, 0, REPEAT('l', 200) FROM seq_1_to_20000;
            INSERT INTO right_side SELECT seq, 0, REPEAT('r', 200) FROM seq_1_to_20000;
        """)
        self.ask("""
            DELIMITER //
            CREATE PROCEDURE ledger.write_forever() BEGIN
                DECLARE at INT;
                WHILE TRUE DO
                    SET at = 1 + FLOOR(RAND() * 20000);
                    START TRANSACTION;
                    UPDATE ledger.left_side SET total = total + 1, filler = UUID() WHERE id = at;
                    UPDATE ledger.right_side SET total = total + 1, filler = UUID() WHERE id = at;
                    COMMIT;
                END WHILE;
            END //
            CREATE PROCEDURE ledger.insert_forever() BEGIN
                WHILE TRUE DO
                    INSERT INTO ledger.plain (filler) VALUES (UUID());
                END WHILE;
            END //
        """)
        assert list(second.glob("ledger/right_side.ibd")), "the second table lies on the second file system"

    def write(self):
        for _ in range(3):
            self.in_background("CALL ledger.write_forever()")
        self.in_background("CALL ledger.insert_forever()")

    def balance(self):
        """The two tables' totals, and what the server says of its tables."""
        totals = self.ask("SELECT SUM(total) FROM ledger.left_side UNION ALL SELECT SUM(total) FROM ledger.right_side")
        left, right = map(int, totals.split())
        return left, right, self.ask("CHECK TABLE ledger.left_side, ledger.right_side, ledger.plain").splitlines()

    def is_sound(self):
        left, right, tables = self.balance()
        return left == right > 0 and all(line.endswith("status\tOK") for line in tables)


class PostgreSql(Server):
    """PostgreSQL, whose tables lie on two file systems, and whose WAL lies with the second."""

    def client(self, sql):
        return ["psql", "-X", "-A", "-t", "-q", "-h", str(self.base), "-U", "postgres", "-d", "postgres", "-c", sql]

    @staticmethod
    def program(name):
        return str(max(Path("/usr/lib/postgresql").glob(f"*/bin/{name}")))

    @staticmethod
    def humbly(*arguments):
        return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", *arguments]

    @classmethod
    def create(cls, base: Path, data: Path, wal: Path):
        for directory in (data, wal):
            directory.mkdir(mode=0o700)
            shutil.chown(directory, "postgres")
        initdb = [cls.program("initdb"), "-D", str(data), "-X", str(wal), "--wal-segsize=1", "--auth=trust"]
        sh(*cls.humbly(*initdb), cwd="/")
        return cls.start(base, data)

    @classmethod
    def start(cls, base: Path, data: Path, prefix=()):
        shutil.chown(base, "postgres")
        log = base / "postgresql.log"
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(base),
            # Pages and checkpoints are written all the time, so that moments apart really differ.
            "shared_buffers": "1MB",
            "max_wal_size": "2MB",
            "min_wal_size": "2MB",
            "bgwriter_delay": "10ms",
        }
        arguments = [cls.program("postgres"), "-D", str(data)]
        for name, value in settings.items():
            arguments += ["-c", f"{name}={value}"]
        with log.open("w") as file:
            process = subprocess.Popen([*prefix, *cls.humbly(*arguments)], stderr=file, stdout=file, cwd="/")
        return cls(base, process, log).up()

    def fill(self, second: Path):
        second.mkdir(mode=0o700)
        shutil.chown(second, "postgres")
        self.ask(f"CREATE TABLESPACE second LOCATION '{second}'")
        for side, place in (("left_side", "pg_default"), ("right_side", "second")):
            self.ask(f"""
                CREATE TABLE {side} (id INT PRIMARY KEY, total BIGINT, filler TEXT) TABLESPACE {place};
                INSERT INTO {side} SELECT n, 0, repeat('x', 200) FROM generate_series(1, 10000) n
            """)

    def write(self):
        script = self.base / "write.sql"
        script.write_text("""
            \\set at random(1, 10000)
            BEGIN;
            UPDATE left_side SET total = total + 1 WHERE id = :at;
            UPDATE right_side SET total = total + 1 WHERE id = :at;
            COMMIT;
        """)
        arguments = [
            "-n",
            "-h",
            str(self.base),
            "-U",
            "postgres",
            "-c",
            "3",
            "-T",
            "600",
            "-f",
            str(script),
            "postgres",
        ]
        pgbench = [self.program("pgbench"), *arguments]
        client = subprocess.Popen(pgbench, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.clients.append(client)

    def stop(self, how=signal.SIGQUIT):
        super().stop(how)

    def is_sound(self):
        left = self.ask("SELECT sum(total), count(*) FROM left_side")
        right = self.ask("SELECT sum(total), count(*) FROM right_side")
        self.ask(
            "CREATE EXTENSION IF NOT EXISTS amcheck; SELECT bt_index_check(c.oid, true) FROM pg_class c "
            "WHERE c.relname IN ('left_side_pkey', 'right_side_pkey')"
        )
        return left == right and not left.startswith("0|")
