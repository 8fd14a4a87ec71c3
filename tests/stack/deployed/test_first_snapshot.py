"""The README's way from `git clone` to the first snapshot, by its own commands; then what a user does next with SAM.

One story: the tests run in the order in which they stand here, each on what the one before left.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.stack.deployed.stack import ROOT, STACK, Cloud, credentials, ministack
from tests.support.endpoint import Account, endpoint

# What Lambda runs, as users build it, and this machine's Python besides, since here it runs the function.
PYTHONS = " ".join(dict.fromkeys(["3.13", "3.14", "{}.{}".format(*sys.version_info[:2])]))


@dataclass
class Person:
    """Who types commands in `folder`, with the account on this machine behind them."""

    folder: Path
    cloud: Cloud
    account: Account

    def types(self, command: str, **variables: str) -> str:
        """What the command prints, errors included; fails with it where the command fails, or asks for an answer."""
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SAM_", "PACKAGE_"))},
            **credentials(),
            "AWS_ENDPOINT_URL": self.cloud.address,
            "AWS_ENDPOINT_URL_EC2": self.account.ec2.meta.endpoint_url,
            "SAM_CLI_TELEMETRY": "0",
            "PACKAGE_PYTHON": PYTHONS,
            "PATH": os.pathsep.join([str(ROOT / ".venv-sam/bin"), str(ROOT / ".venv/bin"), os.environ["PATH"]]),
            **variables,
        }
        ran = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, f"{command}\n{ran.stdout}"
        return ran.stdout

    def function(self):
        return self.cloud.client("lambda").get_function_configuration(FunctionName=STACK)


@pytest.fixture(scope="module")
def person(tmp_path_factory):
    folder = tmp_path_factory.mktemp("first-snapshot")
    with endpoint() as (ec2_and_ssm, _), ministack(ec2_and_ssm, folder / "ministack.log") as address:
        yield Person(folder, Cloud(address), Account())


def copy_of_the_repository(folder):
    """The files that a clone has, uncommitted changes included."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def commands_of_the_readme():
    """Each command, with what it is said to print."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    way = text.split("\n## Deploy\n")[1].split("\n`sam build` needs no Docker")[0]
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", way, re.DOTALL | re.MULTILINE)
    follows = [*blocks[1:], ("sh", "")]
    return [
        (block.replace("\\\n", ""), shown if kind != "sh" else "")
        for (language, block), (kind, shown) in zip(blocks, follows, strict=True)
        if language == "sh"
    ]


def without_what_differs(text):
    """Ids, moments and durations made equal, and spaces too: SAM's tables are as wide as the terminal."""
    text = re.sub(r"\b(vol|snap|i)-[0-9a-f]+", r"\1-0123456789abcdef0", text)
    text = re.sub(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d", "2026-11-24T09:41:05", text)
    text = re.sub(r'("duration_seconds": )[\d.]+', r"\g<1>0.3", text)
    return " ".join(text.split())


def test_the_commands_in_the_readme_print_what_it_shows(person):
    """There are at most five, and then the first snapshot exists."""
    origin = copy_of_the_repository(person.folder / "origin" / STACK)
    identity = "-c user.name=x -c user.email=x@example.com"
    person.types(f"cd {origin} && git init -q && git add -A && git {identity} commit -qm x")
    volume = person.account.volume({"Name": "orders"}, person.account.instance())
    commands = commands_of_the_readme()
    assert 3 <= len(commands) <= 5
    for command, shown in commands:
        here = re.sub(r"\bvol-[0-9a-f]+", volume, re.sub(r"https://\S+", str(origin), command))
        printed = person.types(here, COLUMNS="120").replace(f"{person.folder}/", "")
        rest = without_what_differs(printed)
        pieces = [shown] if shown.startswith("{") else shown.splitlines()  # the README breaks an answer's one line
        for piece in filter(None, (without_what_differs(each) for each in pieces if each != "...")):
            assert piece in rest, f"{command}\nshould print, where the README has it,\n{piece}\nbut printed\n{printed}"
            rest = rest.split(piece, 1)[1]
        if command.startswith("git clone"):
            person.folder /= STACK
    (snapshot,) = person.account.snapshots(volume)
    assert snapshot["Tags"].items() >= {"AUTO-SNAPSHOT-CONSISTENCY": "crash", "Name": "orders"}.items()
    assert (person.function()["Runtime"], person.function()["Architectures"]) == ("python3.14", ["arm64"])


def test_the_build_has_the_native_module_for_every_runtime(person):
    """It has one for every architecture of the template, too."""
    package = person.folder / ".aws-sam/build/AutoSnapshotsFunction"
    names = {path.name for path in (package / "pydantic_core").glob("*.so")}
    for python in ("313", "314"):
        for machine in ("aarch64", "x86_64"):
            assert f"_pydantic_core.cpython-{python}-{machine}-linux-gnu.so" in names


def test_deploying_the_same_build_again_changes_nothing(person):
    """It is no error either."""
    assert "No changes to deploy" in person.types("sam deploy")


def test_a_build_elsewhere_with_another_umask_is_the_same_upload(person, tmp_path):
    """SAM names an upload by its content, and zips files as the file system lists them: so on one machine."""
    elsewhere = Person(copy_of_the_repository(tmp_path / "elsewhere"), person.cloud, person.account)
    elsewhere.types("umask 077 && sam build", TZ="Asia/Kolkata")
    storage = person.cloud.client("s3")
    bucket = storage.list_buckets()["Buckets"][0]["Name"]
    elsewhere.types(f"sam package --s3-bucket {bucket} --s3-prefix {STACK} --output-template-file packaged.yaml")
    (key,) = re.findall(rf"s3://{bucket}/({STACK}/\w+)", (elsewhere.folder / "packaged.yaml").read_text("utf-8"))
    kept = storage.list_objects_v2(Bucket=bucket, Prefix=STACK)["Contents"]
    assert [each["Key"] for each in kept if not each["Key"].endswith(".template")] == [key]


def test_another_runtime_and_processor_take_the_same_package(person):
    before = person.function()["CodeSha256"]
    person.types("sam deploy --parameter-overrides Runtime=python3.13 Architecture=x86_64")
    function = person.function()
    assert (function["Runtime"], function["Architectures"]) == ("python3.13", ["x86_64"])
    assert function["CodeSha256"] == before
    assert person.cloud.invoke("dry-run.json")["message"].startswith("hour:")
