"""Lambda's entry point."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from lambda_function.accounts.targets import SelfInvoker, Targets
from lambda_function.app import run_event
from lambda_function.aws.clients import (
    Clients,
    build_clients,
    build_clients_for,
    build_lambda_client,
    build_starting_client,
)
from lambda_function.aws.lambda_invoke import invoke_self
from lambda_function.errors import RunFailedError
from lambda_function.inputs.settings import Settings
from lambda_function.model.request import place_name
from lambda_function.model.result import Dispatch, RunReport
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
    return build_clients(os.environ.get("AWS_REGION"))


@cache
def starting_client() -> LambdaClient:
    """Built by the first invocation that starts runs of targets, and shared by its threads."""
    return build_starting_client(os.environ.get("AWS_REGION"))


def lambda_handler(event: object, context: LambdaContext) -> dict[str, Any]:
    """One run for `{"period": "hour"}` and the like; see `inputs/event.py` for what else an event may say.

    Where there are targets, a rule's event starts one run for each of them and one for the own account and Region.
    Returns the report in short. Raises ConfigurationError before anything is written, RunFailedError after
    everything was attempted, so that alarms, retries and the console all see a failure.
    """

    region = os.environ.get("AWS_REGION")

    def invoke_again(next_event: dict[str, Any]) -> None:
        invoke_self(build_lambda_client(region), context.invoked_function_arn, next_event)

    def start(event_of_target: dict[str, Any]) -> None:
        invoke_self(starting_client(), context.invoked_function_arn, event_of_target)

    def home() -> str:
        _, _, _, its_region, account, *_ = context.invoked_function_arn.split(":")
        return place_name(account, its_region)

    target = event.get("target") if isinstance(event, dict) else None
    logger.append_keys(request_id=context.aws_request_id, target=target)
    report = run_event(
        event,
        environ=os.environ,
        clients=clients,
        targets=Targets(build_clients_for, lambda: SelfInvoker(home(), start)),
        clock=utc_now,
        time_left=lambda: context.get_remaining_time_in_millis() / 1000,
        observer=LogObserver(),
    )
    if isinstance(report, Dispatch):
        logger.info(str(dispatch_answer(report)["message"]))
        return dispatch_answer(report)
    if isinstance(report, RunReport):
        report = continue_or_conclude(report, cast("dict[str, Any]", event), utc_now(), invoke_again)
        log_summary(report)
        settings = Settings.from_env(os.environ)
        publish_metrics(report, settings.metrics_namespace, home() if settings.targets_path else None)
    if report.failures and not (isinstance(report, RunReport) and report.is_continued):
        raise RunFailedError(failure_message(report))
    return console_answer(report) if isinstance(report, RunReport) else check_answer(report)
