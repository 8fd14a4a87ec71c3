"""The same run from a shell: `python -m lambda_function hour [--dry-run] ...`.

Exit codes: 0 everything succeeded (`status`: every volume is protected), 1 something failed (is not), 2 wrong
arguments or configuration, 128 and the signal's number if one interrupted it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from lambda_function.accounts.targets import HOME_ONLY, Targets
from lambda_function.app import App
from lambda_function.aws.clients import build_clients, build_clients_for
from lambda_function.cli.arguments import HOOKS, POLICIES, STATUS, parse_arguments
from lambda_function.cli.policies.command import Desk, run_policies
from lambda_function.cli.run import print_check, print_report
from lambda_function.cli.signals import SignalHandlers, exit_code
from lambda_function.cli.status import print_status, read_status, status_json
from lambda_function.cli.streams import forget_lost_streams, prepare_streams
from lambda_function.cli.terminal import Terminal, log_to_errors
from lambda_function.errors import AutoSnapshotsError, ConfigurationError
from lambda_function.inputs.event import parse_event
from lambda_function.inputs.settings import Settings, near_misses
from lambda_function.interruption import Interruption
from lambda_function.model.request import HookCheckRequest
from lambda_function.model.result import HookCheckReport, RunReport
from lambda_function.output.summary import check_answer, whole_report
from lambda_function.run.continuation import continue_or_conclude

PATIENCE_SECONDS = 4 * 3600.0
"""A shell run may wait for the pending quota much longer than Lambda, but not until the next day's cron."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the arguments say and return the exit code."""
    options = parse_arguments(arguments)
    log_to_errors()
    errors = Terminal.errors()
    for line in near_misses(os.environ):  # no errors: a shell's variables may be another program's
        _warn(line, errors)
    try:
        if options.command == STATUS:
            return _status(options, errors)
        if options.command == POLICIES:
            return _policies(options)
        return _run(options, errors)
    except AutoSnapshotsError as error:
        errors.say_lines(f"error: {error}", "bold red")
        return 2 if isinstance(error, ConfigurationError) else 1


def _warn(text: str, errors: Terminal) -> None:
    with contextlib.suppress(OSError, SystemExit):  # rich exits at a closed pipe; no warning is worth the run
        errors.say(f"warning: {text}", "yellow")


def _run(options: argparse.Namespace, errors: Terminal) -> int:
    """A run or hook check in this process: a shell starts no other runs. Signals interrupt it in good order."""
    interruption = Interruption()
    handlers = SignalHandlers(interruption)
    try:
        with handlers:
            report = _report(options, errors, interruption)
            try:
                _print(report, options)
            except (OSError, SystemExit):  # rich's answer to a closed pipe
                if handlers.number is None:
                    raise  # else nobody may be there to read it
    except KeyboardInterrupt:
        if handlers.number is None:
            raise
        with contextlib.suppress(OSError):
            errors.say("interrupted: nothing was written", "bold red")
    if handlers.number is not None:
        return exit_code(handlers.number)
    return 1 if report.failures else 0


def _report(options: argparse.Namespace, errors: Terminal, interruption: Interruption) -> RunReport | HookCheckReport:
    began = time.monotonic()
    settings = Settings.from_env(os.environ)
    request = parse_event(_event(options), datetime.now(UTC))
    clients = build_clients(os.environ.get("AWS_REGION"))
    clients.rate_limits.interrupt_by(interruption.check)
    with errors.progress() as observer:
        app = App.build(
            settings,
            clients,
            Targets(build_clients_for),
            clock=lambda: datetime.now(UTC),
            time_left=lambda: began + PATIENCE_SECONDS - time.monotonic(),
            observer=observer,
            interruption=interruption,
        )
        if isinstance(request, HookCheckRequest):
            return app.check_hooks(request)
        if app.is_for_targets(request):
            _warn(HOME_ONLY, errors)
        return continue_or_conclude(app.run(request), {}, datetime.now(UTC), None)


def _print(report: RunReport | HookCheckReport, options: argparse.Namespace) -> None:
    """Print the report, all of it: an error in writing it is raised here."""
    output = Terminal.output()
    if options.json:
        output.json(whole_report(report) if isinstance(report, RunReport) else check_answer(report))
    elif isinstance(report, RunReport):
        print_report(report, output)
    else:
        print_check(report, output)
    sys.stdout.flush()


def _status(options: argparse.Namespace, errors: Terminal) -> int:
    with errors.progress() as observer:
        report = read_status(
            _selection(options),
            environ=os.environ,
            clients=lambda: build_clients(os.environ.get("AWS_REGION")),
            now=datetime.now(UTC),
            observer=observer,
        )
    if options.json:
        Terminal.output().json(status_json(report))
    else:
        print_status(report, Terminal.output())
    return 0 if report.is_well else 1


def _policies(options: argparse.Namespace) -> int:
    terminal = Terminal.output()

    def confirm(question: str) -> bool:
        return terminal.ask(f"{question} [y/N]").strip().lower() in ("y", "yes")

    desk = Desk(
        environ=os.environ,
        clients=lambda: build_clients(os.environ.get("AWS_REGION")),
        now=datetime.now(UTC),
        terminal=terminal,
        confirm=confirm if sys.stdin.isatty() else None,
    )
    return run_policies(options, desk)


def _selection(options: argparse.Namespace) -> dict[str, object]:
    selected = {"policies": options.policy, "volumes": options.volume}
    return {name: value for name, value in selected.items() if value is not None}


def _event(options: argparse.Namespace) -> dict[str, object]:
    given = _selection(options)
    if options.command == HOOKS:
        return {"check_hooks": True, **given}
    if options.time is not None:
        given["time"] = options.time
    return {"period": options.command, "dry_run": options.dry_run, "force": options.force, **given}


def main_for_people() -> int:
    """`main`, with interrupts and output errors reported in one line."""
    prepare_streams()
    try:
        return main()
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted: what was begun may be done; status says how every volume stands\n")
        return 130
    except OSError as error:
        sys.stderr.write(f"error: the output could not be written: {error}\n")
        return 1
    finally:
        forget_lost_streams()
