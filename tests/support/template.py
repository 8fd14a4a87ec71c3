"""The templates as data, their CloudFormation tags tolerated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

PATH = Path(__file__).parents[2] / "template.yaml"
MEMBER_PATH = PATH.with_name("template-member.yaml")


class _Loader(yaml.SafeLoader):
    pass


def _intrinsic(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Any:
    name = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        return {name: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    assert isinstance(node, yaml.MappingNode)
    return {name: loader.construct_mapping(node, deep=True)}


_Loader.add_multi_constructor("!", _intrinsic)


def load(path: Path = PATH) -> dict[str, Any]:
    """The whole template."""
    return yaml.load(path.read_text(encoding="utf-8"), _Loader)


def defaults() -> dict[str, Any]:
    """Parameter name to default value."""
    return {name: parameter["Default"] for name, parameter in load()["Parameters"].items() if "Default" in parameter}


def resources(kind: str) -> dict[str, Any]:
    """Logical id to resource, of one type."""
    return {name: each for name, each in load()["Resources"].items() if each["Type"] == kind}
