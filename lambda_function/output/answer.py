"""The function's answer: one page to read in Lambda's console, whatever the fleet's size.

The log has a line per volume and snapshot; `python -m lambda_function hour --json` prints the whole report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any

from lambda_function.escapes import escaped
from lambda_function.model.result import (
    Change,
    ChangeOutcome,
    ChangeResult,
    HookResult,
    Outcome,
    RunReport,
    VolumeResult,
)
from lambda_function.output.summary import headline, summary

MAX_LINES = 20
"""Lines of one kind; the rest are counted."""

MAX_PLANNED_LINES = 200
"""The same for a dry run, whose lines are its purpose."""

MAX_LINE = 400
"""Characters of a line, so that an answer stays below 400 KB, far under Lambda's 6 MB (docs: Lambda quotas)."""

_NAMED = 5

_DONE = (Outcome.CREATED, Outcome.SHARED, Outcome.WOULD_CREATE, Outcome.WOULD_SHARE)
_LISTED_ELSEWHERE = (Outcome.FAILED, Outcome.FAULTY_POLICY, Outcome.UNKNOWN_POLICY, Outcome.DEFERRED)
"""These are listed among the failures, warnings or deferred volumes."""

_COUNTED = (ChangeOutcome.DONE, ChangeOutcome.PLANNED)


def console_answer(report: RunReport) -> dict[str, Any]:
    """A short report: `message`, then what was done, skipped, deleted and refused, and why, then `summary`.

    Empty lists are left out.
    """
    request = report.request
    limit = MAX_PLANNED_LINES if request.dry_run else MAX_LINES
    lists = {
        "failures": report.failures,
        "continued" if report.is_continued else "deferred": report.deferred,
        "done": [_done(result) for result in report.volumes if result.outcome in _DONE],
        "skipped": list(_skipped(report)),
        "deleted": _changes(report, lambda result: result.change is Change.DELETE and result.outcome in _COUNTED),
        "released": _changes(report, lambda result: result.change is Change.RELEASE and result.outcome in _COUNTED),
        "not_deleted": _changes(report, lambda result: result.outcome is ChangeOutcome.REFUSED),
        "hooks": [_hook(hook) for hook in report.hooks],
        "warnings": report.warnings,
    }
    return {
        "message": headline(report) + (" (dry run: nothing was written)" if request.dry_run else ""),
        "time": request.time.isoformat(timespec="seconds"),
        **{name: _cut(lines, limit) for name, lines in lists.items() if lines},
        "summary": {name: count for name, count in summary(report).items() if count},
        "duration_seconds": round(report.duration_seconds, 3),
    }


def _done(result: VolumeResult) -> str:
    what = " ".join(filter(None, (result.outcome.value, result.snapshot_id)))
    consistency = f" ({result.consistency})" if result.consistency else ""
    return f"{result.volume_id}: {what}{consistency}: {result.reason}"


def _skipped(report: RunReport) -> Iterable[str]:
    """One line per outcome and reason; volumes that are done share a line, though each has its own snapshot."""
    period = report.request.period

    def cause(result: VolumeResult) -> tuple[str, str]:
        done = result.outcome is Outcome.ALREADY_DONE
        return result.outcome.value, f"a snapshot of this {period} exists" if done else result.reason

    others = [result for result in report.volumes if result.outcome not in (*_DONE, *_LISTED_ELSEWHERE)]
    for (outcome, reason), alike in groupby(sorted(others, key=cause), key=cause):
        ids = [result.volume_id for result in alike]
        more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
        yield f"{outcome}: {reason}: {', '.join(ids[:_NAMED])}{more}"


def _changes(report: RunReport, wanted: Callable[[ChangeResult], bool]) -> list[str]:
    return [
        f"{change.snapshot_id} of {change.volume_id}: {change.reason}" for change in report.changes if wanted(change)
    ]


def _hook(hook: HookResult) -> str:
    frozen = f"frozen for {hook.freeze_ms} ms" if hook.freeze_ms is not None else "ready"
    return f"policy {hook.policy} on {', '.join(hook.instance_ids)}: {hook.problem or frozen}"


def _cut(lines: Sequence[str], limit: int) -> list[str]:
    shown = map(escaped, lines[:limit])
    head = [line if len(line) <= MAX_LINE else line[: MAX_LINE - 1] + "…" for line in shown]
    rest = len(lines) - len(head)
    return [*head, f"and {rest} more, each in the log"] if rest else head
