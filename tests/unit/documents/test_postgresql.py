"""What PostgreSQL's document asks the server, as whom, and what it makes of the answers."""

from __future__ import annotations

import json
import os
import pwd
import subprocess

import pytest

from documents.postgresql import QUESTION, Postgresql, find_psql
from documents.stages import NotReadyError
from tests.unit.documents.programs import program

USER = pwd.getpwuid(os.getuid()).pw_name
PARAMETERS = {
    "command": "dry-run",
    "executionId": "None",
    "volumeIds": "",
    "volumeDevices": "",
    "notAfter": "0",
    "timeoutSeconds": "60",
    "osUser": USER,
    "port": "5433",
    "database": "backup",
    "socketDirectory": "",
}
SETTINGS = "-c statement_timeout=0 -c lock_timeout=0 -c search_path=pg_catalog -c role=none"
# Remembers how it was called, and answers from a file beside it.
PSQL = r"""
import json, os, sys
folder = os.path.dirname(os.path.abspath(__file__))
with open(folder + "/called", "a") as file:
    file.write(json.dumps([sys.argv[1:], dict(os.environ)]) + "\n")
with open(folder + "/server.json") as file:
    server = json.load(file)
if server["is_old"] and "transaction_timeout" in os.environ["PGOPTIONS"]:
    sys.exit('FATAL: unrecognized configuration parameter "transaction_timeout"')
rows = server["rows"].get(sys.argv[-1])
if rows is None:
    sys.exit("FATAL: no such thing")
os.write(1, b"".join(os.fsencode(row) + b"\0" for row in rows))
"""


def document(**parameters):
    return Postgresql({**PARAMETERS, **parameters})


@pytest.fixture
def as_anybody(monkeypatch):
    """So that whoever runs the test may become that user."""
    for name in ("initgroups", "setgid", "setuid"):
        monkeypatch.setattr(os, name, lambda *_: None)


