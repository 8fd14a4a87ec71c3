"""A database's client: what it prints in any form, how it fails, and how a secret reaches it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from pathlib import Path

import pytest

from documents.session import PIPE, Client, Session, last_line, marked, run_client, value_of
from tests.unit.documents.programs import program

READS_ALL = "import sys\nsys.stdout.write(sys.stdin.read())\n"
SLEEPS = "import time\nprint('begun', flush=True)\ntime.sleep(600)\n"
# Answers the question for the connection, and keeps what else it is told; at KILL it leaves a note of that.
ANSWERS = """
import os, sys
folder = os.path.dirname(os.path.abspath(__file__))
for line in sys.stdin:
    if line.startswith("KILL"):
        open(folder + "/killed", "a").write(line)
    print("[connection=17]", flush=True)
"""


@pytest.fixture
def started(monkeypatch):
    """The clients' processes; a session leaves their pipes to its own process's end."""
    processes = []
    start = Client.start
    monkeypatch.setattr(Client, "start", lambda self: processes.append(start(self)) or processes[-1])
    yield processes
    for process in processes:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()


@pytest.fixture
def client(tmp_path, started):
    def make(text, *arguments, secret=""):
        return Client([program(tmp_path, "client", text), *arguments], dict(os.environ), secret)

    return make


@pytest.mark.parametrize(
    "output",
    [
        pytest.param("[held=17]\n", id="rows alone"),
        pytest.param("CONCAT('[held=', CONNECTION_ID(), ']')\n[held=17]\n", id="with a heading"),
        pytest.param("+-----------+\n| [held=17] |\n+-----------+\n", id="a table"),
        pytest.param("*** 1. row ***\nCONCAT('[held=', CONNECTION_ID(), ']'): [held=17]\n", id="vertical"),
        pytest.param("<TABLE BORDER=1><TR><TD>[held=17]</TD></TR></TABLE>", id="HTML"),
        pytest.param('<row>\n\t<field name="CONCAT(&apos;[held=">[held=17]</field>\n</row>', id="XML"),
        pytest.param(
            "--------------\nSELECT CONCAT('[held=', CONNECTION_ID(), ']')\n----\n\n[held=17]\n", id="verbose"
        ),
        pytest.param("[held=3]\n[other=4]\n[held=17]\n", id="the last of several"),
        pytest.param("\x1b[1m[held=17]\x1b[0m\t1 row in set", id="coloured"),
    ],
)
def test_a_marked_row_is_found_in_every_form_of_output(output):
    assert value_of(output, "held") == "17"


@pytest.mark.parametrize(
    "output",
    ["", "[held=", "[held=1", "[other=17]", "[held=NULL]", "[held=x7]", marked("held", "CONNECTION_ID()")],
    ids=["nothing", "cut off", "cut off within", "another's", "NULL", "no digits", "the question"],
)
def test_what_is_not_a_marked_row_says_nothing(output):
    assert value_of(output, "held") is None


def test_a_row_may_be_empty():
    assert value_of("[path=]\n", "path") == ""


def test_a_question_marks_its_row():
    assert marked("held", "CONNECTION_ID()") == "SELECT CONCAT('[held=', CONNECTION_ID(), ']');"


def test_the_last_line_is_the_error():
    assert last_line("a row\n\nERROR 1045 (28000): Access denied\n\n") == "ERROR 1045 (28000): Access denied"
    assert last_line("") == ""


def test_a_client_is_told_through_its_input(client):
    assert run_client(client(READS_ALL), "SELECT '\N{SNOWMAN}';", 30) == "SELECT '\N{SNOWMAN}';\n"


def test_an_output_that_is_no_utf_8_keeps_its_bytes(client):
    output = run_client(client("import os\nos.write(1, b'/srv/\\xe9')\n"), "", 30)
    assert os.fsencode(output) == b"/srv/\xe9"


def test_a_client_that_fails_tells_why(client):
    with pytest.raises(subprocess.CalledProcessError) as raised:
        run_client(client("import sys\nprint('a row')\nsys.stdout.flush()\nsys.exit('ERROR 1045')\n"), "SELECT 1;", 30)
    assert (raised.value.returncode, raised.value.cmd, raised.value.output) == (1, "client", "a row\nERROR 1045\n")


def test_a_client_that_hangs_is_killed(client, started):
    with pytest.raises(subprocess.TimeoutExpired):
        run_client(client(SLEEPS), "", 0.2)
    assert started[0].returncode == -9


def test_a_client_that_is_missing_is_an_error():
    with pytest.raises(FileNotFoundError):
        run_client(Client(["/nonexistent/client"], {}), "", 30)


def test_a_secret_comes_through_a_pipe_and_in_no_file(client, tmp_path):
    """Its arguments and its environment, which others could see, have it neither."""
    text = "import os, sys\nprint(sys.argv[1:], dict(os.environ))\nprint(open(sys.argv[1].split('=')[1]).read())\n"
    secret = '[client]\npassword="s3cret"'
    output = run_client(client(text, f"--defaults-extra-file={PIPE}", secret=secret), "", 30)
    seen, _, read = output.partition("\n")
    assert seen.startswith("['--defaults-extra-file=/dev/fd/")
    assert "s3cret" not in seen
    assert read == secret + "\n"
    assert [path.name for path in tmp_path.rglob("*") if b"s3cret" in path.read_bytes()] == []


def test_a_client_gets_no_other_descriptor_than_the_pipe(client):
    reading, writing = os.pipe()
    text = "import os\nprint(sorted(int(name) for name in os.listdir('/proc/self/fd')))\n"
    try:
        numbers = run_client(client(text), "", 30).strip("[]\n").split(", ")
    finally:
        os.close(reading)
        os.close(writing)
    assert len(numbers) == 5, "the three, the pipe, and the listing's own"


def test_nothing_stays_open_after_a_client(client):
    before = sorted(path.name for path in Path("/proc/self/fd").iterdir())
    run_client(client(READS_ALL, secret="x"), "", 30)
    assert sorted(path.name for path in Path("/proc/self/fd").iterdir()) == before


def hear(session, name):
    limit = time.monotonic() + 30
    while value_of(session.output, name) is None and not session.is_over and time.monotonic() < limit:
        session.read()
    return value_of(session.output, name)


def test_a_session_answers_until_its_end(client):
    session = Session(client(ANSWERS))
    session.tell("SELECT 1;")
    assert hear(session, "connection") == "17"
    assert not session.is_over
    session.end(30)
    assert session.process.returncode == 0
    session.read()
    assert session.is_over


def test_a_session_whose_client_has_ended_is_over(client):
    session = Session(client("pass"))
    session.process.wait(30)
    session.tell("SELECT 1;")
    assert session.is_over
    session.end(1)


def test_a_session_that_does_not_end_is_killed_at_the_server(client, tmp_path):
    """By another connection: the client alone would leave the server waiting for its lock."""
    session = Session(client(ANSWERS + "import time\ntime.sleep(600)\n"))
    session.tell("SELECT 1;")
    assert hear(session, "connection") == "17"
    program(tmp_path, "client", ANSWERS)  # the next connection's
    session.end(0.2)
    assert session.process.returncode == -9
    assert (tmp_path / "killed").read_text() == "KILL 17;\n"


def test_a_session_without_a_connection_is_only_killed(client, tmp_path):
    session = Session(client(SLEEPS))
    session.end(0.2)
    assert session.process.returncode == -9
    assert not (tmp_path / "killed").exists()
