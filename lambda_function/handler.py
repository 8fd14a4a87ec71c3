"""Lambda's entry point."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from lambda_function.accounts.targets import SelfInvoker, Targets
from lambda_function.app import App
from lambda_function.aws.clients import (
    Clients,
    build_clients,
    build_clients_for,
    build_lambda_client,
    build_starting_client,
)
from lambda_function.aws.lambda_invoke import invoke_self
from lambda_function.errors import ConfigurationError, RunFailedError
from lambda_function.inputs.event import parse_event
from lambda_function.inputs.settings import Settings, near_misses
from lambda_function.model.request import HookCheckRequest, RunRequest, place_name
from lambda_function.model.result import HookCheckReport, RunReport
from lambda_function.output.answer import console_answer
from lambda_function.output.log import LogObserver, log_summary, logger
from lambda_function.output.metrics import publish_metrics
from lambda_function.output.summary import check_answer, dispatch_answer, failure_message
from lambda_function.run.continuation import continue_or_conclude

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext
    from mypy_boto3_lambda import LambdaClient


def utc_now() -> datetime:
    """The clock; a simulation replaces it."""
    return datetime.now(UTC)


@cache
def clients() -> Clients:
    """Built at the first invocation and kept for the next ones."""
    gc.freeze()  # building clients makes so many objects that the collector would scan all modules repeatedly
    return build_clients(os.environ.get("AWS_REGION"))


@cache
def starting_client() -> LambdaClient:
    """Built by the first invocation that starts runs of targets, and shared by its threads."""
    return build_starting_client(os.environ.get("AWS_REGION"))


def lambda_handler(event: object, context: LambdaContext) -> dict[str, Any]:
    """One run for `{"period": "hour"}` and the like; see `inputs/event.py` for an event's other fields.

    If there are targets, a rule's event starts one run for each of them and one for the own account and Region.
    Returns a short report. Raises ConfigurationError before anything is written, and RunFailedError after
    everything was attempted, so that alarms, retries and the console all see a failure.
    """
    target = event.get("target") if isinstance(event, dict) else None
    logger.append_keys(request_id=context.aws_request_id, target=target)
    settings = _settings()
    request = parse_event(event, utc_now())
    given = cast("dict[str, Any]", event)  # as every event is that could be parsed
    app = App.build(
        settings,
        clients(),
        Targets(build_clients_for, lambda: SelfInvoker(_home(context), _starter(context))),
        clock=utc_now,
        time_left=lambda: context.get_remaining_time_in_millis() / 1000,
        observer=LogObserver(),
    )
    match request:
        case HookCheckRequest():
            return _answer_to_check(app.check_hooks(request))
        case RunRequest() if app.is_for_targets(request):
            answer = dispatch_answer(app.dispatch(request, given))
            logger.info(str(answer["message"]))
            return answer
        case RunRequest():
            report = continue_or_conclude(app.run(request), given, utc_now(), _invoker(context))
            home = _home(context) if settings.targets_path else None
            return _answer_to_run(report, settings.metrics_namespace, home)


def _settings() -> Settings:
    """The settings of the stack. All of the environment is its own, so a name that is nearly right is a mistake."""
    if misspelt := near_misses(os.environ):
        raise ConfigurationError("\n".join(misspelt))
    return Settings.from_env(os.environ)


def _answer_to_run(report: RunReport, metrics_namespace: str, home: str | None) -> dict[str, Any]:
    log_summary(report)
    publish_metrics(report, metrics_namespace, home)
    if report.failures and not report.is_continued:
        raise RunFailedError(failure_message(report))
    return console_answer(report)


def _answer_to_check(report: HookCheckReport) -> dict[str, Any]:
    if report.failures:
        raise RunFailedError(failure_message(report))
    return check_answer(report)


def _home(context: LambdaContext) -> str:
    """The function's own account and Region, which its ARN names."""
    _, _, _, region, account, *_ = context.invoked_function_arn.split(":")
    return place_name(account, region)


def _invoker(context: LambdaContext) -> Callable[[dict[str, Any]], None]:
    """Continues a run by sending the function its next event."""

    def invoke(event: dict[str, Any]) -> None:
        invoke_self(build_lambda_client(os.environ.get("AWS_REGION")), context.invoked_function_arn, event)

    return invoke


def _starter(context: LambdaContext) -> Callable[[dict[str, Any]], None]:
    """Starts a target's run."""

    def start(event: dict[str, Any]) -> None:
        invoke_self(starting_client(), context.invoked_function_arn, event)

    return start
