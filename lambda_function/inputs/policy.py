"""Policies: JSON text from Parameter Store to typed values, every fault named."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from lambda_function.inputs.validation import Allowed, Fault, InputModel, check, closest, read_json, shown
from lambda_function.model.period import Period, RetentionRule

NAME = "[A-Za-z0-9_.-]+"
"""Pattern of a policy's name, which is the last part of the parameter's name."""


def _number_of(period: Period) -> dict[str, Any]:
    """The JSON Schema of what `_names_a_period` demands, for one period."""
    return {"required": [period.value], "properties": {period.value: {"type": "integer"}}}


Count = Annotated[
    int | None,
    Field(
        ge=0,
        description="N: create one snapshot each period, keep the newest N slots that have one. 0: create none and "
        "delete those kept for the period. Absent or null: create none, delete none. At least one of the five must be "
        "a number.",
    ),
    Allowed("an integer, 0 or more, or leave it out"),
]


class PolicyFields(InputModel):
    """What a policy's JSON may say: what to do with the volumes whose tag names the policy."""

    model_config = ConfigDict(title="Policy", json_schema_extra={"anyOf": [_number_of(period) for period in Period]})

    hour: Count = None
    day: Count = None
    week: Count = None
    month: Count = None
    year: Count = None
    only_attached_vols: Annotated[bool, Field(description="Pass over detached volumes."), Allowed("true or false")] = (
        False
    )
    hook_document: Annotated[
        str | None,
        Field(
            pattern=r"^[A-Za-z0-9_.:/-]{3,200}$",
            description="The SSM Command document to run on the instance before and after the snapshot.",
        ),
        Allowed("the name or ARN of an SSM Command document, 3 to 200 letters, digits or _ . : / -, or null"),
    ] = None
    hook_parameters: Annotated[
        dict[str, list[str]],
        Field(description="Further parameters for that document."),
        Allowed("an object whose values are lists of strings"),
    ] = Field(default_factory=dict, repr=False)
    hook_timeout_seconds: Annotated[
        int,
        Field(ge=10, le=600, description="Seconds that each stage may take. In Lambda, above 422 it can never begin."),
        Allowed("an integer from 10 to 600"),
    ] = 60
    hook_on_failure: Annotated[
        Literal["skip", "continue"],
        Field(
            description="When the hook fails: no snapshot and a failed run (skip), or a crash-consistent snapshot and "
            "a warning (continue)."
        ),
        Allowed('"skip" or "continue"'),
    ] = "skip"

    @model_validator(mode="after")
    def _names_a_period(self) -> Self:
        if all(self.rule(period) is None for period in Period):
            raise ValueError("names no period: give at least one of " + ", ".join(Period))
        return self

    def rule(self, period: Period) -> RetentionRule | None:
        """The rule for this period; None where the policy does not manage it."""
        value: int | None = getattr(self, period.value)
        return None if value is None else RetentionRule(period, value, self.hook_document is not None)


OPTED_OUT = "NONE"
"""The selection tag's value that selects no policy on purpose."""

FIELDS = tuple(PolicyFields.model_fields)

_HINTS = {"hook_module": "was the cron script's Python module; name an SSM document in hook_document instead"}


class Policy(PolicyFields):
    """A policy and its name. Its fields are checked already, so Lambda builds no validator for it."""

    model_config = ConfigDict(defer_build=True)

    name: str


@dataclass(frozen=True)
class Parameter:
    """A parameter as read. `error` says why reading failed; `secure` keeps its values out of messages."""

    name: str
    value: str = field(default="", repr=False)
    error: str | None = None
    secure: bool = False

    @property
    def policy_name(self) -> str:
        return self.name.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class PolicySet:
    """Every policy found: the valid ones, and the faults of the others."""

    valid: Mapping[str, Policy]
    faulty: Mapping[str, tuple[Fault, ...]]
    _suggestions: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self.valid) | frozenset(self.faulty)

    def suggestion(self, name: str) -> str:
        """`; did you mean "X"?` when a known name is close, otherwise nothing; what NONE is, if that is the name.

        Worked out once for each name: with many policies the search is slow, and a whole fleet may have one wrong tag.
        """
        if name == OPTED_OUT:
            return f"; {OPTED_OUT} is what the tag of an opted-out volume says"
        if name not in self._suggestions:
            close = OPTED_OUT if name.strip().upper() == OPTED_OUT else closest(name, self.names)
            self._suggestions[name] = f'; did you mean "{close}"?' if close else ""
        return self._suggestions[name]


def parse_policies(parameters: Iterable[Parameter]) -> PolicySet:
    """All parameters to policies; a faulty one does not affect the others."""
    valid: dict[str, Policy] = {}
    faulty: dict[str, tuple[Fault, ...]] = {}
    for parameter in parameters:
        outcome = parse_policy(parameter)
        if isinstance(outcome, Policy):
            valid[outcome.name] = outcome
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
    return parse_content(content, parameter.policy_name, parameter.name, secure=parameter.secure)


def parse_content(content: object, name: str, source: str, *, secure: bool = False) -> Policy | tuple[Fault, ...]:
    """The policy of this name in what JSON says, or all its faults (at least one), which begin with `source`."""
    if name == OPTED_OUT:
        return (Fault(source, None, None, f"{OPTED_OUT} is reserved: it is what the tag of an opted-out volume says"),)
    if not isinstance(content, dict):
        return (Fault(source, None, shown(content, secure=secure), "must be one JSON object"),)
    outcome = check(PolicyFields, content, source, secure=secure, hints=_HINTS)
    return outcome if isinstance(outcome, tuple) else Policy.model_construct(name=name, **dict(outcome))
