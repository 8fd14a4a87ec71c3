"""JSON Schemas of policy files for editors, made from the rules that policies are checked by.

`make schema` writes them into `docs/`; a test fails where they are not those of the code.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lambda_function.cli.policies.files import NAME, SCHEMA_KEY
from lambda_function.inputs.policy import FIELD_RULES, Policy
from lambda_function.model.period import Period

DOCS = Path(__file__).parents[3] / "docs"

_DIALECT = "http://json-schema.org/draft-07/schema#"
"""The one that editors know best."""

_MEANINGS = {
    **{
        period.value: f"N: one snapshot each {period}, keep the newest N. 0: create none and delete those kept for the "
        f"{period}. Absent or null: create none, delete none."
        for period in Period
    },
    "only_attached_vols": "Pass over volumes that are attached to no instance.",
    "hook_document": "Name or ARN of the SSM Command document to run on the instance before and after the snapshot.",
    "hook_parameters": "Further parameters for that document, each a list of strings.",
    "hook_timeout_seconds": "Seconds that each stage may take.",
    "hook_on_failure": "When the hook fails: no snapshot (skip), or a crash-consistent one (continue).",
}

_FORMS: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "bool": lambda _: {"type": "boolean"},
    "int": lambda rule: {"type": "integer", **_limits(rule)},
    "str": lambda rule: {"type": "string", **({"pattern": rule["pattern"]} if "pattern" in rule else {})},
    "literal": lambda rule: {"enum": list(rule["expected"])},
    "list": lambda rule: {"type": "array", "items": _form(rule["items_schema"])},
    "dict": lambda rule: {"type": "object", "additionalProperties": _form(rule["values_schema"])},
    "nullable": lambda rule: {"anyOf": [_form(rule["schema"]), {"type": "null"}]},
}


def _form(rule: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON Schema of one of pydantic-core's; one of a kind not listed above is a KeyError."""
    return _FORMS[rule["type"]](rule)


def _limits(rule: Mapping[str, Any]) -> dict[str, int]:
    return {word: rule[key] for key, word in (("ge", "minimum"), ("le", "maximum")) if key in rule}


def _policy() -> dict[str, Any]:
    defaults = {name: getattr(Policy(), name) for name in FIELD_RULES}
    return {
        "type": "object",
        "properties": {
            name: {"description": _MEANINGS[name], "default": defaults[name], **_form(rule)}
            for name, rule in FIELD_RULES.items()
        },
        "additionalProperties": False,
        "anyOf": [{"required": [period.value], "properties": {period.value: {"type": "integer"}}} for period in Period],
    }


_NAMED_SCHEMA = {SCHEMA_KEY: {"description": "For editors; not stored.", "type": "string"}}


def schema_of_one() -> dict[str, Any]:
    """For a file that holds one policy."""
    policy = _policy()
    return {
        SCHEMA_KEY: _DIALECT,
        "title": "One policy of AWS Automatic Snapshots",
        **policy,
        "properties": {**_NAMED_SCHEMA, **policy["properties"]},
    }


def schema_of_all() -> dict[str, Any]:
    """For a file that holds all policies by name."""
    return {
        SCHEMA_KEY: _DIALECT,
        "title": "The policies of AWS Automatic Snapshots, by name",
        "type": "object",
        "properties": _NAMED_SCHEMA,
        "patternProperties": {f"^{NAME.pattern}$": {"$ref": "#/definitions/policy"}},
        "additionalProperties": False,
        "minProperties": 1,
        "definitions": {"policy": _policy()},
    }


def files() -> dict[Path, str]:
    """The published files and their text."""
    schemas = {"policy.schema.json": schema_of_one(), "policies.schema.json": schema_of_all()}
    return {DOCS / name: json.dumps(schema, indent=2) + "\n" for name, schema in schemas.items()}


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text, encoding="utf-8", newline="\n")
