"""Reads and checks user input: strict JSON, the models' base class, and the wording of faults.

Pydantic models define once what each field may be, for faults, the JSON Schema and the tables in docs/
(docs/decisions/0016-pydantic-models.md).
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from lambda_function.errors import json_type, quoted

ACCOUNT = "[0-9]{12}"
REGION = "[a-z]{2}(?:-[a-z]+)+-[0-9]{1,2}"
"""Patterns of an account's id and a Region's name. The list of Regions grows, so AWS decides which exist."""


class InputModel(BaseModel):
    """An object with these fields and no others. A fault does not show the value of a field with `repr=False`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


@dataclass(frozen=True)
class Allowed:
    """What a field may be, in words that follow `must be`."""

    text: str


def _refuse_null(value: object) -> object:
    if value is None:
        raise ValueError
    return value


NotNull = BeforeValidator(_refuse_null)
"""For a field that may be absent, and is then None, but must not be null."""


def allowed(field: FieldInfo) -> str:
    """The text of this field's `Allowed`; every field has one."""
    return next(entry.text for entry in field.metadata if isinstance(entry, Allowed))


@dataclass(frozen=True)
class Fault:
    """One fault in `source`. `location` is the whole path to it: keys, and positions in lists."""

    source: str
    field: str | None
    value: str | None
    text: str
    location: tuple[str, ...] = ()

    def __str__(self) -> str:
        where = (f"{self.source}: " if self.source else "") + (f'field "{self.field}": ' if self.field else "")
        return where + (f"{self.value}: " if self.value is not None else "") + self.text


Model = TypeVar("Model", bound=BaseModel)


def check(
    model: type[Model],
    content: Mapping[str, Any],
    source: str,
    *,
    secure: bool = False,
    known: Collection[str] = (),
    hints: Mapping[str, str] | None = None,
) -> Model | tuple[Fault, ...]:
    """The model in this content, or all its faults (at least one).

    `secure` keeps values out of the faults. `known` are the names to suggest, by default the model's fields; `hints`
    say what to do about a name that is not a field of the model.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        names = known or model.model_fields
        details = error.errors(include_url=False)
        return tuple(dict.fromkeys(_fault(model, detail, source, secure, names, hints or {}) for detail in details))


def _fault(
    model: type[BaseModel], detail: Any, source: str, secure: bool, known: Collection[str], hints: Mapping[str, str]
) -> Fault:
    if not detail["loc"] and detail["type"] == "value_error":
        return Fault(source, None, None, str(detail["ctx"]["error"]))
    # A key that UTF-8 cannot write, such as half a surrogate pair, is reported without its location.
    location = tuple(str(part) for part in detail["loc"] if part != "[key]") or (str(detail["input"]),)
    # A path may be long; the source before it matters more.
    path = quoted(".".join(location)).strip('"')
    field = model.model_fields.get(location[0])
    if field is None:
        return Fault(source, path, None, hints.get(location[0]) or _unknown(location[0], known), location)
    must_be = f"must be {allowed(field)}"
    if detail["type"] == "missing":
        return Fault(source, path, None, f"is missing; {must_be}", location)
    return Fault(source, path, shown(detail["input"], secure=secure, hidden=not field.repr), must_be, location)


def _unknown(name: str, known: Collection[str]) -> str:
    close = closest(name, known)
    return "unknown field; " + (f'did you mean "{close}"?' if close else "known are " + ", ".join(known))


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name that this one is probably meant to be, if any."""
    by_lower_case = {candidate.lower(): candidate for candidate in sorted(known)}
    matches = difflib.get_close_matches(name.strip().lower(), by_lower_case, n=1)
    return by_lower_case[matches[0]] if matches else None


def shown(value: object, *, secure: bool, hidden: bool = False) -> str:
    """A value as a fault shows it: not at all if `secure`, only its type if `hidden`."""
    if secure:
        return "(value of a SecureString, not shown)"
    return f"({json_type(value)}, not shown)" if hidden else quoted(value)


def read_json(text: str) -> object:
    """The value of this text; a leading byte-order mark is skipped.

    Raises ValueError (with a user-facing text) for invalid JSON, a duplicate key, `NaN` and the like, and
    RecursionError for too deep nesting.
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
