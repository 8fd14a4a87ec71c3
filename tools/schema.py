"""Generates what docs/ says about the input models' fields from the models: `make schema`.

That is the JSON Schema of policy files, for editors, and the tables of fields on the pages.
"""

from __future__ import annotations

import json
import re
from itertools import groupby
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema

from lambda_function.cli.policies.files import SCHEMA_KEY
from lambda_function.inputs.event import INTERNAL, HookCheckEvent, RunEvent
from lambda_function.inputs.policy import NAME, PolicyFields
from lambda_function.inputs.targets import TargetFields
from lambda_function.inputs.validation import InputModel, allowed

DOCS = Path(__file__).parent.parent / "docs"
SCHEMA = DOCS / "policies.schema.json"
TABLES: dict[str, tuple[type[InputModel], ...]] = {
    "policies.md": (PolicyFields,),
    "events.md": (RunEvent, HookCheckEvent),
    "accounts-and-regions.md": (TargetFields,),
}

_DIALECT = "http://json-schema.org/draft-07/schema#"
"""The draft that editors support best."""

_TABLE = re.compile(r"(<!-- made by 'make schema': begin -->\n).*?(<!-- made by 'make schema': end -->\n)", re.DOTALL)


class _Untitled(GenerateJsonSchema):
    """Without titles, which would only repeat the fields' names."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 (overrides)
        return False


def json_schema() -> dict[str, Any]:
    """The schema of a file with one policy, or with all policies by name.

    They differ: in the first, only `hook_parameters` is an object.
    """
    policy = PolicyFields.model_json_schema(schema_generator=_Untitled)
    schema_key = {SCHEMA_KEY: {"description": "For editors; not stored.", "type": "string"}}
    policy["properties"] = schema_key | policy["properties"]
    no_schema_key = {"not": {"required": [SCHEMA_KEY]}}
    return {
        SCHEMA_KEY: _DIALECT,
        "title": "Policies of AWS Automatic Snapshots: one, or all by name",
        "type": "object",
        "if": {"properties": {"hook_parameters": True}, "additionalProperties": {"not": {"type": "object"}}},
        "then": {"$ref": "#/definitions/policy"},
        "else": {
            "properties": schema_key,
            "patternProperties": {f"^{NAME}$": {"allOf": [{"$ref": "#/definitions/policy"}, no_schema_key]}},
            "additionalProperties": False,
        },
        "definitions": {"policy": policy},
    }


def table(*models: type[InputModel]) -> str:
    """The fields that users may give, in Markdown. Neighbours with equal cells share a row."""
    fields = {name: field for model in models for name, field in model.model_fields.items() if name not in INTERNAL}
    rows = groupby(fields, key=lambda name: _cells(fields[name]))
    lines = [f"| {' '.join(f'`{name}`' for name in names)} | {' | '.join(cells)} |" for cells, names in rows]
    return "\n".join(("| field | allowed | default | meaning |", "|---|---|---|---|", *lines)) + "\n"


def _cells(field: FieldInfo) -> tuple[str, str, str]:
    default = "required" if field.is_required() else _shown(field.get_default(call_default_factory=True))
    return allowed(field), default, field.description or ""


def _shown(default: object) -> str:
    return "absent" if default in (None, ()) else f"`{json.dumps(default)}`"


def files() -> dict[Path, str]:
    """The files and their text."""
    written = {SCHEMA: json.dumps(json_schema(), indent=2) + "\n"}
    for name, models in TABLES.items():
        text, tables = _TABLE.subn(rf"\1{table(*models)}\2", (DOCS / name).read_text(encoding="utf-8"))
        if tables != 1:
            raise ValueError(f"docs/{name}: has {tables} marked tables of fields in place of one")
        written[DOCS / name] = text
    return written


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text, encoding="utf-8", newline="\n")
