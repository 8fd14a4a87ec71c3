"""The form of the schemas that events, policies and targets are checked against by pydantic-core.

pydantic-core is Pydantic's validation engine. Its schemas are plain dictionaries, and using them
without Pydantic's classes on top saves a good part of a cold start (docs/decisions).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic_core import CoreSchema


ACCOUNT = "[0-9]{12}"
REGION = "[a-z]{2}(?:-[a-z]+)+-[0-9]{1,2}"
"""Patterns of an account's id and a Region's name. Which Regions there are is for AWS to say: their number grows."""


def closed_object(fields: Mapping[str, Mapping[str, Any]], required: Collection[str] = ()) -> CoreSchema:
    """An object with these fields and no others, all optional but those `required`."""
    return {
        "type": "typed-dict",
        "extra_behavior": "forbid",
        "fields": {
            name: {"type": "typed-dict-field", "schema": schema, "required": name in required}
            for name, schema in fields.items()
        },
    }
