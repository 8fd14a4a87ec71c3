"""`python -m lambda_function policies check|diff|push|pull`: policies kept as files."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from lambda_function.aws.clients import Clients
from lambda_function.aws.ec2 import Ec2Ebs
from lambda_function.aws.parameter_store import ParameterStore
from lambda_function.cli.policies.diff import Comparison, Effects, Standing, affected, compare, merged, predict_effects
from lambda_function.cli.policies.files import PolicyFiles, read_files
from lambda_function.cli.policies.output import print_comparison, print_faults, print_pull, print_warnings
from lambda_function.cli.policies.pull import plan_pull, write
from lambda_function.cli.policies.source import stored_text
from lambda_function.cli.policies.store import PolicyStore
from lambda_function.cli.terminal import Terminal
from lambda_function.errors import AwsError, ConfigurationError
from lambda_function.inputs.policy import PolicySet, parse_policies
from lambda_function.inputs.settings import Settings
from lambda_function.model.period import Period

OK, FAILED = 0, 1


@dataclass(frozen=True)
class Desk:
    """What the subcommands work with. `confirm` asks the person, if there is one."""

    environ: Mapping[str, str]
    clients: Callable[[], Clients]
    now: datetime
    terminal: Terminal
    confirm: Callable[[str], bool] | None = None


def run_policies(options: argparse.Namespace, desk: Desk) -> int:
    """Do what the arguments say and return the exit code. Raises AutoSnapshotsError."""
    path = Path(options.path)
    if options.action == "pull":
        return _pull(path, desk, force=options.force)
    files = read_files(path)
    print_warnings(files.warnings, desk.terminal)
    if files.faults:
        print_faults(files, options.action, desk.terminal)
        return FAILED
    if options.action == "check":
        desk.terminal.say(f"check: {_count(len(files.policies), 'policy', 'policies')}, no fault", "bold")
        return OK
    if options.prune and files.is_one:
        raise ConfigurationError(
            f"{path}: is the file of one policy; --prune would delete all others: name all of them"
        )
    settings = Settings.from_env(desk.environ)
    clients = desk.clients()
    comparison = _compare(files, settings, clients, desk.now, prune=options.prune)
    print_comparison(comparison, path, settings.policies_path, desk.terminal)
    if comparison.names(Standing.UNREADABLE):
        return FAILED
    if options.action == "diff":
        return OK
    return _push(files, comparison, PolicyStore(clients.ssm, settings.policies_path), desk, yes=options.yes)


def _compare(files: PolicyFiles, settings: Settings, clients: Clients, now: datetime, *, prune: bool) -> Comparison:
    """Both sides and the effects. EC2 is called only if something differs, and only for the affected volumes."""
    stored = ParameterStore(clients.ssm, settings.policies_path).read()
    changes = compare(files.valid, stored, prune=prune)
    if all(change.standing in (Standing.UNCHANGED, Standing.STAYS) for change in changes):
        return Comparison(tuple(changes), Effects())
    old = parse_policies(stored)
    new = merged(old, files.valid, {change.name for change in changes if change.standing is Standing.REMOVED})
    return Comparison(tuple(changes), _effects(old, new, settings, clients, now))


def _effects(old: PolicySet, new: PolicySet, settings: Settings, clients: Clients, now: datetime) -> Effects:
    keys = settings.keys
    ebs = Ec2Ebs(clients, keys)
    volumes = affected(old, new, ebs.list_volumes(), keys, now)
    if not volumes:
        return Effects()
    snapshots = ebs.list_snapshots(tuple(Period), [volume.id for volume in volumes])
    return predict_effects(old, new, volumes, snapshots, keys, now)


def _push(files: PolicyFiles, comparison: Comparison, store: PolicyStore, desk: Desk, *, yes: bool) -> int:
    if not comparison.names(Standing.NEW, Standing.CHANGED, Standing.REMOVED):
        desk.terminal.say("push: nothing to write", "bold")
        return OK
    losses = _losses(comparison)
    if losses and not yes and not _is_confirmed(losses, desk):
        return FAILED
    failures = _write(files, comparison, store)
    for name, error in failures.items():
        desk.terminal.say(f"FAILED: policy {name}: {error}", "bold red")
    written = len(set(comparison.names(Standing.NEW, Standing.CHANGED)) - failures.keys())
    deleted = len(set(comparison.names(Standing.REMOVED)) - failures.keys())
    headline = f"push: {written} written, {deleted} deleted, {len(failures)} failed"
    desk.terminal.say(headline, "bold red" if failures else "bold")
    return FAILED if failures else OK


def _losses(comparison: Comparison) -> str:
    """In words, what a push deletes; empty if nothing."""
    parameters, snapshots = len(comparison.names(Standing.REMOVED)), len(comparison.effects.deletions)
    parts = [_count(parameters, "policy", "policies")] if parameters else []
    parts += [_count(snapshots, "snapshot", "snapshots")] if snapshots else []
    return " and ".join(parts)


def _is_confirmed(losses: str, desk: Desk) -> bool:
    if desk.confirm is None:
        desk.terminal.say(f"push: nothing written: {losses} would be deleted; with --yes that is accepted", "bold red")
        return False
    if desk.confirm(f"Push, and have {losses} deleted?"):
        return True
    desk.terminal.say("push: nothing written", "bold")
    return False


def _write(files: PolicyFiles, comparison: Comparison, store: PolicyStore) -> dict[str, str]:
    """Write what differs, then, unless a write failed, delete what is to go. Returns failures by policy."""
    failures: dict[str, str] = {}
    present = store.describe(changed) if (changed := comparison.names(Standing.CHANGED)) else {}
    for name in comparison.names(Standing.NEW, Standing.CHANGED):
        value = stored_text(files.policies[name].content)
        try:
            if name in present:
                store.replace(name, value, present[name])
            else:
                store.create(name, value)
        except AwsError as error:
            failures[name] = str(error)
    if failures:
        return failures | dict.fromkeys(comparison.names(Standing.REMOVED), "not deleted, since a write failed")
    for name in comparison.names(Standing.REMOVED):
        try:
            store.delete(name)
        except AwsError as error:
            failures[name] = str(error)
    return failures


def _pull(target: Path, desk: Desk, *, force: bool) -> int:
    settings = Settings.from_env(desk.environ)
    stored = ParameterStore(desk.clients().ssm, settings.policies_path).read()
    if not stored:
        raise ConfigurationError(f"no policy under {settings.policies_path}: set POLICIES_PATH if they are elsewhere")
    pull = plan_pull(target, stored)
    refused = bool(pull.differing) and not force
    if not refused:
        write(pull)
    print_pull(pull, desk.terminal, refused=refused)
    return FAILED if refused or pull.failures else OK


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
