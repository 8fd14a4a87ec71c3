"""Logger and metrics of the function: one structured line per decision, and the counts of a run."""

from __future__ import annotations

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from lambda_function.model import (
    ChangeOutcome,
    ChangeResult,
    HookResult,
    Outcome,
    RunReport,
    VolumeResult,
)
from lambda_function.report import answer, change_line, hook_line, summary, volume_line

NAMESPACE = "AutoSnapshots"
SERVICE = "auto-snapshots"

METRICS = {
    "SnapshotsCreated": "created",
    "SnapshotsShared": "shared",
    "VolumesAlreadyDone": "already_done",
    "SnapshotsDeleted": "deleted",
    "DeletionsRefused": "refused",
    "Failures": "failed",
    "HooksFailed": "hooks_failed",
    "VolumesWithUnknownPolicy": "unknown_policy",
    "SnapshotsInError": "failed_snapshots",
}
"""Metric name to the summary's count; all with the one dimension Period."""

logger = Logger(service=SERVICE)

_FAULTS = (Outcome.FAILED, Outcome.FAULTY_POLICY)
_WARNINGS = (Outcome.UNKNOWN_POLICY, Outcome.VOLUME_GONE)


class LogObserver:
    """One log line per decision, as soon as it is final: a run that is cut off has told what it did."""

    def stage(self, name: str, total: int) -> None:
        logger.debug(name, extra={"total": total})

    def advance(self, steps: int = 1) -> None: ...

    def volume(self, result: VolumeResult) -> None:
        line = volume_line(result)
        if result.outcome in _FAULTS:
            logger.error("volume", extra=line)
        elif result.outcome in _WARNINGS or result.warnings:
            logger.warning("volume", extra=line)
        else:
            logger.info("volume", extra=line)

    def change(self, result: ChangeResult) -> None:
        if result.outcome is ChangeOutcome.FAILED:
            logger.error("snapshot", extra=change_line(result))
        else:
            logger.info("snapshot", extra=change_line(result))

    def warning(self, text: str) -> None:
        logger.warning(text)

    def failure(self, text: str) -> None:
        logger.error(text)

    def hook(self, result: HookResult) -> None:
        if result.problem:
            logger.error("hook", extra=hook_line(result))
        else:
            logger.info("hook", extra=hook_line(result))


def log_summary(report: RunReport) -> None:
    """The run in one line."""
    whole = answer(report, limit=0)
    extra = {key: whole[key] for key in ("period", "time", "dry_run", "duration_seconds")}
    logger.info(whole["message"], extra={**extra, "summary": summary(report)})


def publish_metrics(report: RunReport) -> None:
    """Every count, zeros included, so that an alarm sees data from each run. A dry run counts nothing."""
    if report.request.dry_run:
        return
    metrics = Metrics(namespace=NAMESPACE)
    metrics.add_dimension("Period", report.request.period.value)
    counts = summary(report)
    for name, key in METRICS.items():
        metrics.add_metric(name, MetricUnit.Count, counts[key])
    metrics.add_metric("Duration", MetricUnit.Seconds, report.duration_seconds)
    for hook in report.hooks:
        if hook.freeze_ms is not None:
            metrics.add_metric("FreezeTime", MetricUnit.Milliseconds, hook.freeze_ms)
        if hook.held_ms is not None:
            metrics.add_metric("FreezeTimeOnInstance", MetricUnit.Milliseconds, hook.held_ms)
    metrics.flush_metrics()
