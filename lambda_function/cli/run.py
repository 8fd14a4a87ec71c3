"""Shows a run in the shell: a table of decisions and reasons, then warnings and failures.

Not packaged into Lambda.
"""

from __future__ import annotations

from collections.abc import Iterator

from lambda_function.cli.terminal import Cell, Terminal
from lambda_function.model.result import ChangeOutcome, HookCheckReport, HookResult, Outcome, RunReport
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


def print_report(report: RunReport, terminal: Terminal) -> None:
    """The whole report: volumes, then snapshot changes, warnings, failures and one line of counts."""
    request = report.request
    title = f"{request.period} at {request.time:%Y-%m-%d %H:%M} UTC" + (
        " (dry run: nothing is written)" if request.dry_run else ""
    )
    if report.volumes:
        terminal.table(title, ("volume", "policy", "outcome", "snapshot"), "why", _volume_rows(report))
    if report.changes:
        terminal.table("snapshots", ("snapshot", "volume", "change"), "why", _change_rows(report))
    for hook in report.hooks:
        _print_hook(hook, terminal)
    for warning in report.warnings:
        terminal.say(f"warning: {warning}", "yellow")
    if report.orphaned_snapshots:
        terminal.say(f"{report.orphaned_snapshots} snapshots of volumes that are gone or no longer tagged: left alone")
    for failure in report.failures:
        terminal.say(f"FAILED: {failure}", "bold red")
    terminal.say(headline(report), "bold red" if report.failures else "bold")


def print_check(report: HookCheckReport, terminal: Terminal) -> None:
    """A hook check: one line per instance and policy, then what is not ready."""
    for hook in report.hooks:
        _print_hook(hook, terminal)
    for fault in report.faults:
        terminal.say(f"FAILED: {fault}", "bold red")
    terminal.say(check_headline(report), "bold red" if report.failures else "bold")


def _print_hook(hook: HookResult, terminal: Terminal) -> None:
    where = f"hook of policy {hook.policy} on {', '.join(hook.instance_ids)}: "
    frozen = f"frozen for {hook.freeze_ms} ms" if hook.freeze_ms is not None else "ready"
    terminal.say(where + (hook.problem or frozen), "bold red" if hook.problem else "")
    for step in hook.steps:
        terminal.say(f"  {step}")


def _volume_rows(report: RunReport) -> Iterator[tuple[Cell, ...]]:
    for result in report.volumes:
        outcome = (result.outcome.value, _STYLES.get(result.outcome, ""))
        yield result.volume_id, result.policy or "", outcome, result.snapshot_id or "", result.reason


def _change_rows(report: RunReport) -> Iterator[tuple[Cell, ...]]:
    for result in report.changes:
        label = result.change.value
        if result.outcome is not ChangeOutcome.DONE:
            label += f" ({result.outcome})"
        yield result.snapshot_id, result.volume_id, (label, _CHANGE_STYLES.get(result.outcome, "")), result.reason
