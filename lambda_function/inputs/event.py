"""The invocation's input: from whatever arrived to a `RunRequest`, or one error that says what to change."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from dateutil.parser import isoparse
from pydantic_core import SchemaValidator, ValidationError

from lambda_function.errors import ConfigurationError, quoted
from lambda_function.inputs.validation import ACCOUNT, REGION, closed_object
from lambda_function.model.period import Period, in_slot
from lambda_function.model.request import HookCheckRequest, RunRequest

PERIODS_ALLOWED = ", ".join(f'"{period}"' for period in Period)

_ALLOWED = {
    "period": f"one of {PERIODS_ALLOWED}",
    "dry_run": "true or false",
    "force": "true or false",
    "policies": "a list of policy names, at least one, or leave it out",
    "volumes": 'a list of volume ids such as "vol-0123456789abcdef0", at least one, or leave it out',
    "continuation": "a whole number, set by the function itself when it runs out of time",
    "check_hooks": "true, and then only policies, volumes and target beside it",
    "target": 'an account and its Region such as "111122223333/eu-west-1", one of the targets under TARGETS_PATH',
    "target_faults": "a list of texts, set by the function itself when it starts the runs of all targets",
    "time": 'an ISO 8601 time such as "2026-01-31T00:15:00Z" (UTC where no offset is given)',
}


_POLICIES = {
    "type": "list",
    "min_length": 1,
    "items_schema": {"type": "str", "pattern": r"^[A-Za-z0-9_.-]+$"},
}
_VOLUMES = {
    "type": "list",
    "min_length": 1,
    "items_schema": {"type": "str", "pattern": r"^vol-[0-9a-f]{8,17}$"},
}
_TARGET = {"type": "str", "pattern": f"^{ACCOUNT}/{REGION}$"}

_SCHEMA = SchemaValidator(
    closed_object(
        {
            "period": {"type": "str", "pattern": f"^({'|'.join(Period)})$"},
            "dry_run": {"type": "bool"},
            "force": {"type": "bool"},
            "policies": _POLICIES,
            "volumes": _VOLUMES,
            "time": {"type": "str"},
            "continuation": {"type": "int", "ge": 1, "le": 100},
            "target": _TARGET,
            "target_faults": {"type": "list", "items_schema": {"type": "str"}, "max_length": 50},
        },
        required=("period",),
    )
)


_CHECK_SCHEMA = SchemaValidator(
    closed_object(
        {
            "check_hooks": {"type": "literal", "expected": [True]},
            "policies": _POLICIES,
            "volumes": _VOLUMES,
            "target": _TARGET,
        },
    )
)


FIRST_YEAR, LAST_YEAR = 1970, 9000

MAX_FAULTS = 20
"""Faults named of one event; the rest are counted."""


def parse_event(event: object, now: datetime) -> RunRequest | HookCheckRequest:
    """The request in `event`, for a run that begins at `now` (aware).

    Raises ConfigurationError naming the field, the value and what is allowed, all faults at once.
    """
    if not isinstance(event, Mapping):
        raise ConfigurationError(f'event: {quoted(event)}: must be an object such as {{"period": "hour"}}')
    if "detail-type" in event or ("source" in event and "period" not in event):
        raise ConfigurationError(
            "event: this is EventBridge's whole envelope; set the rule's input to a constant, "
            'for instance {"period": "hour"}'
        )
    if "check_hooks" in event:
        asked = _validated(_CHECK_SCHEMA, event)
        return HookCheckRequest(_names(asked, "policies"), _names(asked, "volumes"), asked.get("target"))
    parsed = _validated(_SCHEMA, event)
    period, dry_run = Period(parsed["period"]), parsed.get("dry_run", False)
    return RunRequest(
        period=period,
        continuation=parsed.get("continuation", 0),
        time=_moment(parsed, period, now) if "time" in parsed else now.astimezone(UTC),
        dry_run=dry_run,
        force=parsed.get("force", False),
        policies=_names(parsed, "policies"),
        volumes=_names(parsed, "volumes"),
        target=parsed.get("target"),
        target_faults=tuple(parsed.get("target_faults", ())),
    )


def _validated(schema: SchemaValidator, event: Mapping[str, Any]) -> dict[str, Any]:
    try:
        validated: dict[str, Any] = schema.validate_python(dict(event), strict=True)
    except ValidationError as error:
        faults = list(dict.fromkeys(_fault(detail) for detail in error.errors(include_url=False)))
        more = [f"and {len(faults) - MAX_FAULTS} faults more"] if len(faults) > MAX_FAULTS else []
        raise ConfigurationError("; ".join(faults[:MAX_FAULTS] + more)) from None
    return validated


def _names(parsed: Mapping[str, Any], name: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(parsed.get(name, ())))


def _moment(parsed: Mapping[str, Any], period: Period, now: datetime) -> datetime:
    text = parsed["time"]
    fault = f'event field "time": {quoted(text)}: must be '
    # isoparse reads a bare number as a year; a time without a date part is surely a mistake.
    if not re.match(r"^\d{4}-?\d{2}-?\d{2}", text):
        raise ConfigurationError(fault + _ALLOWED["time"])
    try:
        moment = isoparse(text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        in_range = FIRST_YEAR <= moment.year <= LAST_YEAR
    except (ValueError, OverflowError):
        in_range = False
    if not in_range:
        raise ConfigurationError(fault + _ALLOWED["time"]) from None
    if parsed.get("dry_run") or in_slot(period, now, moment):
        return moment
    queued = [f"{name} {parsed[name]}" for name in ("continuation", "target") if name in parsed]
    if queued:
        raise ConfigurationError(
            f"{', '.join(queued)}: the {period} of {moment.isoformat(timespec='minutes')} is over, and not all "
            f"that was due in it was done; what is due in the present {period} is for its own rule"
        )
    raise ConfigurationError(
        fault + f"within the current {period} (now is {now.astimezone(UTC).isoformat(timespec='seconds')}), "
        "or set dry_run"
    )


def _fault(detail: Any) -> str:
    # A key that no UTF-8 can write, such as half a surrogate pair, is told without its place.
    location = [str(part) for part in detail["loc"]] or [str(detail["input"])]
    field = location[0]
    if detail["type"] == "missing":
        return f'event field "{field}": is missing; must be {_ALLOWED[field]}'
    if detail["type"] == "extra_forbidden" and field in _ALLOWED:
        return f'event field "{field}": is not for a check of hooks; {_ALLOWED["check_hooks"]}'
    if field not in _ALLOWED:
        return f"event field {quoted(field)}: unknown field; known are {', '.join(_ALLOWED)}"
    return f'event field "{".".join(location)}": {quoted(detail["input"])}: must be {_ALLOWED[field]}'
