"""Locks MySQL or MariaDB, then freezes its file systems, around a snapshot; see docs/hooks-documents.md."""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from typing import List, Optional

from documents.keeper import Lock
from documents.layout import read_text
from documents.session import PIPE, Client, last_line, marked, run_client, value_of
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
    "optionFile": "{{ optionFile }}",
    "secretId": "{{ secretId }}",
    "lockMethod": "{{ lockMethod }}",
    "lockWaitSeconds": "{{ lockWaitSeconds }}",
}
# Whatever root's option files say of the client's ways. What they say of the form of its output does not matter.
OWN_OPTIONS = ["--batch", "--unbuffered", "--skip-reconnect", "--skip-force", "--connect-timeout=5", "--delimiter=;"]
OWN_OPTIONS += ["--init-command=DO 0", "--loose-skip-safe-updates", "--loose-disable-tee"]
OWN_OPTIONS += ["--default-character-set=utf8mb4", "--database=information_schema"]
# Whatever the server's and the user's settings are. USE is for the option one-database; of the last two
# lines, the first is MariaDB's and the second MySQL's.
OWN_SETTINGS = """USE information_schema;
SET SESSION sql_mode='', autocommit=1, sql_big_selects=1, sql_select_limit=18446744073709551615
/*M!100101 , max_statement_time=0 */
/*!50708 , max_execution_time=0 */;
"""
LONGEST_SECRET = 1000  # a pipe takes it before anybody reads
DIRECTORIES = ["innodb_data_home_dir", "innodb_log_group_home_dir", "innodb_undo_directory"]
BASENAMES = ["log_bin_basename", "relay_log_basename"]
ONLY_SOME_HAVE = ["aria_log_dir_path", "innodb_doublewrite_dir", "rocksdb_datadir", "rocksdb_wal_dir"]


class Mysql(Document):
    """MySQL or MariaDB on this instance."""

    kind = "mysql"
    lock_suffices = True  # the lock keeps the data still
    longest_hold = 480.0  # InnoDB ends its server when a write has waited for 600 s
    proof_seconds = 9.0
    version = ""
    client: Client

    def database_paths(self) -> List[str]:
        """Whatever the server needs to start from: directories, then single tables and databases that lie elsewhere."""
        self.client = self.find_client()
        try:
            return self.ask_paths()
        except subprocess.CalledProcessError as error:
            raise NotReadyError("the server refused: " + last_line(error.output)) from error
        except subprocess.TimeoutExpired as error:
            raise NotReadyError("the server does not answer within 10 s") from error

    def find_client(self) -> Client:
        """The client and how it connects."""
        program = shutil.which("mariadb") or shutil.which("mysql")
        if not program:
            raise NotReadyError("no mariadb or mysql client")
        option_file, secret_id = self.parameters["optionFile"], self.parameters["secretId"]
        environment = dict(os.environ, MYSQL_HISTFILE="/dev/null")
        environment.setdefault("HOME", "/root")
        if option_file and secret_id:
            raise NotReadyError("optionFile and secretId exclude each other")
        if option_file:
            check_option_file(option_file)
            return Client([program, "--defaults-file=" + option_file, *OWN_OPTIONS], environment)
        if secret_id:
            own_file = environment["HOME"] + "/.my.cnf"
            include = f"!include {own_file}\n" if os.path.exists(own_file) else ""
            # Not read as root's own, after which the secret's user would no longer count.
            environment["HOME"] = "/nonexistent"
            arguments = [program, "--defaults-extra-file=" + PIPE, *OWN_OPTIONS]
            return Client(arguments, environment, include + fetch_secret(secret_id))
        return Client([program, *OWN_OPTIONS], environment)

    def ask(self, statements: str) -> str:
        """What the server answers."""
        return run_client(self.client, OWN_SETTINGS + statements, 10)

    def ask_paths(self) -> List[str]:
        """The server's version, its permission to lock, and its files."""
        self.version = text_of(self.ask(marked("version", "HEX(VERSION())")), "version") or ""
        # It flushes a table that is not there, for which the server asks the same right as for the lock.
        try:
            self.ask("FLUSH LOCAL TABLES mysql.auto_snapshots_has_no_table;")
        except subprocess.CalledProcessError as error:
            text = "the user lacks RELOAD, which the lock needs: "
            raise NotReadyError(text + last_line(error.output)) from error
        names = ["datadir", "innodb_data_file_path", *DIRECTORIES, *BASENAMES]
        output = self.ask("".join(marked(name, f"HEX(@@GLOBAL.{name})") for name in names))
        settings = {name: text_of(output, name) or "" for name in names}
        datadir = settings["datadir"]
        if not datadir or not os.path.isdir(datadir):
            raise NotReadyError(f"the server's datadir {datadir!r} is not on this instance")
        variables = "information_schema.GLOBAL_VARIABLES" if self.is_mariadb else "performance_schema.global_variables"
        for name in ONLY_SOME_HAVE:
            row = marked(name, "HEX(VARIABLE_VALUE)")[:-1] + f" FROM {variables} WHERE VARIABLE_NAME = '{name}';"
            settings[name] = text_of(self.ask(row), name) or ""
        paths = [datadir]
        paths += [settings[name] for name in [*DIRECTORIES, *ONLY_SOME_HAVE] if settings[name]]
        paths += [os.path.dirname(settings[name]) for name in BASENAMES if settings[name]]
        data_home = os.path.join(datadir, settings["innodb_data_home_dir"])
        for part in settings["innodb_data_file_path"].split(";"):
            file = os.path.join(data_home, re.sub(":[0-9].*", "", part))
            paths += [file] if part and os.path.exists(file) else []
        if not self.is_mariadb:
            output = self.ask(
                marked("file", "HEX(FILE_NAME)")[:-1] + " FROM information_schema.FILES WHERE FILE_TYPE <> 'TEMPORARY';"
            )
            paths += [os.path.dirname(decoded(value)) for value in re.findall(r"\[file=([0-9A-Fa-f]*)\]", output)]
        return sorted({os.path.join(datadir, path) for path in paths + elsewhere(datadir)})

    @property
    def is_mariadb(self) -> bool:
        """Or else MySQL."""
        return "MariaDB" in self.version

    def lock(self, seconds: float) -> Lock:
        """By backup stages, which wait for no SELECT, from MariaDB 10.4 on; else by the global read lock."""
        method, wait = self.parameters["lockMethod"], int(self.parameters["lockWaitSeconds"])
        if method == "auto":
            is_old = re.match(r"10\.[0-3]\.", self.version) or not self.is_mariadb
            method = "flush" if is_old else "backup-stage"
        statements = "FLUSH TABLES WITH READ LOCK;"
        if method == "backup-stage":
            stages = ["START", "FLUSH", "BLOCK_DDL", "BLOCK_COMMIT"]
            statements = "".join(f"BACKUP STAGE {stage};" for stage in stages)
        # wait_timeout lets the server itself end a session of which everybody has died.
        limits = f"SET SESSION lock_wait_timeout={wait}, wait_timeout={max(1, int(seconds))};"
        take = [OWN_SETTINGS, limits, marked("connection", "CONNECTION_ID()"), statements]
        return Lock(
            client=self.client,
            take="\n".join([*take, marked("errors", "@@error_count")]),
            seconds=wait,
            prove=marked("held", "CONNECTION_ID()"),
        )


