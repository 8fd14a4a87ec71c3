"""The documents as text: what the service, a shell and a reader make of them."""

import json
import subprocess

import pytest

from tests.documents.agent import Agent, RefusedError, checked, document_content, load_template, substituted
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


@pytest.fixture
def script(content, tmp_path):
    """The script as the agent writes it."""
    path = tmp_path / "_script.sh"
    (text,) = content["mainSteps"][0]["inputs"]["runCommand"]
    path.write_text(substituted(text, checked(content, {})))
    return path


def test_shellcheck_finds_nothing(script):
    done = sh("shellcheck", "--shell=sh", "--severity=style", str(script), check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("shell", [["dash", "-n"], ["bash", "--posix", "-n"]])
def test_every_plain_shell_can_read_it(script, shell):
    done = sh(*shell, str(script))
    assert done.stderr == ""


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
    assert len(json.dumps(content)) < 64 * 1024


def test_every_default_is_allowed_by_its_own_rule(content):
    assert checked(content, {})["command"] == "dry-run"


def test_every_parameter_is_constrained_and_single_quoted(content):
    (text,) = content["mainSteps"][0]["inputs"]["runCommand"]
    for name, rule in content["parameters"].items():
        assert rule["type"] == "String"
        assert "allowedValues" in rule or rule["allowedPattern"].startswith("^")
        assert rule.get("allowedPattern", "$").endswith("$")
        assert text.count(f"{{{{ {name} }}}}") == text.count(f"='{{{{ {name} }}}}'\n") == (name != "snapshotIds")


@pytest.mark.parametrize("value", INJECTIONS)
def test_no_parameter_lets_a_word_of_shell_through(content, value):
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
        for bad in ("'", "\n", ";id", "$(id)", "`id`", " ", "\\"):
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


def test_a_missing_tool_is_found_before_anything_is_frozen(agent, execution_id):
    script = 'mount --make-rprivate / && mount --bind /dev/null "$(readlink -f "$(command -v fsfreeze)")" && exec "$@"'
    inside = Agent(agent.orchestration, prefix=("unshare", "--mount", "sh", "-c", script, "_"))
    content = document_content("FilesystemDocument")
    assert inside.run(content, command="dry-run").exit_code == 206
    assert inside.run(content, command="pre-script", executionId=execution_id).exit_code == 201


def test_the_agent_waits_for_a_pipe_that_somebody_holds_open(tmp_path):
    content = {
        "parameters": {},
        "mainSteps": [{"action": "aws:runShellScript", "inputs": {"runCommand": ["sleep 30 &", "echo done"]}}],
    }
    running = Agent(tmp_path).start(content, {})
    with pytest.raises(subprocess.TimeoutExpired):
        running.wait(1)
    running.kill()
