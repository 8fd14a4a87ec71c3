"""Policies: JSON text from Parameter Store to typed values, every fault named.

The schema is pydantic-core's; what this module adds is the wording: a fault says which parameter, which
field, which value, and what is allowed.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from pydantic_core import SchemaValidator, ValidationError

from lambda_function.errors import json_type, quoted
from lambda_function.inputs.validation import closed_object, read_json
from lambda_function.model.period import Period, RetentionRule

_ALLOWED = {
    **{period.value: "an integer, 0 or more, or leave it out" for period in Period},
    "only_attached_vols": "true or false",
    "hook_document": "the name or ARN of an SSM Command document, or null",
    "hook_parameters": "an object whose values are lists of strings",
    "hook_timeout_seconds": "an integer from 10 to 600",
    "hook_on_failure": '"skip" or "continue"',
}


@dataclass(frozen=True)
class Policy:
    """What to do with the volumes whose tag names this policy.

    A count N: create one snapshot each period and keep the newest N. 0: create none and delete what
    exists for the period. None: the period is not this policy's business.
    """

    hour: int | None = None
    day: int | None = None
    week: int | None = None
    month: int | None = None
    year: int | None = None
    only_attached_vols: bool = False
    hook_document: str | None = None
    hook_parameters: Mapping[str, list[str]] = field(default_factory=dict, repr=False)
    hook_timeout_seconds: int = 60
    hook_on_failure: Literal["skip", "continue"] = "skip"

    def rule(self, period: Period) -> RetentionRule | None:
        """The rule for this period; None where the policy does not manage it."""
        value: int | None = getattr(self, period.value)
        return None if value is None else RetentionRule(period, value)


FIELDS = tuple(each.name for each in fields(Policy))

FIELD_RULES: Mapping[str, Mapping[str, Any]] = {
    **{period.value: {"type": "nullable", "schema": {"type": "int", "ge": 0}} for period in Period},
    "only_attached_vols": {"type": "bool"},
    "hook_document": {
        "type": "nullable",
        "schema": {"type": "str", "pattern": r"^[A-Za-z0-9_.:/-]{3,200}$"},
    },
    "hook_parameters": {
        "type": "dict",
        "keys_schema": {"type": "str"},
        "values_schema": {"type": "list", "items_schema": {"type": "str"}},
    },
    "hook_timeout_seconds": {"type": "int", "ge": 10, "le": 600},
    "hook_on_failure": {"type": "literal", "expected": ["skip", "continue"]},
}
"""What each field may be, as pydantic-core's schemas; the JSON Schema for editors is made from them."""

_SCHEMA = SchemaValidator(closed_object(FIELD_RULES))

_UNSHOWN = "(value of a SecureString, not shown)"


@dataclass(frozen=True)
class Parameter:
    """A parameter as it was read. `error` says why it could not be; `secure` keeps its values out of messages."""

    name: str
    value: str = field(default="", repr=False)
    error: str | None = None
    secure: bool = False

    @property
    def policy_name(self) -> str:
        return self.name.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Fault:
    """One thing wrong with one policy. `location` is the whole path to it: keys, and positions in lists."""

    parameter: str
    field: str | None
    value: str | None
    allowed: str
    location: tuple[str, ...] = ()

    def __str__(self) -> str:
        where = f"{self.parameter}: " + (f'field "{self.field}": ' if self.field else "")
        return where + (f"{self.value}: " if self.value is not None else "") + self.allowed


@dataclass(frozen=True)
class PolicySet:
    """Every policy that was found: those that are valid, and the faults of those that are not."""

    valid: Mapping[str, Policy]
    faulty: Mapping[str, tuple[Fault, ...]]

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self.valid) | frozenset(self.faulty)

    def suggestion(self, name: str) -> str:
        """`; did you mean "X"?` when a known name is close, otherwise nothing."""
        close = _closest(name, self.names)
        return f'; did you mean "{close}"?' if close else ""


def parse_policies(parameters: Iterable[Parameter]) -> PolicySet:
    """All parameters to policies; a faulty one harms no other."""
    valid: dict[str, Policy] = {}
    faulty: dict[str, tuple[Fault, ...]] = {}
    for parameter in parameters:
        outcome = parse_policy(parameter)
        if isinstance(outcome, Policy):
            valid[parameter.policy_name] = outcome
        else:
            faulty[parameter.policy_name] = outcome
    return PolicySet(valid, faulty)


def parse_policy(parameter: Parameter) -> Policy | tuple[Fault, ...]:
    """The policy in this parameter, or all its faults (at least one)."""
    if parameter.error is not None:
        return (Fault(parameter.name, None, None, parameter.error),)
    try:
        content = read_json(parameter.value)
    except (ValueError, RecursionError) as error:
        return (Fault(parameter.name, None, None, f"must be one JSON object: {error}"),)
    return parse_content(content, parameter)


def parse_content(content: object, parameter: Parameter) -> Policy | tuple[Fault, ...]:
    """The policy in what the parameter's JSON says, or all its faults (at least one)."""
    if not isinstance(content, dict):
        text = _UNSHOWN if parameter.secure else quoted(content)
        return (Fault(parameter.name, None, text, "must be one JSON object"),)
    try:
        policy = Policy(**_SCHEMA.validate_python(content, strict=True))
    except ValidationError as error:
        return tuple(dict.fromkeys(_fault(detail, parameter) for detail in error.errors(include_url=False)))
    if all(policy.rule(period) is None for period in Period):
        wanted = "names no period: give at least one of " + ", ".join(Period)
        return (Fault(parameter.name, None, None, wanted),)
    return policy


def _fault(detail: Any, parameter: Parameter) -> Fault:
    # A key that no UTF-8 can write, such as half a surrogate pair, is told without its place.
    location = [str(part) for part in detail["loc"]] or [str(detail["input"])]
    name = location[0]
    if name not in _ALLOWED:
        return Fault(parameter.name, quoted(name).strip('"'), None, _unknown_field(name), (name,))
    path = tuple(part for part in location if part != "[key]")
    # The path into hook_parameters may be long; the parameter's name in it is what helps.
    field_name = quoted(".".join(path)).strip('"')
    value = detail["input"]
    text = f"({json_type(value)}, not shown)" if name == "hook_parameters" else quoted(value)
    return Fault(parameter.name, field_name, _UNSHOWN if parameter.secure else text, f"must be {_ALLOWED[name]}", path)


def _unknown_field(name: str) -> str:
    if name == "hook_module":
        return "was the cron script's Python module; name an SSM document in hook_document instead"
    close = _closest(name, FIELDS)
    known = f'did you mean "{close}"?' if close else "known are " + ", ".join(FIELDS)
    return f"unknown field; {known}"


def _closest(name: str, known: Iterable[str]) -> str | None:
    by_lower_case = {candidate.lower(): candidate for candidate in sorted(known)}
    matches = difflib.get_close_matches(name.strip().lower(), by_lower_case, n=1)
    return by_lower_case[matches[0]] if matches else None
