"""What the `policies` subcommands print."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lambda_function.cli.policies.diff import Comparison, Deletion, Standing, VolumeEffect
from lambda_function.cli.policies.files import PolicyFiles
from lambda_function.cli.policies.pull import Pull
from lambda_function.cli.terminal import Terminal

_STYLES = {
    Standing.NEW: "green",
    Standing.CHANGED: "yellow",
    Standing.REMOVED: "bold red",
    Standing.UNREADABLE: "bold red",
}


def print_warnings(warnings: Iterable[str], terminal: Terminal) -> None:
    """What was skipped."""
    for warning in warnings:
        terminal.say(f"warning: {warning}", "yellow")


def print_faults(files: PolicyFiles, action: str, terminal: Terminal) -> None:
    """Every fault with file and line, and their number."""
    for fault in files.faults:
        terminal.say(str(fault), "red")
    faults = len(files.faults)
    rest = "" if action == "check" else "; nothing was compared or written"
    terminal.say(f"{action}: {faults} {'fault' if faults == 1 else 'faults'}{rest}", "bold red")


def print_comparison(comparison: Comparison, path: Path, policies_path: str, terminal: Terminal) -> None:
    """Policies field by field, then the effects on volumes and snapshots, then one line of counts."""
    terminal.say(f"{path} against {policies_path}", "bold")
    width = max((len(change.name) for change in comparison.policies), default=0)
    for change in comparison.policies:
        terminal.say(f"{change.name:<{width}}  {change.standing}", _STYLES.get(change.standing, ""))
        for detail in change.details:
            terminal.say(f"    {detail}")
    effects = comparison.effects
    if effects.volumes:
        _print_volumes(effects.volumes, terminal)
    if effects.deletions:
        _print_deletions(effects.deletions, terminal)
    if effects.due_anyway:
        terminal.say(f"{effects.due_anyway} more would be deleted under the stored policies too")
    counts = [f"{len(names)} {word}" for word, names in _counted(comparison)]
    counts.append(
        f"{len(effects.deletions)} {'snapshot' if len(effects.deletions) == 1 else 'snapshots'} to be deleted"
    )
    terminal.say("diff: " + ", ".join(counts), "bold")


def _counted(comparison: Comparison) -> list[tuple[str, list[str]]]:
    words = (
        ("new", Standing.NEW),
        ("changed", Standing.CHANGED),
        ("unchanged", Standing.UNCHANGED),
        ("not to be compared", Standing.UNREADABLE),
        ("only in the store", Standing.STAYS),
        ("removed", Standing.REMOVED),
    )
    found = [(word, comparison.names(standing)) for word, standing in words]
    return [(word, names) for word, names in found if names]


def _print_volumes(effects: Iterable[VolumeEffect], terminal: Terminal) -> None:
    rows = ((effect.volume_id, effect.policy_name, effect.text) for effect in effects)
    terminal.table("volumes that get another standing", ("volume", "policy"), "what changes", rows)


def _print_deletions(deletions: Iterable[Deletion], terminal: Terminal) -> None:
    rows = (
        (
            deletion.snapshot.id,
            deletion.snapshot.volume_id,
            f"{deletion.snapshot.start_time:%Y-%m-%d %H:%M}",
            deletion.period.value,
            deletion.reason,
        )
        for deletion in deletions
    )
    columns = ("snapshot", "volume", "started", "period")
    terminal.table("snapshots that retention would then delete", columns, "why", rows)


def print_pull(pull: Pull, terminal: Terminal, *, refused: bool) -> None:
    """What was written, what was not and why."""
    print_warnings(pull.warnings, terminal)
    for failure in pull.failures:
        terminal.say(f"FAILED: {failure}", "bold red")
    for path in pull.unchanged:
        terminal.say(f"{path}: says the same already")
    for path in pull.writes:
        if not refused:
            terminal.say(f"{path}: written")
    if refused:
        for path in pull.differing:
            terminal.say(f"{path}: differs from the store (see diff)", "red")
        terminal.say("pull: nothing written; with --force what differs is written over", "bold red")
    else:
        terminal.say(
            f"pull: {len(pull.writes)} written, {len(pull.unchanged)} unchanged, {len(pull.failures)} failed",
            "bold",
        )