def check_option_file(path: str) -> None:
    """Root's client does what its options say, and they may name a plugin to load or a file to write."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise NotReadyError(f"the option file cannot be read: {error}") from error
    if not stat.S_ISREG(status.st_mode) or status.st_uid or status.st_mode & 0o022:
        raise NotReadyError(f"the option file {path} must be root's, a plain file, and writable by nobody else")


def fetch_secret(secret_id: str) -> str:
    """An option file's text from a secret that is JSON with username and password, as Secrets Manager's own are."""
    environment = dict(os.environ)
    if "AWS_SSM_REGION_NAME" in environment:  # the agent's
        environment.setdefault("AWS_DEFAULT_REGION", environment["AWS_SSM_REGION_NAME"])
    command = ["aws", "secretsmanager", "get-secret-value", "--secret-id", secret_id]
    command += ["--query", "SecretString", "--output", "text"]
    try:
        done = subprocess.run(
            command,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            timeout=20,
        )
    except subprocess.CalledProcessError as error:
        text = error.stderr.decode("utf-8", "replace").strip()[-300:]
        raise NotReadyError("the secret cannot be read: " + text) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotReadyError(f"the secret cannot be read: {error}") from error
    try:
        content = json.loads(done.stdout.decode())
        user, password = str(content["username"]), str(content["password"])
    except (ValueError, KeyError, TypeError):
        raise NotReadyError("the secret is not JSON with username and password") from None
    if len(user + password) > LONGEST_SECRET:
        raise NotReadyError(f"username and password have more than {LONGEST_SECRET} characters")
    return f'[client]\nuser="{escaped(user)}"\npassword="{escaped(password)}"\n'


def escaped(value: str) -> str:
    """As option files write it."""
    for plain, written in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r")):
        value = value.replace(plain, written)
    return value


def elsewhere(datadir: str) -> List[str]:
    """Tables whose place a link file names, and databases and tables that are symbolic links."""
    found = []
    for folder in [datadir, *(entry.path for entry in os.scandir(datadir) if entry.is_dir())]:
        for entry in os.scandir(folder):
            if entry.is_symlink():
                found.append(entry.path)
            elif entry.name.endswith(".isl"):
                found.append((read_text(entry.path) or "").strip())
    return found


def text_of(output: str, name: str) -> Optional[str]:
    """A marked row's text."""
    value = value_of(output, name)
    return None if value is None else decoded(value)


def decoded(value: str) -> str:
    """The text of hexadecimal digits."""
    return os.fsdecode(bytes.fromhex(value))


if __name__ == "__main__":
    main(Mysql(PARAMETERS), sys.argv[1:])
