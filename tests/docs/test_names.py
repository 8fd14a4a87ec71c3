"""A test's name is short enough to be read at a glance; its docstring says the rest."""

from __future__ import annotations

import ast
from pathlib import Path

TESTS = Path(__file__).parents[1]
LONGEST = 60


def functions():
    for path in sorted(TESTS.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                yield path.relative_to(TESTS), node.name


def test_every_name_has_at_most_60_characters():
    found = list(functions())
    assert len(found) > 800
    assert [f"{path}: {name}" for path, name in found if len(name) > LONGEST] == []
