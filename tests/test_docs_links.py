"""The documentation is complete, and its links lead somewhere."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from lambda_function.observability import METRICS
from lambda_function.policy import FIELDS
from lambda_function.shell.arguments import build_parser

ROOT = Path(__file__).parent.parent
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


def test_every_module_stands_in_the_architecture():
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    modules = {path.name for path in (ROOT / "lambda_function").rglob("*.py")} - {"__init__.py"}
    assert {module for module in modules if f"`{module}`" not in text} == set()


def test_the_architecture_names_the_layers_in_the_order_of_the_contract():
    listed = re.findall(
        r"^\| \w[\w-]* \| `(\w+)(?:\.py|/)` \|", (ROOT / "docs/architecture.md").read_text("utf-8"), re.MULTILINE
    )
    contract = (ROOT / "pyproject.toml").read_text(encoding="utf-8").split("\nlayers = [")[1].split("]")[0]
    ranks = {
        name: rank for rank, layer in enumerate(re.findall(r'"(.+)"', contract)) for name in re.findall(r"\w+", layer)
    }
    assert sorted(listed) == sorted(ranks)
    assert [ranks[name] for name in listed] == sorted(ranks[name] for name in listed)


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
