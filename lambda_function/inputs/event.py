"""Turns the invocation's input into a `RunRequest`, or one error that says what to change."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from dateutil.parser import isoparse
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

from lambda_function.errors import ConfigurationError, quoted
from lambda_function.inputs.policy import NAME
from lambda_function.inputs.validation import ACCOUNT, REGION, Allowed, InputModel, Model, NotNull, check
from lambda_function.model.period import Period, in_slot
from lambda_function.model.request import HookCheckRequest, RunRequest

FIRST_YEAR, LAST_YEAR = 1970, 9000

MAX_FAULTS = 20
"""Faults named per event; the rest are counted."""


def _period(value: object) -> Period:
    # The enumeration's error prints the whole value, however deeply nested.
    return Period(value if isinstance(value, str) else "")


def _moment(value: object) -> datetime:
    # isoparse reads a bare number as a year; a time without a date is surely a mistake.
    if not isinstance(value, str) or not re.match(r"^\d{4}-?\d{2}-?\d{2}", value):
        raise ValueError
    try:
        moment = isoparse(value)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise ValueError from None
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise ValueError
    return moment


def _only_true(value: object) -> object:
    # 1 and 1.0 are equal to True.
    if value is not True:
        raise ValueError
    return value


def _unique(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


LIST = Field(strict=False)
"""Accepts a list for a tuple; the items are still checked strictly."""


Policies = Annotated[
    tuple[Annotated[str, Field(pattern=f"^{NAME}$")], ...],
    LIST,
    Field(min_length=1, description="Only volumes of these policies; absent: of all. An unknown name is an error."),
    AfterValidator(_unique),
    Allowed("a list of policy names, at least one, or leave it out"),
]
Volumes = Annotated[
    tuple[Annotated[str, Field(pattern=r"^vol-[0-9a-f]{8,17}$")], ...],
    LIST,
    Field(
        min_length=1,
        description="Only these volumes; absent: all. One that is not found or cannot be served is a failure of the "
        "run.",
    ),
    AfterValidator(_unique),
    Allowed('a list of volume ids such as "vol-0123456789abcdef0", at least one, or leave it out'),
]
TargetName = Annotated[
    str | None,
    Field(
        pattern=f"^{ACCOUNT}/{REGION}$",
        description="Serve only this account and Region, a listed target or the function's own; absent: all.",
    ),
    NotNull,
    Allowed('an account and its Region such as "111122223333/eu-west-1", one of the targets under TARGETS_PATH'),
]


class RunEvent(InputModel):
    """The fields of an event that asks for a run."""

    period: Annotated[
        Period,
        BeforeValidator(_period),
        Field(description="The period that is due: a run."),
        Allowed("one of " + ", ".join(f'"{period}"' for period in Period)),
    ]
    dry_run: Annotated[
        bool, Field(description="Make every read, report the whole plan, write nothing."), Allowed("true or false")
    ] = False
    force: Annotated[
        bool, Field(description="Create even where the slot is already done; never share."), Allowed("true or false")
    ] = False
    policies: Policies = ()
    volumes: Volumes = ()
    target: TargetName = None
    time: Annotated[
        datetime | None,
        BeforeValidator(_moment),
        Field(description="The moment to plan for; absent: now. Without `dry_run` it must lie in the current slot."),
        Allowed('an ISO 8601 time such as "2026-01-31T00:15:00Z" (UTC where no offset is given)'),
    ] = None
    continuation: Annotated[
        int,
        Field(ge=1, le=100, description="How many runs before this one ran out of time in the same slot."),
        Allowed("a whole number, set by the function itself when it runs out of time"),
    ] = 0
    target_faults: Annotated[
        tuple[str, ...],
        LIST,
        Field(max_length=50, description="Targets that could not be started, for the own account's run to report."),
        Allowed("a list of texts, set by the function itself when it starts the runs of all targets"),
    ] = ()


class HookCheckEvent(InputModel):
    """The fields of an event that asks for a hook check."""

    model_config = ConfigDict(defer_build=True)

    check_hooks: Annotated[
        Literal[True],
        BeforeValidator(_only_true),
        Field(description="A check, no run: each hook is dry-run where it would run, nothing is frozen or created."),
        Allowed("true, and then only policies, volumes and target beside it"),
    ]
    policies: Policies = ()
    volumes: Volumes = ()
    target: TargetName = None


INTERNAL = ("continuation", "target_faults")
"""Fields only the function sets, in events that it sends itself."""

FIELDS = tuple(name for name in RunEvent.model_fields | HookCheckEvent.model_fields if name not in INTERNAL)

_HINTS = dict.fromkeys(
    RunEvent.model_fields, "is not for a check of hooks, which takes only policies, volumes and target"
)


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
        asked = _checked(HookCheckEvent, event)
        return HookCheckRequest(asked.policies, asked.volumes, asked.target)
    run = _checked(RunEvent, event)
    if run.time is None:
        return RunRequest(**{**dict(run), "time": now.astimezone(UTC)})
    if not run.dry_run and not in_slot(run.period, now, run.time):
        raise ConfigurationError(_outside_slot(run, run.time, event["time"], now))
    return RunRequest(**dict(run))


def _checked(model: type[Model], event: Mapping[str, Any]) -> Model:
    outcome = check(model, dict(event), "", known=FIELDS, hints=_HINTS)
    if not isinstance(outcome, tuple):
        return outcome
    faults = [f"event {fault}" for fault in outcome[:MAX_FAULTS]]
    more = [f"and {len(outcome) - MAX_FAULTS} faults more"] if len(outcome) > MAX_FAULTS else []
    raise ConfigurationError("; ".join(faults + more))


def _outside_slot(run: RunEvent, moment: datetime, text: str, now: datetime) -> str:
    period = run.period
    queued = [f"{name} {value}" for name in ("continuation", "target") if (value := getattr(run, name))]
    if queued:
        return (
            f"{', '.join(queued)}: the {period} of {moment.isoformat(timespec='minutes')} is over, and not all "
            f"that was due in it was done; what is due in the present {period} is for its own rule"
        )
    return (
        f'event field "time": {quoted(text)}: must be within the current {period} '
        f"(now is {now.astimezone(UTC).isoformat(timespec='seconds')}), or set dry_run"
    )
