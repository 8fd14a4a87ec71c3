"""A run's report in words and plain values, for the console, the log and machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lambda_function.escapes import escaped
from lambda_function.model.result import (
    Change,
    ChangeOutcome,
    ChangeResult,
    Dispatch,
    HookCheckReport,
    HookResult,
    Outcome,
    RunReport,
    VolumeResult,
)

MAX_MESSAGE = 4000
"""Characters of the exception's text: Lambda, CloudWatch and e-mail all show that many uncut."""


def summary(report: RunReport) -> dict[str, int]:
    """The counts, under the names the log and the answer use."""
    done, planned = ChangeOutcome.DONE, ChangeOutcome.PLANNED
    return {
        "created": report.count(Outcome.CREATED, Outcome.WOULD_CREATE),
        "shared": report.count(Outcome.SHARED, Outcome.WOULD_SHARE),
        "already_done": report.count(Outcome.ALREADY_DONE),
        "not_due": report.count(Outcome.NOT_DUE),
        "outside_policy": report.count(Outcome.OUTSIDE),
        "deleted": report.count_changes(Change.DELETE, done, planned),
        "released": report.count_changes(Change.RELEASE, done, planned),
        "refused": sum(change.outcome is ChangeOutcome.REFUSED for change in report.changes),
        "failed": len(report.failures),
        "deferred": len(report.deferred),
        "volumes_failed": _volumes_failed(report),
        "hooks_failed": sum(hook.problem is not None for hook in report.hooks),
        "unknown_policy": report.count(Outcome.UNKNOWN_POLICY),
        "without_policy": report.count(Outcome.UNKNOWN_POLICY) + report.misspelt_tags,
        "failed_snapshots": len(report.failed_snapshots),
        "orphaned_snapshots": report.orphaned_snapshots,
    }


def _volumes_failed(report: RunReport) -> int:
    """Volumes without a snapshot that is due; if another run continues with them, that one counts them."""
    return 0 if report.is_continued else report.count(Outcome.FAILED, Outcome.FAULTY_POLICY, Outcome.DEFERRED)


def whole_report(report: RunReport) -> dict[str, Any]:
    """The report with every line, as JSON-able values."""
    request = report.request
    return {
        "period": request.period.value,
        "time": request.time.isoformat(timespec="seconds"),
        "dry_run": request.dry_run,
        "message": headline(report),
        "summary": summary(report),
        "failures": list(report.failures),
        "deferred": list(report.deferred),
        "is_continued": report.is_continued,
        "is_interrupted": report.is_interrupted,
        "warnings": list(report.warnings),
        "volumes": [volume_line(result) for result in report.volumes],
        "changes": [change_line(result) for result in report.changes],
        "hooks": [hook_line(result) for result in report.hooks],
        "failed_snapshots": list(report.failed_snapshots),
        "duration_seconds": round(report.duration_seconds, 3),
    }


def dispatch_answer(outcome: Dispatch) -> dict[str, Any]:
    """The answer to an event for all targets; the runs that it started report the rest."""
    started, target_faults = len(outcome.started), len(outcome.target_faults)
    failed = f", {target_faults} NOT, as the own one's run will tell" if target_faults else ""
    return {
        "message": f"{outcome.request.period}: {started} runs started, one for each account and Region{failed}",
        "time": outcome.request.time.isoformat(timespec="seconds"),
        "targets_started": list(outcome.started),
        **({"failures": list(outcome.target_faults)} if target_faults else {}),
    }


def check_answer(report: HookCheckReport) -> dict[str, Any]:
    """A hook check as JSON-able values."""
    return {
        "message": check_headline(report),
        "failures": list(report.failures),
        "hooks": [hook_line(result) for result in report.hooks],
    }


def check_headline(report: HookCheckReport) -> str:
    """The check in one sentence."""
    ready = sum(result.problem is None for result in report.hooks)
    unready = len(report.hooks) - ready
    return f"hooks: {ready} ready" + (f", {unready} NOT READY" if unready else "")


def volume_line(result: VolumeResult) -> dict[str, Any]:
    """One volume's line without empty values."""
    line = {
        "volume_id": result.volume_id,
        "policy": result.policy,
        "outcome": result.outcome.value,
        "reason": result.reason,
        "snapshot_id": result.snapshot_id,
        "consistency": result.consistency.value if result.consistency else None,
        "warnings": list(result.warnings),
    }
    return {name: value for name, value in line.items() if value not in (None, [])}


def change_line(result: ChangeResult) -> dict[str, Any]:
    """One snapshot change's line."""
    return {
        "snapshot_id": result.snapshot_id,
        "volume_id": result.volume_id,
        "change": result.change.value,
        "outcome": result.outcome.value,
        "reason": result.reason,
    }


def hook_line(result: HookResult) -> dict[str, Any]:
    """One freeze's line with its journal, without empty values."""
    line = {
        "instance_ids": list(result.instance_ids),
        "policy": result.policy,
        "problem": result.problem,
        "freeze_ms": result.freeze_ms,
        "steps": list(result.steps),
    }
    return {name: value for name, value in line.items() if value not in (None, [])}


def headline(report: RunReport) -> str:
    """The run in one sentence."""
    counts = summary(report)
    if report.request.dry_run:
        words = {"created": "to create", "shared": "to share", "already_done": "already done", "deleted": "to delete"}
    else:
        words = {"created": "created", "shared": "shared", "already_done": "already done", "deleted": "deleted"}
    place = f" in {report.request.target}" if report.request.target else ""
    text = f"{report.request.period}{place}: " + ", ".join(f"{counts[key]} {word}" for key, word in words.items())
    for key, word in (
        ("released", "released"),
        ("refused", "deletions refused"),
        ("unknown_policy", "with unknown policy"),
    ):
        if counts[key]:
            text += f", {counts[key]} {word}"
    if report.deferred:
        text += f", {counts['deferred']} deferred ({'interrupted' if report.is_interrupted else 'out of time'})"
        text += ", continued in another run" if report.is_continued else ""
    return text + (f", {counts['failed']} FAILED" if report.failures else "")


def failure_message(report: RunReport | HookCheckReport) -> str:
    """What the invocation fails with: each failure by name, at most MAX_MESSAGE characters."""
    head = check_headline(report) if isinstance(report, HookCheckReport) else headline(report)
    return truncated_list(f"{head}:", report.failures)


def truncated_list(head: str, lines: Sequence[str]) -> str:
    """`head` and as many of the lines as fit, each cut to its share of MAX_MESSAGE; the rest counted."""
    text = head
    longest = max(200, MAX_MESSAGE // max(len(lines), 1))
    for position, line in enumerate(lines):
        shown = escaped(line)
        cut = shown if len(shown) <= longest else shown[: longest - 1] + "…"
        rest = len(lines) - position
        if len(text) + len(cut) + 60 > MAX_MESSAGE:
            return f"{text}\n- and {rest} more, each in the log"
        text += f"\n- {cut}"
    return text
