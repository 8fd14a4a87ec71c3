"""The same run from a shell: `python -m lambda_function hour [--dry-run] ...`.

Exit codes: 0 everything succeeded, 1 something failed, 2 wrong arguments or configuration.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Console

from lambda_function.app import run_event
from lambda_function.clients import build_clients
from lambda_function.errors import AutoSnapshotsError, ConfigurationError
from lambda_function.model import Period, RunReport
from lambda_function.report import answer, check_answer
from lambda_function.terminal import ProgressObserver, print_check, print_report

HOOKS = "hooks"

PATIENCE_SECONDS = 4 * 3600.0
"""A run from a shell may wait for room much longer than Lambda would, but not until the next day's cron."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as the arguments say and return the exit code."""
    options = _options(arguments)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    errors = Console(stderr=True, soft_wrap=True)
    began = time.monotonic()
    try:
        with ProgressObserver(errors) as observer:
            report = run_event(
                _event(options),
                environ=os.environ,
                clients=lambda: build_clients(os.environ.get("AWS_REGION")),
                clock=lambda: datetime.now(UTC),
                time_left=lambda: began + PATIENCE_SECONDS - time.monotonic(),
                observer=observer,
            )
    except AutoSnapshotsError as error:
        errors.print(f"error: {error}", style="bold red", markup=False, highlight=False)
        return 2 if isinstance(error, ConfigurationError) else 1
    # Redirected, a table is read by grep and mail: its lines are as long as they need to be.
    console = Console() if sys.stdout.isatty() else Console(width=240)
    if options.json:
        whole = answer(report, limit=None) if isinstance(report, RunReport) else check_answer(report)
        print(json.dumps(whole, indent=2))
    elif isinstance(report, RunReport):
        print_report(report, console)
    else:
        print_check(report, console)
    return 1 if report.failures else 0


def _event(options: argparse.Namespace) -> dict[str, object]:
    optional = {"policies": options.policy, "volumes": options.volume, "time": options.time}
    given = {name: value for name, value in optional.items() if value is not None}
    if options.period == HOOKS:
        return {"check_hooks": True, **given}
    return {"period": options.period, "dry_run": options.dry_run, "force": options.force, **given}


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.check is not (options.period == HOOKS):
        parser.error("hooks and --check go together: python -m lambda_function hooks --check")
    if options.check and (options.dry_run or options.force or options.time):
        parser.error("hooks --check takes --policy, --volume and --json only")
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lambda_function",
        description="Create, share and prune the EBS snapshots that are due, as the policies in Parameter Store say.",
        epilog="Region, credentials and endpoint are boto3's: AWS_REGION, AWS_PROFILE, AWS_ENDPOINT_URL and so on. "
        "TAG_KEY and POLICIES_PATH are the function's. "
        "Exit code: 0 all done, 1 something failed, 2 wrong arguments or configuration.",
    )
    parser.add_argument("period", choices=[*Period, HOOKS], help="the period that is due, or hooks for --check")
    parser.add_argument("--check", action="store_true", help="dry-run every hook where it would run; freeze nothing")
    parser.add_argument("--dry-run", action="store_true", help="show the whole plan with reasons; write nothing")
    parser.add_argument("--force", action="store_true", help="create even where the slot is already done")
    parser.add_argument("--policy", action="append", metavar="NAME", help="only this policy (may be repeated)")
    parser.add_argument("--volume", action="append", metavar="ID", help="only this volume (may be repeated)")
    parser.add_argument("--time", metavar="ISO", help="the moment to plan for; other slots only with --dry-run")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
