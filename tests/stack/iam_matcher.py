"""Whether statements allow a request: the few operators that the role's conditions use, and no more.

moto looks at actions only, and no simulator on PyPI is kept up; see docs/decisions/0006-development-dependencies.md.
Meanings are those of "IAM JSON policy elements: Condition operators" in the IAM User Guide: an absent key satisfies
only negated operators, `Null` and `ForAllValues`; names of keys, tags' keys in them included, match in any case.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from tests.stack.role import Statement

Context = Mapping[str, str | tuple[str, ...]]
"""Condition keys of a request with their values."""


def allows(statements: Iterable[Statement], action: str, resource: str, context: Context) -> bool:
    """Whether one of these statements, all of which allow, matches the action on this resource."""
    folded = {key.lower(): (value,) if isinstance(value, str) else value for key, value in context.items()}
    return any(
        action in statement.actions
        and any(_like(pattern, resource) for pattern in statement.resources)
        and all(_holds(operator, folded.get(key.lower()), values) for operator, key, values in statement.conditions)
        for statement in statements
    )


def _like(pattern: str, value: str) -> bool:
    translated = "".join({"*": ".*", "?": "."}.get(each, re.escape(each)) for each in pattern)
    return re.fullmatch(translated, value) is not None


_Test = Callable[[tuple[str, ...] | None, tuple[str, ...]], bool]

_OPERATORS: dict[str, _Test] = {
    "StringEquals": lambda given, wanted: given is not None and given[0] in wanted,
    "StringNotEquals": lambda given, wanted: given is None or given[0] not in wanted,
    "StringLike": lambda given, wanted: given is not None and any(_like(each, given[0]) for each in wanted),
    "Bool": lambda given, wanted: given is not None and given[0] in wanted,
    "ForAllValues:StringEquals": lambda given, wanted: set(given or ()) <= set(wanted),
    "Null": lambda given, wanted: (given is None) == (wanted == ("true",)),
}


def _holds(operator: str, given: tuple[str, ...] | None, wanted: tuple[str, ...]) -> bool:
    if operator not in _OPERATORS:
        raise NotImplementedError(f"the condition operator {operator} is not known here")
    return _OPERATORS[operator](given, wanted)
