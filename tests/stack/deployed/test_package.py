"""The package: the same bytes each time, nothing in it that the function does not need, and it runs on its own."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stack.deployed.package import HERE, ROOT, build
from tests.support.endpoint import Account, endpoint
from tests.support.template import load

PACKAGES = {
    "annotated_types",
    "aws_lambda_powertools",
    "boto3",
    "botocore",
    "dateutil",
    "jmespath",
    "lambda_function",
    "pydantic",
    "pydantic_core",
    "s3transfer",
    "six.py",
    "typing_extensions.py",
    "typing_inspection",
    "urllib3",
}
SBOM = "sbom.cdx.json"
RUN = """
import sys
sys.path.insert(0, sys.argv[1])
from types import SimpleNamespace
from lambda_function.handler import lambda_handler
context = SimpleNamespace(aws_request_id="r", get_remaining_time_in_millis=lambda: 60000, invoked_function_arn="arn")
answer = lambda_handler({"period": "hour"}, context)
import json
outside = {
    name: module.__file__
    for name, module in sys.modules.items()
    if getattr(module, "__file__", None) and not module.__file__.startswith((sys.argv[1], sys.prefix, sys.base_prefix))
}
print(json.dumps({"answer": answer, "outside": outside}))
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return build(tmp_path_factory.mktemp("first") / "AutoSnapshotsFunction")


def digests(package):
    """Path to mode, time and content of each file."""
    return {
        str(path.relative_to(package)): (
            path.stat().st_mode,
            path.stat().st_mtime,
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
        )
        for path in sorted(package.rglob("*"))
    }


def test_two_builds_are_the_same_byte_for_byte(package, tmp_path):
    """Neither the directory nor the umask matters."""
    before = os.umask(0o077)
    try:
        again = build(tmp_path / "elsewhere", PYTHONHASHSEED="7", TZ="Asia/Kolkata")
    finally:
        os.umask(before)
    assert digests(again) == digests(package)


def test_only_what_the_function_needs_is_in_it(package):
    names = {path.name for path in package.iterdir()}
    assert {name for name in names if not name.endswith(".dist-info")} == {*PACKAGES, SBOM}
    assert {path.name for path in (package / "botocore/data").iterdir() if path.is_dir()} == {
        "ec2",
        "lambda",
        "ssm",
        "sts",
    }
    ours, sources = package / "lambda_function", ROOT / "lambda_function"
    assert {str(path.relative_to(ours)) for path in ours.rglob("*") if path.is_file()} == {
        str(path)
        for path in (each.relative_to(sources) for each in sources.rglob("*.py"))
        if path.parts[0] not in ("cli", "__main__.py")
    }
    assert not [path for path in package.rglob("*") if path.suffix in (".pyc", ".pyi") or path.name == "__pycache__"]


def test_the_package_lists_names_versions_and_licences(package):
    """It lists them for everything in it."""
    assert len(list(package.glob("*.dist-info/METADATA"))) == len(PACKAGES) - 1
    assert list(package.glob("*.dist-info/**/LICENSE*"))


def test_the_bill_of_materials_in_it_names_exactly_what_is_in_it(package):
    listed = {(each["name"], each["version"]) for each in json.loads((package / SBOM).read_text())["components"]}
    assert {tuple(path.name.removesuffix(".dist-info").split("-")) for path in package.glob("*.dist-info")} == {
        (name.replace("-", "_"), version) for name, version in listed
    }


def test_the_package_runs_on_every_runtime_and_architecture(package):
    """Every one that the template allows."""
    parameters = load()["Parameters"]
    expected = {
        f"_pydantic_core.cpython-{runtime.removeprefix('python').replace('.', '')}-{machine}-linux-gnu.so"
        for runtime in parameters["Runtime"]["AllowedValues"]
        for machine in ("aarch64" if each == "arm64" else each for each in parameters["Architecture"]["AllowedValues"])
    }
    assert {path.name for path in package.rglob("*.so")} == expected


def test_its_size_is_what_the_readme_says(package, tmp_path):
    zipped = Path(shutil.make_archive(str(tmp_path / "package"), "zip", package)).stat().st_size / 1e6
    unzipped = sum(path.stat().st_size for path in package.rglob("*") if path.is_file()) / 1e6
    said = re.search(r"(\d+) MB zipped, (\d+) MB unzipped", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert said is not None
    assert (round(zipped), round(unzipped)) == (int(said[1]), int(said[2]))


def test_with_nothing_but_itself_on_the_path_it_makes_a_snapshot(tmp_path):
    package = build(tmp_path / "here", **HERE)
    with endpoint():
        account = Account()
        account.policy("P", '{"hour": 1}')
        volume = account.volume({"AUTO-SNAPSHOT": "P"})
        ran = subprocess.run(
            [sys.executable, "-I", "-S", "-c", RUN, str(package)], capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, ran.stderr
        told = json.loads(ran.stdout.splitlines()[-1])
        assert told["answer"]["summary"]["created"] == 1
        assert told["outside"] == {}
        assert len(account.snapshots(volume)) == 1


def test_a_python_without_pip_is_named_with_the_remedy(tmp_path):
    fake = tmp_path / "python-without-pip"
    fake.write_text("#!/bin/sh\nexit 1\n")
    fake.chmod(0o755)
    command = [
        "make",
        "-C",
        str(ROOT),
        "build-AutoSnapshotsFunction",
        f"ARTIFACTS_DIR={tmp_path / 'x'}",
        f"PYTHON={fake}",
    ]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode != 0
    assert f"{fake} has no pip, which fetches the packages" in made.stderr
