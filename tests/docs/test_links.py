"""The documentation is complete, and its links lead somewhere."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from lambda_function.cli.arguments import build_parser
from lambda_function.inputs.policy import FIELDS
from lambda_function.output.metrics import METRICS

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
README = (ROOT / "README.md").read_text(encoding="utf-8")
ALL = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)


def prose(page):
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def links(page):
    found = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    return [link for link in found if not re.match(r"[a-z]+:", link)]


def anchors(page):
    titles = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def template_parameters():
    text = (ROOT / "template.yaml").read_text(encoding="utf-8")
    block = text.split("\nParameters:\n")[1].split("\nConditions:")[0]
    return re.findall(r"^  (\w+):$", block, re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file_and_a_heading(page):
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name} links to {link}"
        assert not anchor or anchor in anchors(target), f"{page.name} links to {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_fence_is_closed(page):
    assert page.read_text(encoding="utf-8").count("```") % 2 == 0


def test_the_readme_leads_to_every_page():
    reachable = {(ROOT / link.partition("#")[0]).resolve() for link in links(ROOT / "README.md")}
    assert {page for page in PAGES if page.name != "README.md"} <= reachable


def test_the_architecture_shows_the_contract_of_imports():
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    contract = (ROOT / "pyproject.toml").read_text(encoding="utf-8").split("\nlayers = [")[1].split("]")[0]
    shown = text.split("```text\n")[1].split("```")[0].replace(".py", "").splitlines()
    assert shown == re.findall(r'"(.+)"', contract)


def test_every_package_and_module_stands_in_the_architecture():
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    sources = ROOT / "lambda_function"
    names = {f"{each.name}/" for each in sources.iterdir() if (each / "__init__.py").exists()}
    names |= {each.name for each in sources.glob("*.py")} - {"__init__.py"}
    assert {name for name in names if f"`{name}`" not in text} == set()


def all_options(parser):
    found = set()
    for action in parser._actions:
        found |= {option for option in action.option_strings if option.startswith("--")}
        if isinstance(action, argparse._SubParsersAction):
            found |= {option for each in action.choices.values() for option in all_options(each)}
    return found


def test_every_option_of_the_shell_command_stands_in_the_readme():
    assert {option for option in all_options(build_parser()) if f"`{option}" not in README} == set()


def test_every_metric_is_documented():
    assert {name for name in METRICS if f"`{name}`" not in ALL} == set()


def test_every_template_parameter_is_documented():
    assert len(template_parameters()) >= 10
    assert {name for name in template_parameters() if f"`{name}`" not in ALL} == set()


def test_every_policy_field_stands_in_the_policy_reference():
    text = (ROOT / "docs/policies.md").read_text(encoding="utf-8")
    assert {name for name in FIELDS if f"`{name}`" not in text} == set()


def test_every_event_file_stands_in_the_event_reference():
    text = (ROOT / "docs/events.md").read_text(encoding="utf-8")
    assert {path.name for path in (ROOT / "events").glob("*.json") if f"`{path.name}`" not in text} == set()
