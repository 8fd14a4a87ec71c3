"""The shell command's arguments: one subcommand per period, and those that start no run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from lambda_function.escapes import escaped
from lambda_function.model.period import Period

PROGRAM = "python -m lambda_function"
HOOKS = "hooks"
POLICIES = "policies"
STATUS = "status"


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options, `command` among them. Exits with 2 and a message if they are wrong, as argparse does."""
    return build_parser().parse_args(arguments)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        super().error(escaped(message))


def build_parser() -> argparse.ArgumentParser:
    """The parser of all subcommands; a test compares the documentation with it."""
    parser = _Parser(
        prog=PROGRAM,
        description="Create, share and prune the EBS snapshots that are due, as the policies in Parameter Store say.",
        epilog="Region, credentials and endpoint are boto3's: AWS_REGION, AWS_PROFILE, AWS_ENDPOINT_URL and so on. "
        "TAG_KEY and POLICIES_PATH are the function's. "
        "Exit code: 0 all done, 1 something failed, 2 wrong arguments or configuration, 128 and the signal's number "
        "if a run was interrupted.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for period in Period:
        run = commands.add_parser(period.value, help=f"do the {period}'s run")
        _add_run_options(run)
    hooks = commands.add_parser(HOOKS, help="check: dry-run every hook where it would run")
    actions = hooks.add_subparsers(dest="action", required=True, metavar="ACTION")
    _add_selection(actions.add_parser("check", help="dry-run every hook; freeze nothing"))
    _add_status(commands)
    _add_policies(commands)
    return parser


def _add_status(commands: argparse._SubParsersAction[_Parser]) -> None:
    status = commands.add_parser(STATUS, help="show how every tagged volume stands; exit 1 where one needs a look")
    _add_selection(status)


def _add_policies(commands: argparse._SubParsersAction[_Parser]) -> None:
    policies = commands.add_parser(POLICIES, help="keep the policies as files: check, diff, push, pull")
    actions = policies.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = actions.add_parser("check", help="name every fault in the files with its line; asks AWS nothing")
    diff = actions.add_parser(
        "diff",
        help="show what a push would change, and which snapshots would then be deleted",
        description="Compare the files with Parameter Store, and plan the runs of all periods under both: listed are "
        "the snapshots, of those there are now, that only the files' policies would delete. A run that takes a new one "
        "first lets one more go, with a push or without.",
    )
    push = actions.add_parser("push", help="show the difference, and write to Parameter Store what differs")
    pull = actions.add_parser("pull", help="write the stored policies to files")
    for action in (check, diff, push, pull):
        action.add_argument(
            "path",
            metavar="FILE_OR_DIR",
            help="a .json, .yaml or .yml file with all policies by name, or a directory with one file per policy",
        )
    for action in (diff, push):
        action.add_argument("--prune", action="store_true", help="delete the stored policies that no file holds")
    push.add_argument("--yes", action="store_true", help="accept that snapshots or policies are deleted; do not ask")
    pull.add_argument("--force", action="store_true", help="write over files that say something else")


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="show the whole plan with reasons; write nothing")
    parser.add_argument("--force", action="store_true", help="create even where the slot is already done")
    parser.add_argument("--time", metavar="ISO", help="the moment to plan for; other slots only with --dry-run")
    _add_selection(parser)


def _add_selection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--policy", action="append", metavar="NAME", help="only this policy (may be repeated)")
    parser.add_argument("--volume", action="append", metavar="ID", help="only this volume (may be repeated)")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
