"""The roles' statements as a deployment would have them: the template's intrinsic functions evaluated.

Only what the role uses is known here; anything else is an error, so that no statement is passed over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.template import MEMBER_PATH, PATH, load

ACCOUNT = "123456789012"
REGION = "eu-west-1"
STACK = "aws-automatic-snapshots"
ROLES = {PATH: "FunctionRole", MEMBER_PATH: "MemberRole"}

PSEUDO = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::StackName": STACK,
    "AWS::URLSuffix": "amazonaws.com",
}

KEY_ARN = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/00000000-0000-4000-8000-0123456789ab"
VOLUME_KEYS = tuple(KEY_ARN.replace("0123456789ab", end) for end in ("0123456789ac", "0123456789ad"))
OTHER_ACCOUNT = "210987654321"
SHARED = f"arn:aws:ssm:{REGION}:{OTHER_ACCOUNT}:document/shared-freeze"
EVERYTHING_ON = {
    "PoliciesKmsKeyArn": KEY_ARN,
    "VolumeKmsKeyArns": ",".join(VOLUME_KEYS),
    "HookDocuments": "our-hooks-*",
    "Tracing": "Active",
    "TargetsPath": "/auto-snapshots/targets/",
    "HookDocumentArns": f"{SHARED},arn:aws:ssm:{REGION}::document/AWS-Freeze",
}
"""Template parameters with which the role has every statement that it can have."""

MEMBER_EVERYTHING_ON = {
    "FunctionRoleArn": f"arn:aws:iam::{ACCOUNT}:role/{STACK}-FunctionRole-1ABCDEFGHIJKL",
    "ExternalId": "an-external-id",
    "Regions": REGION,
    "VolumeKmsKeyArns": ",".join(VOLUME_KEYS),
    "HookDocuments": "our-hooks-*",
    "HookDocumentArns": SHARED,
}
"""The same for the member template's role, in one Region."""

_NOTHING = object()
"""What `AWS::NoValue` leaves; lists and maps drop it."""

# What Ref and Fn::GetAtt give for a resource, by its type, from its own resolved properties.
_RETURNED = {
    ("AWS::Logs::LogGroup", "Arn"): f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{{LogGroupName}}:*",
    ("AWS::SNS::Topic", "Ref"): f"arn:aws:sns:{REGION}:{ACCOUNT}:{STACK}-{{id}}",
    ("AWS::IAM::ManagedPolicy", "Ref"): "{id}",
}


@dataclass(frozen=True)
class Statement:
    """One statement; a condition is its operator, its key and the values of which one must match."""

    sid: str
    effect: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: tuple[tuple[str, str, tuple[str, ...]], ...] = ()

    @property
    def keys(self) -> set[str]:
        return {key for _, key, _ in self.conditions}


def role_of(parameters: Mapping[str, str] | None = None, path: Path = PATH) -> dict[str, Any]:
    """The role's properties with these parameters, the others at their defaults."""
    template = load(path)
    role: dict[str, Any] = _Resolver(template, parameters or {})(template["Resources"][ROLES[path]]["Properties"])
    return role


def documents(parameters: Mapping[str, str] | None = None, path: Path = PATH) -> dict[str, dict[str, Any]]:
    """The role's policy documents with these parameters, the others at their defaults, each by its policy's name."""
    template = load(path)
    resolve = _Resolver(template, parameters or {})
    role = role_of(parameters, path)
    found = {policy["PolicyName"]: policy["PolicyDocument"] for policy in role.get("Policies", ())}
    for name in role.get("ManagedPolicyArns", ()):
        found[name] = resolve(template["Resources"][name]["Properties"]["PolicyDocument"])
    return {name: json.loads(each) if isinstance(each, str) else each for name, each in found.items()}


def statements(parameters: Mapping[str, str] | None = None, path: Path = PATH) -> list[Statement]:
    """Everything that the role of this template is granted."""
    return [_statement(raw) for document in documents(parameters, path).values() for raw in document["Statement"]]


def granted(of: Iterable[Statement]) -> set[str]:
    """The actions of these statements."""
    return {action for statement in of for action in statement.actions}


