"""What the `policies` subcommands print."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lambda_function.cli.policies.diff import Comparison, Deletion, Standing, VolumeEffect
from lambda_function.cli.policies.files import PolicyFiles
from lambda_function.cli.policies.pull import Pull

_STYLES = {
    Standing.NEW: "green",
    Standing.CHANGED: "yellow",
    Standing.REMOVED: "bold red",
    Standing.UNREADABLE: "bold red",
}


def say(console: Console, text: str, style: str = "") -> None:
    """One unwrapped line, so that file positions can be clicked and grepped."""
    console.print(Text(text, style=style), soft_wrap=True)


def print_warnings(warnings: Iterable[str], console: Console) -> None:
    """What was skipped."""
    for warning in warnings:
        say(console, f"warning: {warning}", "yellow")


def print_faults(files: PolicyFiles, action: str, console: Console) -> None:
    """Every fault with file and line, and their number."""
    for fault in files.faults:
        say(console, str(fault), "red")
    faults = len(files.faults)
    rest = "" if action == "check" else "; nothing was compared or written"
    say(console, f"{action}: {faults} {'fault' if faults == 1 else 'faults'}{rest}", "bold red")


def print_comparison(comparison: Comparison, path: Path, policies_path: str, console: Console) -> None:
    """Policies field by field, then the effects on volumes and snapshots, then one line of counts."""
    say(console, f"{path} against {policies_path}", "bold")
    width = max((len(change.name) for change in comparison.policies), default=0)
    for change in comparison.policies:
        say(console, f"{change.name:<{width}}  {change.standing}", _STYLES.get(change.standing, ""))
        for detail in change.details:
            say(console, f"    {detail}")
    effects = comparison.effects
    if effects.volumes:
        console.print(_volumes(effects.volumes))
    if effects.deletions:
        console.print(_deletions(effects.deletions))
    if effects.due_anyway:
        say(console, f"{effects.due_anyway} more would be deleted under the stored policies too")
    counts = [f"{len(names)} {word}" for word, names in _counted(comparison)]
    counts.append(
        f"{len(effects.deletions)} {'snapshot' if len(effects.deletions) == 1 else 'snapshots'} to be deleted"
    )
    say(console, "diff: " + ", ".join(counts), "bold")


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


def _volumes(effects: Iterable[VolumeEffect]) -> Table:
    table = _table("volumes that get another standing", ("volume", "policy"), "what changes")
    for effect in effects:
        table.add_row(Text(effect.volume_id), Text(effect.policy_name), Text(effect.text))
    return table


def _deletions(deletions: Iterable[Deletion]) -> Table:
    table = _table("snapshots that retention would then delete", ("snapshot", "volume", "started", "period"), "why")
    for deletion in deletions:
        snapshot = deletion.snapshot
        started = f"{snapshot.start_time:%Y-%m-%d %H:%M}"
        table.add_row(
            Text(snapshot.id), Text(snapshot.volume_id), Text(started), Text(deletion.period), Text(deletion.reason)
        )
    return table


def _table(title: str, narrow: tuple[str, ...], wide: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for name in narrow:
        table.add_column(name, no_wrap=True)
    table.add_column(wide, overflow="fold")
    return table


def print_pull(pull: Pull, console: Console, *, refused: bool) -> None:
    """What was written, what was not and why."""
    print_warnings(pull.warnings, console)
    for failure in pull.failures:
        say(console, f"FAILED: {failure}", "bold red")
    for path in pull.unchanged:
        say(console, f"{path}: says the same already")
    for path in pull.writes:
        if not refused:
            say(console, f"{path}: written")
    if refused:
        for path in pull.differing:
            say(console, f"{path}: differs from the store (see diff)", "red")
        say(console, "pull: nothing written; with --force what differs is written over", "bold red")
    else:
        say(
            console,
            f"pull: {len(pull.writes)} written, {len(pull.unchanged)} unchanged, {len(pull.failures)} failed",
            "bold",
        )
