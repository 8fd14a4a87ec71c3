"""Lets PostgreSQL write a checkpoint, then freezes its file systems, around a snapshot; see docs/hooks-documents.md."""

import glob
import os
import pwd
import shutil
import subprocess
import sys
from typing import List

from documents.stages import Document, NotReadyError, main

# The agent puts parameters into this text as they are, and root runs it: each allowedPattern therefore admits no quote,
# no line end and no backslash.
PARAMETERS = {
    "command": "{{ command }}",
    "executionId": "{{ executionId }}",
    "volumeIds": "{{ volumeIds }}",
    "volumeDevices": "{{ volumeDevices }}",
    "notAfter": "{{ notAfter }}",
    "timeoutSeconds": "{{ timeoutSeconds }}",
    "osUser": "{{ osUser }}",
    "port": "{{ port }}",
    "database": "{{ database }}",
    "socketDirectory": "{{ socketDirectory }}",
}
# Whatever the role's and the database's settings are: a connection's options come before them.
OWN_SETTINGS = "-c statement_timeout=0 -c lock_timeout=0 -c search_path=pg_catalog -c role=none"
SINCE_17 = " -c transaction_timeout=0"
QUESTION = """SELECT 'data=' || current_setting('data_directory')
    UNION ALL SELECT 'space=' || pg_tablespace_location(oid) FROM pg_tablespace
    UNION ALL SELECT 'may checkpoint' FROM pg_roles WHERE rolname = current_user AND (rolsuper OR EXISTS (
        SELECT FROM pg_roles r WHERE r.rolname = 'pg_checkpoint' AND pg_has_role(current_user, r.oid, 'member')))"""


class Postgresql(Document):
    """PostgreSQL on this instance. Nothing but the freeze keeps its data still."""

    kind = "postgresql"
    settings = OWN_SETTINGS + SINCE_17

    def database_paths(self) -> List[str]:
        """The data directory, the WAL and the tablespaces."""
        rows = self.ask(QUESTION)
        data = "".join(row[len("data=") :] for row in rows if row.startswith("data="))
        spaces = [row[len("space=") :] for row in rows if row.startswith("space=")]
        if not os.path.isdir(data):
            raise NotReadyError(f"the server's data directory {data!r} is not on this instance")
        if "may checkpoint" not in rows:
            raise NotReadyError("the role of {} may not CHECKPOINT".format(self.parameters["osUser"]))
        # The server does not say where its WAL is; where it lies elsewhere it is a link.
        logs = [data + name for name in ("/pg_wal", "/pg_xlog") if os.path.exists(data + name)]
        return sorted({data, *logs, *filter(None, spaces)})

    def quiesce(self) -> None:
        """A checkpoint, for a short recovery and little left to write; it blocks nobody and may take its time."""
        self.ask("CHECKPOINT", self.timeout)

    def ask(self, sql: str, seconds: float = 10) -> List[str]:
        """The rows of the server's answer. NotReadyError if it refuses."""
        done = self.run(sql, seconds)
        if done.returncode and b"transaction_timeout" in done.stderr:
            self.settings = OWN_SETTINGS
            done = self.run(sql, seconds)
        if done.returncode:
            text = done.stderr.decode("utf-8", "replace").strip()[-300:]
            raise NotReadyError("the server cannot be reached, or refuses: " + text)
        return [os.fsdecode(row) for row in done.stdout.split(b"\0")[:-1]]

    def run(self, sql: str, seconds: float) -> "subprocess.CompletedProcess[bytes]":
        """Runs psql as the operating system user whom the server knows."""
        parameters = self.parameters
        try:
            user = pwd.getpwnam(parameters["osUser"])
        except KeyError:
            raise NotReadyError("there is no user " + parameters["osUser"]) from None
        command = [find_psql(), "-X", "-A", "-t", "-q", "-0", "-w", "-v", "ON_ERROR_STOP=1", "-p", parameters["port"]]
        command += ["-h", parameters["socketDirectory"]] if parameters["socketDirectory"] else []
        environment = {"PATH": os.environ["PATH"], "HOME": user.pw_dir, "LC_ALL": "C", "PGCONNECT_TIMEOUT": "5"}
        environment.update(PGOPTIONS=self.settings, PGCLIENTENCODING="SQL_ASCII")

        def become_user() -> None:
            os.initgroups(user.pw_name, user.pw_gid)
            os.setgid(user.pw_gid)
            os.setuid(user.pw_uid)

        try:
            return subprocess.run(
                [*command, "-d", parameters["database"], "-c", sql],
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                preexec_fn=become_user,
                timeout=seconds,
            )
        except subprocess.TimeoutExpired:
            raise NotReadyError(f"{sql.splitlines()[0]} took more than {seconds:.0f} s") from None


def find_psql() -> str:
    """The client, which some distributions keep beside the server."""
    folders = glob.glob("/usr/pgsql-*/bin") + glob.glob("/usr/lib/postgresql/*/bin")
    program = shutil.which("psql") or shutil.which("psql", path=":".join(folders))
    if not program:
        raise NotReadyError("psql is missing")
    return program


if __name__ == "__main__":
    main(Postgresql(PARAMETERS), sys.argv[1:])
