"""An SSM agent in small: runs the `aws:runShellScript` steps of a Command document as the real one does.

The checks that the service makes before an agent sees anything (declared, allowedValues, allowedPattern) are made here,
since the documents rely on them: what passes them is put into a script that root runs.
"""

import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tools.documents import assemble

TEMPLATE = Path(__file__).parents[2] / "template.yaml"


class _TemplateLoader(yaml.SafeLoader):
    """Reads `!Sub` and its like as the plain value below them."""


def _plain(loader, _suffix, node):
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_mapping(node, deep=True)


_TemplateLoader.add_multi_constructor("!", _plain)


def load_template(path: Path = TEMPLATE) -> Any:
    return yaml.load(path.read_text(), Loader=_TemplateLoader)


def document_content(logical_id: str) -> dict[str, Any]:
    """The content of a document as `documents/` has it; tests/unit/tools/test_documents.py compares the template's."""
    name = logical_id.removesuffix("Document").lower()
    content: dict[str, Any] = yaml.safe_load(assemble(f"{name}.yaml"))
    return content


class RefusedError(ValueError):
    """The service would refuse this command before any agent saw it."""


@dataclass(frozen=True)
class Result:
    exit_code: int
    stdout: str
    stderr: str
    seconds: float

    def said(self, word: str) -> str | None:
        """What the line `auto-snapshots: <word> ...` says, for whoever parses the output."""
        for line in self.stdout.splitlines():
            if line == f"auto-snapshots: {word}":
                return ""
            if line.startswith(f"auto-snapshots: {word} "):
                return line.split(" ", 2)[2]
        return None


class Execution:
    """A running command: a process group of its own, with pipes that the agent reads to their end."""

    def __init__(self, arguments: list[str], env: dict[str, str]) -> None:
        self._began = time.monotonic()
        self.process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=env,
            start_new_session=True,
        )

    def wait(self, seconds: float = 60) -> Result:
        """Waits for the pipes' end, as the agent does, even if a process left behind holds them open."""
        out, err = self.process.communicate(timeout=seconds)
        return Result(self.process.returncode, out, err, time.monotonic() - self._began)

    def kill(self) -> None:
        """What is left of a command when the agent's process group is killed: nothing."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate(timeout=60)


@dataclass(frozen=True)
class Agent:
    """Runs commands; scripts are written below `orchestration`, as the real agent does below /var/lib/amazon/ssm."""

    orchestration: Path
    platform: str = "Linux"
    shell: tuple[str, ...] = ("sh",)
    prefix: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)

    def start(self, content: dict[str, Any], parameters: dict[str, str]) -> Execution:
        values = checked(content, parameters)
        lines: list[str] = []
        for step in content["mainSteps"]:
            if step["action"] != "aws:runShellScript":
                raise RefusedError(f"no plugin for {step['action']}")
            if self._applies(step):
                lines += [substituted(line, values) for line in step["inputs"]["runCommand"]]
        self.orchestration.mkdir(parents=True, exist_ok=True)
        script = self.orchestration / f"_script-{time.monotonic_ns()}.sh"
        script.write_text("\n".join(lines) + "\n")
        script.chmod(0o700)
        env = {"PATH": os.environ["PATH"], "HOME": "/root", **self.env}
        return Execution([*self.prefix, *self.shell, str(script)], env)

    def run(self, content: dict[str, Any], seconds: float = 60, **parameters: str) -> Result:
        return self.start(content, parameters).wait(seconds)

    def _applies(self, step: dict[str, Any]) -> bool:
        name, value = step.get("precondition", {}).get("StringEquals", ("platformType", self.platform))
        return name != "platformType" or value == self.platform


def checked(content: dict[str, Any], parameters: dict[str, str]) -> dict[str, str]:
    """Every declared parameter's value, or the refusal that SendCommand answers with."""
    declared = content["parameters"]
    if unknown := parameters.keys() - declared.keys():
        raise RefusedError(f"not declared: {sorted(unknown)}")
    values = {}
    for name, rule in declared.items():
        if name not in parameters and "default" not in rule:
            raise RefusedError(f"{name} is missing")
        value = parameters.get(name, rule.get("default"))
        if "allowedValues" in rule and value not in rule["allowedValues"]:
            raise RefusedError(f"{name}={value!r} is none of {rule['allowedValues']}")
        if "allowedPattern" in rule and not re.fullmatch(rule["allowedPattern"], value):
            raise RefusedError(f"{name}={value!r} does not match {rule['allowedPattern']}")
        values[name] = value
    return values


def substituted(text: str, values: dict[str, str]) -> str:
    """The text with each `{{ name }}` replaced as it stands: no quoting, as the agent does it."""
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda found: values[found.group(1)], text)
