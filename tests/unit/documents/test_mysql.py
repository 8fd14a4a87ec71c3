"""What MySQL's document asks the server and Secrets Manager, and what it makes of the answers."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from documents.mysql import Mysql, elsewhere, escaped, fetch_secret
from documents.session import PIPE
from documents.stages import NotReadyError
from tests.unit.documents.programs import program

PARAMETERS = {
    "command": "dry-run",
    "executionId": "None",
    "volumeIds": "",
    "volumeDevices": "",
    "notAfter": "0",
    "timeoutSeconds": "60",
    "optionFile": "",
    "secretId": "",
    "lockMethod": "auto",
    "lockWaitSeconds": "7",
}
# Answers as the server whose settings are in a file beside it; one that it does not have is an error, or no row.
SERVER = r"""
import json, os, re, sys
folder = os.path.dirname(os.path.abspath(__file__))
with open(folder + "/server.json") as file:
    server = json.load(file)
statements = sys.stdin.read()
with open(folder + "/asked", "a") as file:
    file.write(statements)
if "FLUSH" in statements and server.get("refused"):
    sys.exit("a row\n" + server["refused"])
for name, value in re.findall(r"CONCAT\('\[(\w+)=', (.*?), '\]'\)", statements):
    if value == "HEX(FILE_NAME)":
        texts = server["files"]
    elif value == "HEX(VARIABLE_VALUE)":
        texts = [server[name]] if name in server else []
    else:
        texts = [server[name] if name != "version" else server["version"]]
    for text in texts:
        print("[{}={}]".format(name, os.fsencode(text).hex().upper()))
"""


def document(**parameters):
    return Mysql({**PARAMETERS, **parameters})


@pytest.fixture
def bin_folder(tmp_path, monkeypatch):
    """The only folder of the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def serve(bin_folder, data):
    """A server with these settings, behind the client of that name."""

    def start(client="mariadb", version="10.11.6-MariaDB-0+deb12u1", **settings):
        usual = {
            "datadir": f"{data}/",
            "innodb_data_file_path": "ibdata1:12M:autoextend",
            "innodb_data_home_dir": "",
            "innodb_log_group_home_dir": "./",
            "innodb_undo_directory": "",
            "log_bin_basename": "",
            "relay_log_basename": "",
            "files": [],
        }
        (bin_folder / "server.json").write_text(json.dumps({**usual, "version": version, **settings}))
        program(bin_folder, client, SERVER)
        return bin_folder / "asked"

    return start


# --- paths ---


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        pytest.param({}, ["{}/", "{}/./"], id="a plain server"),
        pytest.param({"innodb_log_group_home_dir": "/redo"}, ["/redo", "{}/"], id="redo logs elsewhere"),
        pytest.param({"innodb_undo_directory": "undo"}, ["{}/", "{}/./", "{}/undo"], id="a relative directory"),
        pytest.param({"log_bin_basename": "/binlog/mysql-bin"}, ["/binlog", "{}/", "{}/./"], id="the binary log"),
        pytest.param({"relay_log_basename": "/relay/relay-bin"}, ["/relay", "{}/", "{}/./"], id="the relay log"),
        pytest.param({"aria_log_dir_path": "/aria/"}, ["/aria/", "{}/", "{}/./"], id="what only MariaDB has"),
        pytest.param({"innodb_data_file_path": "ibdata1:12M;other/ibdata2:1G"}, ["{}/", "{}/./"], id="not there yet"),
    ],
)
def test_the_paths_are_those_of_the_servers_settings(serve, data, settings, expected):
    serve(**settings)
    assert document().database_paths() == sorted(path.format(data) for path in expected)


def test_each_file_of_the_system_tablespace_counts(serve, data, tmp_path):
    """A raw device as well; after a colon stands how large it is."""
    other = tmp_path / "other"
    other.mkdir()
    for path in (data / "ibdata1", other / "ibdata2", other / "raw"):
        path.touch()
    serve(innodb_data_file_path=f"ibdata1:12M;{other}/ibdata2:1G:autoextend;{other}/raw:3Gnewraw")
    paths = document().database_paths()
    assert {f"{data}/ibdata1", f"{other}/ibdata2", f"{other}/raw"} <= set(paths)