def _statement(raw: Mapping[str, Any]) -> Statement:
    unknown = raw.keys() - {"Sid", "Effect", "Action", "Resource", "Condition"}
    if unknown:
        raise ValueError(f"statement {raw.get('Sid')}: {unknown}: not known here")
    conditions = tuple(
        (operator, key, _listed(values))
        for operator, keys in raw.get("Condition", {}).items()
        for key, values in keys.items()
    )
    return Statement(raw["Sid"], raw["Effect"], _listed(raw["Action"]), _listed(raw["Resource"]), conditions)


def _listed(value: Any) -> tuple[str, ...]:
    return tuple(value) if isinstance(value, list) else (value,)


class _Resolver:
    """Evaluates intrinsic functions, given the parameters' values as a deployer would write them."""

    def __init__(self, template: Mapping[str, Any], parameters: Mapping[str, str]) -> None:
        self._resources = template["Resources"]
        self._conditions = template["Conditions"]
        declared = template["Parameters"]
        unknown = parameters.keys() - declared.keys()
        if unknown:
            raise ValueError(f"no such template parameters: {unknown}")
        self._values: dict[str, Any] = dict(PSEUDO)
        for name, parameter in declared.items():
            value = str(parameters.get(name, parameter.get("Default", "")))
            is_list = parameter["Type"] == "CommaDelimitedList"
            for each in value.split(",") if is_list else [value]:
                if "AllowedPattern" in parameter and not re.fullmatch(parameter["AllowedPattern"], each):
                    raise ValueError(f"parameter {name}: {each!r}: CloudFormation would refuse it")
            self._values[name] = value.split(",") if is_list else value

    def __call__(self, value: Any) -> Any:
        if isinstance(value, list):
            return [each for each in map(self, value) if each is not _NOTHING]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            (name, argument) = next(iter(value.items()))
            if name in ("Ref", "Condition") or name.startswith("Fn::"):
                function = getattr(self, "_" + name.removeprefix("Fn::").lower(), None)
                if function is None:
                    raise NotImplementedError(f"the intrinsic function {name} is not known here")
                return function(argument)
        return {key: each for key, raw in value.items() if (each := self(raw)) is not _NOTHING}

    def _ref(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return _NOTHING
        return self._values[name] if name in self._values else self._returned(name, "Ref")

    def _getatt(self, argument: Any) -> str:
        name, attribute = argument.split(".", 1) if isinstance(argument, str) else argument
        return self._returned(name, attribute)

    def _returned(self, name: str, attribute: str) -> str:
        resource = self._resources[name]
        text = _RETURNED[resource["Type"], attribute]
        return text.format(id=name, **self(resource.get("Properties", {})))

    def _sub(self, argument: Any) -> str:
        text, local = (argument, {}) if isinstance(argument, str) else argument

        def put(found: re.Match[str]) -> str:
            if found[1] in local:
                return str(self(local[found[1]]))
            return self._getatt(found[1]) if "." in found[1] else str(self._ref(found[1]))

        return re.sub(r"\$\{([\w:.]+)\}", put, text)

    def _select(self, argument: Any) -> Any:
        return self(argument[1])[int(self(argument[0]))]

    def _split(self, argument: Any) -> list[str]:
        return str(self(argument[1])).split(argument[0])

    def _join(self, argument: Any) -> str:
        return str(argument[0]).join(map(str, self(argument[1])))

    def _condition(self, name: str) -> bool:
        return bool(self(self._conditions[name]))

    def _if(self, argument: Any) -> Any:
        name, yes, no = argument
        return self(yes if self._condition(name) else no)

    def _equals(self, argument: Any) -> bool:
        one, other = self(argument)
        return bool(one == other)

    def _or(self, argument: Any) -> bool:
        return any(self(argument))

    def _not(self, argument: Any) -> bool:
        return not self(argument)[0]


DEFAULT = statements()
FULL = statements(EVERYTHING_ON)
MEMBER = statements(MEMBER_EVERYTHING_ON, MEMBER_PATH)
