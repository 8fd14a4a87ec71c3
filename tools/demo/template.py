"""What the demonstration takes from template.yaml: rules, policies, environment, with the parameters' defaults."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.support import template

# The template's defaults have two forms: each hour, or some hours of each day, at a minute. Others are refused.
_CRON = re.compile(r"cron\((?P<minute>\d{1,2}) (?P<hours>\d{1,2}(,\d{1,2})*|\*) \* \* \? \*\)")

STACK = "demo"
DOCUMENT = "FilesystemDocument"


@dataclass(frozen=True)
class Rule:
    """One EventBridge rule: when it fires each day (UTC), and what it sends."""

    name: str
    minute: int
    hours: frozenset[int]
    event: dict[str, Any]

    @property
    def period(self) -> str:
        return str(self.event["period"])

    def fires(self, moment: datetime) -> bool:
        return moment.minute == self.minute and moment.hour in self.hours


@dataclass(frozen=True)
class Template:
    """`policies` maps a parameter's whole name to its value; `document` is the name of the filesystem document."""

    rules: tuple[Rule, ...]
    policies: dict[str, str]
    environment: dict[str, str]
    document: str


def read_template() -> Template:
    """The template as deployed with all defaults."""
    defaults = {name: str(value) for name, value in template.defaults().items()} | {"AWS::StackName": STACK}
    resources = template.load()["Resources"]
    function = next(
        resource["Properties"] for resource in resources.values() if resource["Type"] == "AWS::Serverless::Function"
    )
    parameters = [
        resource["Properties"] for resource in resources.values() if resource["Type"] == "AWS::SSM::Parameter"
    ]
    return Template(
        rules=tuple(_rule(name, event["Properties"], defaults) for name, event in function["Events"].items()),
        policies={
            _resolved(parameter["Name"], defaults): _resolved(parameter["Value"], defaults) for parameter in parameters
        },
        environment={name: _resolved(value, defaults) for name, value in function["Environment"]["Variables"].items()},
        document=_resolved(resources[DOCUMENT]["Properties"]["Name"], defaults),
    )


def _rule(name: str, properties: dict[str, Any], defaults: dict[str, str]) -> Rule:
    _, given, _ = properties["Schedule"]["Fn::If"]  # with the defaults every rule is on
    schedule = _resolved(given, defaults)
    match = _CRON.fullmatch(schedule)
    if match is None:
        raise ValueError(f"rule {name}: the demonstration knows hourly and daily schedules only, not {schedule}")
    hours = range(24) if match["hours"] == "*" else map(int, match["hours"].split(","))
    return Rule(name, int(match["minute"]), frozenset(hours), json.loads(_resolved(properties["Input"], defaults)))


def _resolved(value: Any, defaults: dict[str, str]) -> str:
    if isinstance(value, dict) and "Ref" in value:
        return defaults[value["Ref"]]
    if isinstance(value, dict) and "Fn::Sub" in value:
        return re.sub(r"\$\{([\w:]+)\}", lambda found: defaults[found[1]], value["Fn::Sub"])
    assert isinstance(value, str), value
    return value
