"""docs/hooks.md, held against the code: its example document, its tables and its numbers."""

from __future__ import annotations

import re
import subprocess
import uuid
from pathlib import Path

import pytest
import yaml

from lambda_function.hooks.command import CONTRACT, OFFERED, FreezePlan, Stage, check_parameters, parameters_for
from lambda_function.hooks.freeze import AUTO_THAWED, CREATE_SECONDS, NOT_FROZEN
from lambda_function.hooks.stages import CANCEL_SECONDS
from lambda_function.inputs.policy import Parameter, Policy, parse_policy
from lambda_function.model.ec2 import Consistency
from lambda_function.parallel import MAX_FREEZES
from lambda_function.ports import HookDocument
from tests.documents.agent import RefusedError, checked, substituted
from tests.stack.role import DEFAULT, granted

PAGE = (Path(__file__).parents[2] / "docs/hooks.md").read_text(encoding="utf-8")
EXAMPLE = re.findall(r"<!-- example: document -->\n```yaml\n(.*?)```", PAGE, re.DOTALL)
LAMBDA_SECONDS = 900


@pytest.fixture
def document():
    (text,) = EXAMPLE
    return yaml.safe_load(text)


@pytest.fixture
def plan(document):
    declared = HookDocument("DOC", "1", frozenset(document["parameters"]))
    return FreezePlan(declared, ("i-1",), ("vol-00000001",), "P", "hour", 60)


def rows(title):
    """First cells of the table that begins with this title, as plain words."""
    table = PAGE.split(f"| {title} |", 1)[1].split("\n\n", 1)[0]
    return [line.split(" | ")[0].strip("| ") for line in table.splitlines()[2:]]


def test_the_example_is_ten_lines_of_a_command_document():
    (text,) = EXAMPLE
    assert len(text.splitlines()) == 10
    document = yaml.safe_load(text)
    assert document["schemaVersion"] == "2.2"
    assert {step["action"] for step in document["mainSteps"]} == {"aws:runShellScript"}


def test_the_example_declares_what_the_run_requires(document, plan):
    assert set(document["parameters"]) == set(CONTRACT)
    check_parameters(plan)


@pytest.mark.parametrize("stage", Stage)
def test_the_service_would_accept_each_stage_for_the_example(document, plan, stage):
    sent = parameters_for(plan, stage, plan.instance_ids[0], str(uuid.uuid4()), ("snap-00000001",), not_after=1)
    values = checked(document, {name: value for name, (value,) in sent.items()})
    assert values["command"] == stage


@pytest.mark.parametrize(
    "parameters",
    [{"command": "reboot"}, {"executionId": "None; reboot"}, {"executionId": "x"}, {"volumeIds": "vol-00000001"}],
)
def test_the_service_would_refuse_anything_else(document, parameters):
    with pytest.raises(RefusedError):
        checked(document, parameters)


def test_without_parameters_the_example_does_nothing(document):
    assert checked(document, {}) == {"command": "dry-run", "executionId": "None"}


@pytest.mark.parametrize("stage", Stage)
def test_the_example_is_shell(document, stage):
    values = {"command": stage.value, "executionId": str(uuid.uuid4())}
    lines = [line for step in document["mainSteps"] for line in step["inputs"]["runCommand"]]
    script = substituted("\n".join(lines), values)
    assert "{{" not in script
    assert subprocess.run(["sh", "-n"], input=script, text=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("stage", "failing", "ends", "calls"),
    [
        pytest.param("pre-script", "", 0, ["arm", "fsfreeze -f"], id="armed before it is frozen"),
        pytest.param("pre-script", "arm", 201, ["arm"], id="not frozen when it cannot be armed"),
        pytest.param(
            "pre-script", "fsfreeze", 201, ["arm", "fsfreeze -f", "disarm"], id="disarmed when it cannot freeze"
        ),
        pytest.param("post-script", "", 0, ["armed?", "fsfreeze -u", "disarm"], id="disarmed after the thaw"),
        pytest.param("post-script", "armed?", 205, ["armed?"], id="another's freeze is left alone"),
        pytest.param("post-script", "fsfreeze", 203, ["armed?", "fsfreeze -u", "disarm"], id="somebody thawed before"),
        pytest.param("dry-run", "", 0, ["mountpoint -q"], id="ready"),
        pytest.param("dry-run", "mountpoint", 206, ["mountpoint -q"], id="not ready"),
    ],
)
def test_the_example_ends_as_the_contract_says(document, stage, failing, ends, calls):
    lines = [line for step in document["mainSteps"] for line in step["inputs"]["runCommand"]]
    script = substituted("\n".join(lines), {"command": stage, "executionId": str(uuid.uuid4())})
    # A function's name takes no hyphen; nothing of the machine is called.
    recording = f"""
        note() {{ echo "$*"; [ "$1" != "{failing}" ]; }}
        systemd_run() {{ note arm; }}
        systemctl() {{ case $1 in stop) note disarm ;; *) note "armed?" ;; esac; }}
        fsfreeze() {{ note fsfreeze "$1"; }}
        mountpoint() {{ note mountpoint "$1"; }}
    """
    whole = recording + script.replace("systemd-run", "systemd_run")
    done = subprocess.run(["sh"], input=whole, text=True, capture_output=True, check=False)
    assert done.stderr == ""
    assert done.returncode == ends
    assert done.stdout.splitlines() == calls


def test_every_parameter_that_is_sent_stands_in_the_contract():
    assert rows("parameter") == [f"`{name}`" for name in (*CONTRACT, *sorted(OFFERED, key=_order))] + ["any other"]


def _order(name):
    return PAGE.index(f"\n| `{name}` |")


def test_every_exit_code_known_to_a_run_is_in_the_contract():
    codes = rows("exit code")
    assert codes == ["0", "1", *(str(code) for code in range(201, 207))]
    assert {str(AUTO_THAWED), str(NOT_FROZEN)} <= set(codes)


def test_every_consistency_word_is_explained():
    assert rows("word") == [f"`{word}`" for word in Consistency]


def test_the_numbers_are_those_of_the_code():
    default = Policy(name="P", hour=1).hook_timeout_seconds
    reserve = CREATE_SECONDS + 2 * CANCEL_SECONDS
    words = " ".join(PAGE.split())
    assert f"`2 x hook_timeout_seconds + {CREATE_SECONDS:.0f} + {2 * CANCEL_SECONDS:.0f}` seconds" in words
    assert f"That is {2 * default + reserve:.0f} seconds with the default." in words
    assert f"a time-out above {(LAMBDA_SECONDS - reserve) // 2:.0f} can never begin" in words
    assert words.count(f"{MAX_FREEZES} instances") == 2


def test_the_policy_shown_is_valid():
    (value,) = re.findall(r"```json\n(.*?)\n```", PAGE, re.DOTALL)
    assert isinstance(parse_policy(Parameter("/p/P", value)), Policy)


def test_the_role_grants_what_the_page_says():
    for_hooks = {each for each in granted(DEFAULT) if each.startswith("ssm:") and "Parameter" not in each}
    assert for_hooks == set(re.findall(r"`(ssm:\w+)`", PAGE))
