"""The documents as text: what the service, a shell and a reader make of them."""

import json
import subprocess

import pytest

from tests.documents.agent import Agent, RefusedError, checked, document_content, load_template
from tests.documents.conftest import sh
from tools.documents import DOCUMENTS as FOLDER

DOCUMENTS = {"FilesystemDocument": "filesystem", "MySqlDocument": "mysql", "PostgreSqlDocument": "postgresql"}
HEAD = FOLDER / "head.sh"
INJECTIONS = [
    "$(touch /tmp/x)",
    "`id`",
    "'; id; '",
    "a'b",
    'a"b',
    "a;b",
    "a&b",
    "a|b",
    "a\nb",
    "valid\n",
    "a\\b",
    "${IFS}",
    "a b",
    "{{ command }}",
    "{{ssm:parameter}}",
    "<x",
    ">x",
    "*",
    "-o",
    "#",
    "!",
    "\x00",
    "\N{FULLWIDTH APOSTROPHE}",
]


@pytest.fixture(params=DOCUMENTS)
def logical_id(request):
    return request.param


@pytest.fixture
def content(logical_id):
    return document_content(logical_id)


def test_shellcheck_finds_nothing_in_the_head_of_python_scripts():
    done = sh("shellcheck", "--shell=sh", "--severity=style", str(HEAD), check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("shell", [["dash", "-n"], ["bash", "--posix", "-n"]])
def test_every_plain_shell_can_read_the_head(shell):
    assert sh(*shell, str(HEAD)).stderr == ""


def test_it_is_a_document_of_the_contract(logical_id, content):
    resource = load_template()["Resources"][logical_id]["Properties"]
    assert resource["Name"] == f"auto-snapshots-${{AWS::StackName}}-{DOCUMENTS[logical_id]}"
    assert resource["DocumentType"] == "Command"
    assert resource["UpdateMethod"] == "NewVersion"
    assert resource["Tags"] == [{"Key": "DLMScriptsAccess", "Value": "true"}]
    assert content["schemaVersion"] == "2.2"
    assert content["parameters"]["command"]["allowedValues"] == ["pre-script", "post-script", "dry-run"]
    assert content["parameters"]["command"]["default"] == "dry-run"
    assert content["parameters"]["executionId"]["default"] == "None"
    assert load_template()["Outputs"][f"{logical_id}Name"]["Value"] == logical_id


def test_it_fits_into_the_services_limit(content):
    assert len(json.dumps(content)) <= 64 * 1024


def test_every_default_is_allowed_by_its_own_rule(content):
    assert checked(content, {})["command"] == "dry-run"


def test_every_parameter_is_constrained_and_a_string(content):
    (text,) = content["mainSteps"][0]["inputs"]["runCommand"]
    for name, rule in content["parameters"].items():
        assert rule["type"] == "String"
        assert "allowedValues" in rule or rule["allowedPattern"].startswith("^")
        assert rule.get("allowedPattern", "$").endswith("$")
        place = f"{{{{ {name} }}}}"
        assert text.count(place) == text.count(f'\n "{name}": "{place}",\n') == (name != "snapshotIds")


@pytest.mark.parametrize("value", INJECTIONS)
def test_no_parameter_lets_a_word_of_code_through(content, value):
    for name in content["parameters"]:
        with pytest.raises(RefusedError):
            checked(content, {name: value})


def test_a_bad_value_is_refused_despite_a_good_beginning(content):
    good = {
        "executionId": "0f0f0f0f-0f0f-0f0f-0f0f-0f0f0f0f0f0f",
        "volumeIds": "vol-0123456789abcdef0",
        "snapshotIds": "snap-0123456789abcdef0",
        "volumeDevices": "vol-0123456789abcdef0=/dev/sdf",
        "notAfter": "1800000000",
        "timeoutSeconds": "60",
        "optionFile": "/etc/mysql/backup.cnf",
        "secretId": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:db/backup-AbCdEf",
        "lockWaitSeconds": "5",
        "osUser": "postgres",
        "port": "5432",
        "database": "postgres",
        "socketDirectory": "/var/run/postgresql",
    }
    for name in content["parameters"].keys() - {"command", "lockMethod"}:
        assert checked(content, {name: good[name]})[name] == good[name]
        for bad in ("'", '"', "\n", ";id", "$(id)", "`id`", " ", "\\"):
            with pytest.raises(RefusedError):
                checked(content, {name: good[name] + bad})
            with pytest.raises(RefusedError):
                checked(content, {name: bad + good[name]})


def test_a_command_unknown_to_the_script_ends_with_1(content, agent, tmp_path):
    del content["parameters"]["command"]["allowedValues"]  # which would keep it away
    assert agent.run(content, command="freeze").exit_code == 1


def test_what_is_not_declared_is_refused_by_the_service(content):
    with pytest.raises(RefusedError, match="not declared"):
        checked(content, {"password": "x"})
    with pytest.raises(RefusedError):
        checked(content, {"command": "rm"})


def test_nothing_runs_on_another_platform(content, tmp_path):
    done = Agent(tmp_path, platform="Windows").run(content, command="pre-script")
    assert (done.exit_code, done.stdout) == (0, "")


def test_nothing_to_freeze_and_nothing_frozen_have_their_codes(agent, execution_id):
    content = document_content("FilesystemDocument")
    gone = {"volumeIds": "vol-0123456789abcdef0", "executionId": execution_id}
    codes = {command: agent.run(content, command=command, **gone).exit_code for command in ("dry-run", "pre-script")}
    codes["post-script"] = agent.run(content, command="post-script", **gone).exit_code
    assert codes == {"dry-run": 206, "pre-script": 201, "post-script": 205}


FOLDERS = ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin", "/usr/libexec"]
CLIENTS = {
    "MySqlDocument": (["mariadb", "mysql"], "no mariadb or mysql client"),
    "PostgreSqlDocument": (["psql"], "psql is missing"),
}
HIDDEN = """mount --make-rprivate / || exit 1
for path in $0; do
  if [ -e "$path" ]; then mount --bind /dev/null "$(readlink -f "$path")" || exit 1; fi
done
exec "$@"
"""


def without(agent, *programs):
    """The agent in a mount namespace where nothing can be run by these names, wherever the script looks for them."""
    paths = " ".join(f"{folder}/{name}" for name in programs for folder in [*FOLDERS, "/usr/lib/postgresql/*/bin"])
    return Agent(agent.orchestration, prefix=("unshare", "--mount", "sh", "-c", HIDDEN, paths))


@pytest.mark.parametrize("command", ["dry-run", "pre-script", "post-script"])
def test_without_python_nothing_is_done(agent, content, execution_id, command):
    done = without(agent, "python3", "platform-python").run(content, command=command, executionId=execution_id)
    assert (done.exit_code, done.stdout) == (206, "")
    assert done.stderr.startswith("auto-snapshots: no Python 3.6 or newer")


@pytest.mark.parametrize("document", CLIENTS)
def test_a_missing_client_is_found_before_any_freeze(agent, execution_id, document):
    programs, fault = CLIENTS[document]
    content, inside = document_content(document), without(agent, *programs)
    dry = inside.run(content, command="dry-run")
    assert (dry.exit_code, dry.stderr) == (206, f"auto-snapshots: {fault}\n")
    pre = inside.run(content, command="pre-script", executionId=execution_id)
    assert (pre.exit_code, pre.stderr) == (201, f"auto-snapshots: {fault}\n")
    assert inside.run(content, command="post-script", executionId=execution_id).exit_code == 205


def test_the_agent_waits_for_a_pipe_that_somebody_holds_open(tmp_path):
    content = {
        "parameters": {},
        "mainSteps": [{"action": "aws:runShellScript", "inputs": {"runCommand": ["sleep 30 &", "echo done"]}}],
    }
    running = Agent(tmp_path).start(content, {})
    with pytest.raises(subprocess.TimeoutExpired):
        running.wait(1)
    running.kill()