def test_tablespaces_of_mysql_are_asked_for(serve, data):
    serve("mysql", "8.0.36", files=["./db/t.ibd", "/far/space.ibd", "/f\udce4r/t.ibd"])
    assert document().database_paths() == sorted([f"{data}/", f"{data}/./", f"{data}/./db", "/far", "/f\udce4r"])


def test_mariadbs_client_is_preferred(serve, bin_folder):
    program(bin_folder, "mysql", "import sys\nsys.exit('ERROR')\n")
    serve("mariadb")
    assert document().database_paths()


def test_nothing_is_asked_that_changes_the_server(serve):
    asked = serve()
    document().database_paths()
    words = {line.split(" ")[0] for line in asked.read_text().splitlines() if line and not line.startswith("/*")}
    assert words == {"USE", "SET", "SELECT", "FLUSH"}
    assert "FLUSH LOCAL TABLES mysql.auto_snapshots_has_no_table;" in asked.read_text()


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        pytest.param({"datadir": "/nonexistent/"}, "datadir '/nonexistent/' is not on this instance", id="elsewhere"),
        pytest.param({"datadir": ""}, "datadir '' is not on this instance", id="nowhere"),
        pytest.param({"refused": "ERROR 1227: denied"}, "lacks RELOAD, .*: ERROR 1227: denied$", id="no right to lock"),
    ],
)
def test_a_server_that_cannot_be_locked_here_is_refused(serve, settings, fault):
    serve(**settings)
    with pytest.raises(NotReadyError, match=fault):
        document().database_paths()


def test_a_server_that_refuses_is_told(bin_folder):
    program(bin_folder, "mysql", "import sys\nsys.exit('ERROR 1045 (28000): Access denied')\n")
    with pytest.raises(NotReadyError, match=r"^the server refused: ERROR 1045 \(28000\): Access denied$"):
        document().database_paths()


def test_without_a_client_nothing_is_ready(bin_folder):
    with pytest.raises(NotReadyError, match="no mariadb or mysql client"):
        document().database_paths()


# --- lock ---


@pytest.mark.parametrize(
    ("version", "method", "has_stages"),
    [
        pytest.param("10.11.6-MariaDB", "auto", True, id="MariaDB"),
        pytest.param("10.4.0-MariaDB", "auto", True, id="the first with stages"),
        pytest.param("10.3.39-MariaDB", "auto", False, id="an older MariaDB"),
        pytest.param("11.4.2-MariaDB", "auto", True, id="a newer MariaDB"),
        pytest.param("8.0.36", "auto", False, id="MySQL"),
        pytest.param("10.11.6-MariaDB", "flush", False, id="as told: flush"),
        pytest.param("8.0.36", "backup-stage", True, id="as told: stages"),
    ],
)
def test_the_lock_is_the_one_that_the_server_has(serve, version, method, has_stages):
    serve(version=version)
    asked = document(lockMethod=method)
    asked.database_paths()
    lock = asked.lock(120.7)
    assert ("BACKUP STAGE BLOCK_COMMIT;" in lock.take) is has_stages
    assert ("FLUSH TABLES WITH READ LOCK;" in lock.take) is not has_stages
    assert "SET SESSION lock_wait_timeout=7, wait_timeout=120;" in lock.take
    assert lock.seconds == 7


# --- client, option files, secrets ---


def test_options_and_secret_exclude_each_other(serve):
    serve()
    with pytest.raises(NotReadyError, match="exclude each other"):
        document(optionFile="/etc/my.cnf", secretId="db").find_client()


@pytest.mark.parametrize("has_own_file", [False, True], ids=["none of root's", "beside root's own"])
def test_a_secret_is_an_option_file_without_a_file(serve, bin_folder, tmp_path, monkeypatch, has_own_file):
    """Root's own options count still, but for the user: they are read before, and not again after."""
    monkeypatch.setenv("HOME", str(tmp_path))
    if has_own_file:
        (tmp_path / ".my.cnf").write_text("[client]\nsocket=/s\nuser=other\n")
    serve()
    program(bin_folder, "aws", 'print(\'{"username": "backup", "password": "p"}\')\n')
    client = document(secretId="db").find_client()
    assert client.arguments[1] == f"--defaults-extra-file={PIPE}"
    start = f"!include {tmp_path}/.my.cnf\n" if has_own_file else ""
    assert client.secret == f'{start}[client]\nuser="backup"\npassword="p"\n'
    assert client.environment["HOME"] == "/nonexistent"
    assert not any("backup" in word for word in [*client.arguments, *client.environment.values()])


