"""The other accounts and Regions that the function serves: JSON text from Parameter Store to typed values.

Each parameter under the path holds one target or a list of them; there may be any number of parameters, so that no list
outgrows one. A faulty target harms no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import SchemaValidator, ValidationError

from lambda_function.errors import ConfigurationError, quoted
from lambda_function.inputs.policy import Parameter
from lambda_function.inputs.validation import ACCOUNT, REGION, closed_object, read_json
from lambda_function.model.request import Target

DEFAULT_ROLE = "auto-snapshots-member"
"""The name that the member template gives its role."""

_ALLOWED = {
    "account": "an account id of 12 digits, as text",
    "role": "the name of a role in that account, with its path where it has one",
    "external_id": "2 to 1,224 letters, digits or + = , . @ : / - _, as the role's trust policy asks for",
    "regions": 'a list of Regions such as "eu-west-1", at least one',
}

_SCHEMA = SchemaValidator(
    closed_object(
        {
            "account": {"type": "str", "pattern": f"^{ACCOUNT}$"},
            # IAM's characters for a role's name and path, and STS's for an external id.
            "role": {"type": "str", "pattern": r"^/?[A-Za-z0-9+=,.@_-]+(?:/[A-Za-z0-9+=,.@_-]+)*$", "max_length": 512},
            "external_id": {"type": "str", "pattern": r"^[A-Za-z0-9+=,.@:/_-]{2,1224}$"},
            "regions": {"type": "list", "min_length": 1, "items_schema": {"type": "str", "pattern": f"^{REGION}$"}},
        },
        required=("account", "regions"),
    )
)


@dataclass(frozen=True)
class TargetSet:
    """Every target that was found, by name; `faults` say in words what is wrong with the others."""

    valid: Mapping[str, Target]
    faults: tuple[str, ...]

    def named(self, name: str) -> Target:
        """Raises ConfigurationError that says which there are."""
        if name in self.valid:
            return self.valid[name]
        known = ", ".join(sorted(self.valid)) or "none"
        faults = "".join(f"; {fault}" for fault in self.faults)
        raise ConfigurationError(f"target {name} does not exist (there is {known}){faults}"[:4000])


def parse_targets(parameters: Iterable[Parameter], path: str) -> TargetSet:
    """All parameters under `path` to targets, in the order of their names."""
    valid: dict[str, Target] = {}
    faults: list[str] = []
    for parameter in sorted(parameters, key=lambda each: each.name):
        found, wrong = _parse(parameter)
        faults += wrong
        for target in found:
            if valid.setdefault(target.name, target) != target:
                faults.append(f"{parameter.name}: {target.name} is listed with another role or external id already")
    if not valid and not faults:
        faults.append(f"no target under {path}: put one parameter per target there, or leave TARGETS_PATH out")
    return TargetSet(dict(sorted(valid.items())), tuple(faults))


def _parse(parameter: Parameter) -> tuple[list[Target], list[str]]:
    """The targets in this parameter, and the faults of those that are none."""
    if parameter.error is not None:
        return [], [f"{parameter.name}: {parameter.error}"]
    try:
        content = read_json(parameter.value)
    except (ValueError, RecursionError) as error:
        return [], [f"{parameter.name}: must be a target or a list of targets in JSON: {error}"]
    if not isinstance(content, list):
        return _parse_one(content, parameter, "")
    targets: list[Target] = []
    faults: list[str] = []
    for position, each in enumerate(content, start=1):
        found, wrong = _parse_one(each, parameter, f"target {position}: ")
        targets += found
        faults += wrong
    return targets, faults


def _parse_one(content: object, parameter: Parameter, place: str) -> tuple[list[Target], list[str]]:
    where = f"{parameter.name}: {place}"
    if not isinstance(content, dict):
        said = "(not shown)" if parameter.secure or isinstance(content, list) else quoted(content)
        return [], [f'{where}{said}: must be an object such as {{"account": "111122223333", "regions": ["eu-west-1"]}}']
    try:
        parsed: dict[str, Any] = _SCHEMA.validate_python(content, strict=True)
    except ValidationError as error:
        details = error.errors(include_url=False)
        return [], list(dict.fromkeys(where + _fault(detail, parameter) for detail in details))
    role = parsed.get("role", DEFAULT_ROLE).strip("/")
    regions = dict.fromkeys(parsed["regions"])
    return [Target(parsed["account"], region, role, parsed.get("external_id")) for region in regions], []


def _fault(detail: Any, parameter: Parameter) -> str:
    location = [str(part) for part in detail["loc"]] or [str(detail["input"])]
    name = location[0]
    if name not in _ALLOWED:
        return f"field {quoted(name)}: unknown field; known are {', '.join(_ALLOWED)}"
    if detail["type"] == "missing":
        return f'field "{name}": is missing; must be {_ALLOWED[name]}'
    # An external id is no secret to AWS, but neither is it for every reader of the log.
    hidden = parameter.secure or name == "external_id"
    said = "(not shown)" if hidden else quoted(detail["input"])
    return f'field "{".".join(location)}": {said}: must be {_ALLOWED[name]}'
