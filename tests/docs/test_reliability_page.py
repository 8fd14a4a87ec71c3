"""The tables of unfriendly services in the reliability page, held against the tests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "reliability.md").read_text(encoding="utf-8")
SECTION = PAGE.split("\n## An unfriendly EC2 and SSM\n")[1].split("\n## ")[0]
ROWS = [line for line in SECTION.splitlines() if line.startswith("| ") and not line.startswith("| what happens |")]


def names_in(pattern: str) -> set[str]:
    files = TESTS.rglob(pattern)
    return {name for each in files for name in re.findall(r"^def (test_\w+)\(", each.read_text("utf-8"), re.MULTILINE)}


def named(text: str) -> set[str]:
    return set(re.findall(r"`(test_\w+)`", text))


def test_there_are_rows_to_check():
    assert len(ROWS) > 40


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip())
def test_a_row_is_complete_and_names_tests_that_exist(row):
    """It says what happens and what is seen. Instead of tests it may say that it was not played."""
    happens, seen, shown = (cell.strip() for cell in row.strip().strip("|").split("|"))
    assert happens
    assert seen
    assert shown == "not played" or named(shown)
    assert named(shown) <= names_in("test_*.py")


def test_every_test_of_unfriendly_services_stands_in_a_row():
    assert names_in("test_unfriendly_*.py") - named("\n".join(ROWS)) == set()


def test_the_tests_of_the_documents_that_it_names_exist():
    section = PAGE.split("\n## The documents\n")[1].split("\n## ")[0]
    assert len(named(section)) > 10
    assert named(section) <= names_in("test_*.py")
