"""How what people write is read and checked: strict JSON, and the form of the schemas that pydantic-core checks it by.

pydantic-core is Pydantic's validation engine. Its schemas are plain dictionaries, and using them
without Pydantic's classes on top saves a good part of a cold start (docs/decisions).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from lambda_function.errors import quoted

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


def read_json(text: str) -> object:
    """The value of this text; a byte-order mark before it is passed over.

    Raises ValueError (what it says is fit for a person) for text that is no JSON, a key that stands twice, `NaN` and
    the like, and RecursionError for what is nested too deeply.
    """
    return json.loads(
        text.removeprefix("\ufeff"), object_pairs_hook=_object_without_duplicates, parse_constant=_refuse_constant
    )


def _object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {quoted(twice)} stands twice")
    return content


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
