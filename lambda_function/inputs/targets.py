"""The other accounts and Regions that the function serves: JSON text from Parameter Store to typed values.

Each parameter under the path holds one target or a list of them. Any number of parameters is allowed, so that no list
outgrows one. A faulty target does not affect the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import ConfigDict, Field

from lambda_function.errors import ConfigurationError
from lambda_function.inputs.policy import Parameter
from lambda_function.inputs.validation import ACCOUNT, REGION, Allowed, InputModel, NotNull, check, read_json, shown
from lambda_function.model.request import Target

DEFAULT_ROLE = "auto-snapshots-member"
"""The name that the member template gives its role."""


class TargetFields(InputModel):
    """The fields of a target's JSON. Patterns are IAM's for a role's name and path, and STS's for an external id."""

    model_config = ConfigDict(defer_build=True)

    account: Annotated[
        str,
        Field(
            pattern=f"^{ACCOUNT}$",
            description="The account to serve; the function's own for another Region of it, with the member role there "
            "too.",
        ),
        Allowed("an account id of 12 digits, as text"),
    ]
    role: Annotated[
        str,
        Field(
            pattern=r"^/?[A-Za-z0-9+=,.@_-]+(?:/[A-Za-z0-9+=,.@_-]+)*$",
            max_length=512,
            description="The member role; `MemberRoles` of the function's stack must allow it.",
        ),
        Allowed("the name of a role in that account, with its path where it has one"),
    ] = DEFAULT_ROLE
    external_id: Annotated[
        str | None,
        # AWS does not treat it as a secret, but not every reader of the log should see it.
        Field(
            pattern=r"^[A-Za-z0-9+=,.@:/_-]{2,1224}$",
            repr=False,
            description="What the member role asks for; the member template always asks.",
        ),
        NotNull,
        Allowed("2 to 1,224 letters, digits or + = , . @ : / - _, as the role's trust policy asks for"),
    ] = None
    regions: Annotated[
        list[Annotated[str, Field(pattern=f"^{REGION}$")]],
        Field(min_length=1, description="The Regions to serve in that account."),
        Allowed('a list of Regions such as "eu-west-1", at least one'),
    ]


@dataclass(frozen=True)
class TargetSet:
    """Every valid target by name; `faults` say what is wrong with the others."""

    valid: Mapping[str, Target]
    faults: tuple[str, ...]

    def named(self, name: str) -> Target:
        """The target of this name. Raises ConfigurationError listing the known ones."""
        if name in self.valid:
            return self.valid[name]
        known = ", ".join(sorted(self.valid)) or "none"
        faults = "".join(f"; {fault}" for fault in self.faults)
        raise ConfigurationError(f"target {name} does not exist (there is {known}){faults}"[:4000])


def parse_targets(parameters: Iterable[Parameter], path: str) -> TargetSet:
    """All parameters under `path` to targets, in the order of their names."""
    valid: dict[str, Target] = {}
    faults: list[str] = []
    for parameter in sorted(parameters, key=lambda parameter: parameter.name):
        found, wrong = _parse(parameter)
        faults += wrong
        for target in found:
            if valid.setdefault(target.name, target) != target:
                faults.append(f"{parameter.name}: {target.name} is listed with another role or external id already")
    if not valid and not faults:
        faults.append(f"no target under {path}: put one parameter per target there, or leave TARGETS_PATH out")
    return TargetSet(dict(sorted(valid.items())), tuple(faults))


def _parse(parameter: Parameter) -> tuple[list[Target], list[str]]:
    """The targets in this parameter, and the faults of the invalid ones."""
    if parameter.error is not None:
        return [], [f"{parameter.name}: {parameter.error}"]
    try:
        content = read_json(parameter.value)
    except (ValueError, RecursionError) as error:
        return [], [f"{parameter.name}: must be a target or a list of targets in JSON: {error}"]
    if not isinstance(content, list):
        return _parse_one(content, parameter.name, parameter.secure)
    targets: list[Target] = []
    faults: list[str] = []
    for position, fields in enumerate(content, start=1):
        found, wrong = _parse_one(fields, f"{parameter.name}: target {position}", parameter.secure)
        targets += found
        faults += wrong
    return targets, faults


def _parse_one(content: object, source: str, secure: bool) -> tuple[list[Target], list[str]]:
    if not isinstance(content, dict):
        value = shown(content, secure=secure, hidden=isinstance(content, list))
        return [], [
            f'{source}: {value}: must be an object such as {{"account": "111122223333", "regions": ["eu-west-1"]}}'
        ]
    outcome = check(TargetFields, content, source, secure=secure)
    if isinstance(outcome, tuple):
        return [], [str(fault) for fault in outcome]
    role = outcome.role.strip("/")
    return [Target(outcome.account, region, role, outcome.external_id) for region in dict.fromkeys(outcome.regions)], []
