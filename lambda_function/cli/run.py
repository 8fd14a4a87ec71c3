"""Shows a run in the shell: a progress bar while it works, then a table of decisions and reasons.

Not packaged into Lambda.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from lambda_function.model.result import (
    ChangeOutcome,
    ChangeResult,
    HookCheckReport,
    HookResult,
    Outcome,
    RunReport,
    VolumeResult,
)
from lambda_function.output.summary import check_headline, headline

_STYLES = {
    Outcome.CREATED: "green",
    Outcome.SHARED: "green",
    Outcome.WOULD_CREATE: "cyan",
    Outcome.WOULD_SHARE: "cyan",
    Outcome.FAILED: "bold red",
    Outcome.DEFERRED: "bold red",
    Outcome.FAULTY_POLICY: "bold red",
    Outcome.UNKNOWN_POLICY: "yellow",
    Outcome.VOLUME_GONE: "yellow",
}
_CHANGE_STYLES = {
    ChangeOutcome.DONE: "magenta",
    ChangeOutcome.PLANNED: "cyan",
    ChangeOutcome.FAILED: "bold red",
    ChangeOutcome.REFUSED: "yellow",
}


class ProgressObserver:
    """A bar on the error stream if that is a terminal, so that output can be redirected.

    If the terminal is gone (SIGHUP), the bar is, too, and the run goes on.
    """

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<9}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("reading", total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._progress.stop()

    def stage(self, name: str, total: int) -> None:
        with contextlib.suppress(OSError):
            self._progress.reset(self._task, description=name, total=total or None)

    def advance(self, steps: int = 1) -> None:
        self._progress.advance(self._task, steps)

    def volume(self, result: VolumeResult) -> None: ...

    def change(self, result: ChangeResult) -> None: ...

    def hook(self, result: HookResult) -> None: ...

    def warning(self, text: str) -> None: ...

    def failure(self, text: str) -> None: ...


def print_report(report: RunReport, console: Console) -> None:
    """The whole report: volumes, then snapshot changes, warnings, failures and one line of counts."""
    request = report.request
    title = f"{request.period} at {request.time:%Y-%m-%d %H:%M} UTC" + (
        " (dry run: nothing is written)" if request.dry_run else ""
    )
    if report.volumes:
        console.print(_volumes_table(title, report.volumes))
    if report.changes:
        console.print(_changes_table(report.changes))
    for hook in report.hooks:
        _print_hook(hook, console)
    for warning in report.warnings:
        console.print(Text(f"warning: {warning}", style="yellow"))
    if report.orphaned_snapshots:
        console.print(
            Text(f"{report.orphaned_snapshots} snapshots of volumes that are gone or no longer tagged: left alone")
        )
    for failure in report.failures:
        console.print(Text(f"FAILED: {failure}", style="bold red"))
    console.print(Text(headline(report), style="bold red" if report.failures else "bold"))


def print_check(report: HookCheckReport, console: Console) -> None:
    """A hook check: one line per instance and policy, then what is not ready."""
    for hook in report.hooks:
        _print_hook(hook, console)
    for fault in report.faults:
        console.print(Text(f"FAILED: {fault}", style="bold red"))
    console.print(Text(check_headline(report), style="bold red" if report.failures else "bold"))


def _print_hook(hook: HookResult, console: Console) -> None:
    where = f"hook of policy {hook.policy} on {', '.join(hook.instance_ids)}: "
    frozen = f"frozen for {hook.freeze_ms} ms" if hook.freeze_ms is not None else "ready"
    console.print(Text(where + (hook.problem or frozen), style="bold red" if hook.problem else ""))
    for step in hook.steps:
        console.print(Text(f"  {step}"))


def _volumes_table(title: str, results: Iterable[VolumeResult]) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for name in ("volume", "policy", "outcome", "snapshot"):
        table.add_column(name, no_wrap=True)
    table.add_column("why", overflow="fold")
    for result in results:
        table.add_row(
            Text(result.volume_id),
            Text(result.policy or ""),
            Text(result.outcome.value, style=_STYLES.get(result.outcome, "")),
            Text(result.snapshot_id or ""),
            Text(result.reason),
        )
    return table


def _changes_table(results: Iterable[ChangeResult]) -> Table:
    table = Table(title="snapshots", title_justify="left", box=None, pad_edge=False, header_style="bold")
    for name in ("snapshot", "volume", "change"):
        table.add_column(name, no_wrap=True)
    table.add_column("why", overflow="fold")
    for result in results:
        label = result.change.value
        if result.outcome is not ChangeOutcome.DONE:
            label += f" ({result.outcome})"
        table.add_row(
            Text(result.snapshot_id),
            Text(result.volume_id),
            Text(label, style=_CHANGE_STYLES.get(result.outcome, "")),
            Text(result.reason),
        )
    return table
