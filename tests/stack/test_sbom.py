"""The bill of materials is of what is locked, and the same from build to build."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SBOM = ROOT / "lambda_function" / "sbom.cdx.json"


@pytest.fixture(scope="module")
def sbom():
    return json.loads(SBOM.read_text())


def test_the_sbom_lists_exactly_the_locked_packages(sbom):
    """It lists them in their locked versions."""
    lock = (ROOT / "lambda_function" / "requirements.txt").read_text()
    locked = re.findall(r"(?m)^([a-z0-9-]+)==(\S+)", lock)
    assert len(locked) >= 10
    assert sorted(each["purl"] for each in sbom["components"]) == sorted(
        f"pkg:pypi/{name}@{version}" for name, version in locked
    )


def test_it_is_about_this_project(sbom):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    about = sbom["metadata"]["component"]
    assert (about["name"], about["version"]) == (project["name"], project["version"])
    assert (sbom["bomFormat"], sbom["specVersion"]) == ("CycloneDX", "1.6")


def test_each_package_has_its_licence_and_dependencies(sbom):
    assert [each["name"] for each in sbom["components"] if not each.get("licenses")] == []
    known = {each["bom-ref"] for each in sbom["components"]}
    needed = {each for line in sbom["dependencies"] for each in line.get("dependsOn", ())}
    assert needed
    assert needed <= known


def test_nothing_in_it_changes_from_one_writing_to_the_next(sbom):
    assert "serialNumber" not in sbom
    assert "timestamp" not in sbom["metadata"]
    assert "file:" not in SBOM.read_text()