@pytest.fixture
def bin_folder(tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr("glob.glob", lambda pattern: [])
    return folder


@pytest.fixture
def serve(bin_folder, as_anybody):
    """A server with these rows; returns how it was called."""

    def start(rows, *, is_old=False):
        (bin_folder / "server.json").write_text(json.dumps({"rows": rows, "is_old": is_old}))
        program(bin_folder, "psql", PSQL)
        return lambda: [json.loads(line) for line in (bin_folder / "called").read_text().splitlines()]

    return start


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def rows(data, *, may=True, spaces=("", "")):
    return {QUESTION: [f"data={data}", *(f"space={space}" for space in spaces), *(["may checkpoint"] if may else [])]}


@pytest.mark.parametrize(
    ("logs", "spaces", "expected"),
    [
        pytest.param(["pg_wal"], ["", ""], ["{}", "{}/pg_wal"], id="all in one place"),
        pytest.param(["pg_xlog"], [""], ["{}", "{}/pg_xlog"], id="a server before 10"),
        pytest.param([], ["", "/space", "/s\udce9"], ["/space", "/s\udce9", "{}"], id="tablespaces"),
        pytest.param([], ["/a\nb"], ["/a\nb", "{}"], id="a name with a line end"),
    ],
)
def test_the_paths_are_data_wal_and_tablespaces(serve, data, logs, spaces, expected):
    serve(rows(data, spaces=spaces))
    for name in logs:
        (data / name).mkdir()
    assert document().database_paths() == sorted(path.format(data) for path in expected)


@pytest.mark.parametrize(
    ("answers", "fault"),
    [
        pytest.param(rows("/nonexistent"), "'/nonexistent' is not on this", id="elsewhere"),
        pytest.param(rows("/", may=False), f"the role of {USER} may not CHECKPOINT", id="no right"),
        pytest.param({QUESTION: None}, "or refuses: FATAL: no such thing$", id="refused"),
    ],
)
def test_a_server_that_cannot_be_frozen_here_is_refused(serve, data, answers, fault):
    serve({**rows(data), **answers})
    with pytest.raises(NotReadyError, match=fault):
        document().database_paths()


def test_a_role_with_a_time_limit_of_its_own_has_none_here(serve):
    called = serve({"SELECT 1": ["1"]})
    assert document().ask("SELECT 1") == ["1"]
    ((_, environment),) = called()
    assert environment["PGOPTIONS"] == f"{SETTINGS} -c transaction_timeout=0"


def test_a_server_before_17_is_asked_again_without_its_setting(serve):
    called = serve({"SELECT 1": ["1"]}, is_old=True)
    assert document().ask("SELECT 1") == ["1"]
    options = [environment["PGOPTIONS"] for _, environment in called()]
    assert options == [f"{SETTINGS} -c transaction_timeout=0", SETTINGS]


def test_another_error_is_not_asked_again(serve):
    called = serve({})
    with pytest.raises(NotReadyError, match="no such thing"):
        document().ask("SELECT 1")
    assert len(called()) == 1


@pytest.mark.parametrize(("folder", "more"), [("", []), ("/run/pg", ["-h", "/run/pg"])], ids=["default", "named"])
def test_psql_is_called_alike_whatever_files_it_has(serve, bin_folder, monkeypatch, folder, more):
    monkeypatch.setenv("PGHOST", "elsewhere.example")
    called = serve({"SELECT 1": []})
    assert document(socketDirectory=folder).ask("SELECT 1") == []
    ((arguments, environment),) = called()
    assert arguments == [
        *["-X", "-A", "-t", "-q", "-0", "-w", "-v", "ON_ERROR_STOP=1", "-p", "5433"],
        *[*more, "-d", "backup", "-c", "SELECT 1"],
    ]
    assert environment.keys() - {"LC_CTYPE"} == {
        *["PATH", "HOME", "LC_ALL", "PGCONNECT_TIMEOUT", "PGOPTIONS", "PGCLIENTENCODING"]
    }
    assert environment["HOME"] == pwd.getpwnam(USER).pw_dir


def test_a_checkpoint_may_take_a_stages_time(serve, monkeypatch):
    run, limits = subprocess.run, []

    def run_noting(*arguments, timeout, **options):
        limits.append(timeout)
        return run(*arguments, timeout=timeout, **options)

    monkeypatch.setattr(subprocess, "run", run_noting)
    called = serve({"CHECKPOINT": []})
    document(timeoutSeconds="45").quiesce()
    assert limits == [45]
    assert called()[0][0][-1] == "CHECKPOINT"


def test_a_server_that_does_not_answer_is_told(bin_folder, as_anybody):
    program(bin_folder, "psql", "import time\ntime.sleep(600)\n")
    with pytest.raises(NotReadyError, match=r"^SELECT 1 took more than 0 s$"):
        document().ask("SELECT 1\nFROM a", 0.2)


def test_a_user_that_is_not_there_is_told(bin_folder):
    with pytest.raises(NotReadyError, match="there is no user nobody-of-that-name"):
        document(osUser="nobody-of-that-name").ask("SELECT 1")


def test_psql_is_the_user_s_own_program(serve, bin_folder, monkeypatch):
    """Its groups first, then its group, then the user: in another order root's groups would stay."""
    serve({"SELECT 1": []})
    order = bin_folder / "order"
    for name in ("initgroups", "setgid", "setuid"):
        monkeypatch.setattr(os, name, lambda *values, name=name: order.open("a").write(f"{name} {values}\n"))
    document().ask("SELECT 1")
    user = pwd.getpwnam(USER)
    assert order.read_text().splitlines() == [
        f"initgroups {(USER, user.pw_gid)}",
        f"setgid {(user.pw_gid,)}",
        f"setuid {(user.pw_uid,)}",
    ]


@pytest.mark.parametrize("place", ["path", "server", None])
def test_psql_is_found_beside_the_server_as_well(tmp_path, monkeypatch, place):
    folders = {name: tmp_path / name for name in ("path", "server", "older")}
    for folder in folders.values():
        folder.mkdir()
    monkeypatch.setenv("PATH", str(folders["path"]))
    monkeypatch.setattr("glob.glob", lambda pattern: [str(folders["older"]), str(folders["server"])])
    (folders["older"] / "psql").touch(0o600)
    if place:
        program(folders[place], "psql", "")
        assert find_psql() == f"{folders[place]}/psql"
    else:
        with pytest.raises(NotReadyError, match="psql is missing"):
            find_psql()