def test_without_options_roots_own_files_count(serve, monkeypatch):
    serve()
    monkeypatch.delenv("HOME", raising=False)
    client = document().find_client()
    assert not any(word.startswith("--defaults") for word in client.arguments)
    assert (client.environment["HOME"], client.environment["MYSQL_HISTFILE"]) == ("/root", "/dev/null")


def test_aws_is_asked_for_the_secrets_text_alone(bin_folder, monkeypatch):
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.setenv("AWS_SSM_REGION_NAME", "eu-west-1")
    text = "import json, os, sys\nregion = os.environ['AWS_DEFAULT_REGION']\n"
    program(bin_folder, "aws", text + "print(json.dumps({'username': region, 'password': ' '.join(sys.argv[1:])}))\n")
    asked = "secretsmanager get-secret-value --secret-id db/x --query SecretString --output text"
    assert fetch_secret("db/x") == f'[client]\nuser="eu-west-1"\npassword="{asked}"\n'


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        pytest.param("print('hunter2')", "not JSON with username and password", id="not JSON"),
        pytest.param("print('[\"hunter2\"]')", "not JSON with username and password", id="a list"),
        pytest.param("print('\"hunter2\"')", "not JSON with username and password", id="a string"),
        pytest.param("print('None')", "not JSON with username and password", id="no text"),
        pytest.param('print(\'{"username": "u"}\')', "not JSON with username and password", id="no password"),
        pytest.param('print(\'{"password": "hunter2"}\')', "not JSON with username and password", id="no username"),
        pytest.param("import os\nos.write(1, b'hunter2\\xff')", "not JSON with username and password", id="no text"),
        pytest.param("import sys\nsys.exit('AccessDeniedException')", "cannot be read: AccessDenied", id="refused"),
        pytest.param(None, "cannot be read: .*No such file", id="no aws"),
    ],
)
def test_a_secret_that_is_none_is_refused_and_not_told(bin_folder, text, fault):
    if text:
        program(bin_folder, "aws", text + "\n")
    with pytest.raises(NotReadyError, match=fault) as raised:
        fetch_secret("db")
    assert "hunter2" not in str(raised.value)


def test_a_secret_is_waited_for_20_s_at_most(bin_folder, monkeypatch):
    program(bin_folder, "aws", "import time\ntime.sleep(600)\n")
    run, limits = subprocess.run, []

    def run_shorter(*arguments, timeout, **options):
        limits.append(timeout)
        return run(*arguments, timeout=0.2, **options)

    monkeypatch.setattr(subprocess, "run", run_shorter)
    with pytest.raises(NotReadyError, match=r"cannot be read: .* timed out"):
        fetch_secret("db")
    assert limits == [20]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("plain", "plain"),
        ('a"b', 'a\\"b'),
        ("a\\b", "a\\\\b"),
        ('\\"', '\\\\\\"'),
        ("a'b # c; d=e", "a'b # c; d=e"),
        ("\\n", "\\\\n"),
    ],
)
def test_a_password_is_written_as_option_files_have_it(value, expected):
    assert escaped(value) == expected


# --- what lies elsewhere ---


def test_links_and_link_files_lead_elsewhere(data, tmp_path):
    (data / "db").mkdir()
    (tmp_path / "far").mkdir()
    (data / "linked").symlink_to(tmp_path / "far")
    (data / "db" / "t.MYD").symlink_to(tmp_path / "far" / "t.MYD")
    (data / "db" / "t.ibd").touch()
    (data / "db" / "one.isl").write_text("/srv/one/db/one.ibd\n")
    (data / "db" / "two.isl").write_bytes(b"/srv/\xe9/db/two.ibd")
    (tmp_path / "far" / "three.isl").write_text("three.ibd")
    assert sorted(elsewhere(str(data))) == sorted(
        [
            f"{data}/linked",
            f"{data}/db/t.MYD",
            "/srv/one/db/one.ibd",
            os.fsdecode(b"/srv/\xe9/db/two.ibd"),
            "three.ibd",
        ]
    )


def test_a_data_directory_without_links_lies_in_one_place(data):
    (data / "db").mkdir()
    (data / "db" / "t.ibd").touch()
    assert elsewhere(str(data)) == []
