"""JSON as people write it into Parameter Store, read strictly: what JSON leaves open is refused, not guessed."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from lambda_function.errors import shown


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
        raise ValueError(f"the key {shown(twice)} stands twice")
    return content


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
