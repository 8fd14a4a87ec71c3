"""The metrics a run sends to CloudWatch."""

from __future__ import annotations

from aws_lambda_powertools import Metrics
from aws_lambda_powertools.metrics import MetricUnit

from lambda_function.model.result import RunReport
from lambda_function.output.summary import summary

COUNTS = {
    "SnapshotsCreated": "created",
    "SnapshotsShared": "shared",
    "SnapshotsDeleted": "deleted",
    "DeletionsRefused": "refused",
    "VolumesFailed": "volumes_failed",
    "SnapshotsInError": "failed_snapshots",
    "HooksFailed": "hooks_failed",
    "VolumesWithoutPolicy": "without_policy",
}
"""Metric name to the summary's count: published without dimension, and only when it is not 0."""


COUNTS_BY_PLACE = ("SnapshotsCreated", "SnapshotsDeleted", "VolumesFailed")
"""Those also published for each account and Region if the function serves several."""


RUNS_COMPLETED = "RunsCompleted"


NEWEST_SNAPSHOT_AGE = "NewestSnapshotAge"


FREEZE_TIME = "FreezeTime"


METRICS = (*COUNTS, RUNS_COMPLETED, NEWEST_SNAPSHOT_AGE, FREEZE_TIME)


def publish_metrics(report: RunReport, namespace: str, home: str | None = None) -> None:
    """Publish a run's metrics through the log (embedded metric format).

    CloudWatch bills a metric for each hour in which it receives a value (docs/costs.md). So zeros are not sent, and
    the dimension `Period` is used only where each period has its own alarm. A dry run publishes nothing. A run for
    selected policies or volumes, or one that is continued in another, does not count as the period's.

    `home` is the function's own account and Region if it serves others too: then a few counts are also published by
    `Account` and `Region`. A target's run does not count as the period's: it must not hide a missing run at home.
    """
    request = report.request
    if request.dry_run:
        return
    counts_as_run = not (request.policies or request.volumes or report.is_continued)
    _publish_totals(report, namespace)
    place = request.target or home
    if place is not None:
        _publish_place(place, report, namespace, counts_as_run)
    if counts_as_run:
        _publish_period(report, namespace, is_home=request.target in (None, home))


def _publish_totals(report: RunReport, namespace: str) -> None:
    counts = summary(report)
    totals = Metrics(namespace=namespace)
    for name, key in COUNTS.items():
        if counts[key]:
            totals.add_metric(name, MetricUnit.Count, counts[key])
    for hook in report.hooks:
        if hook.freeze_ms is not None:
            totals.add_metric(FREEZE_TIME, MetricUnit.Milliseconds, hook.freeze_ms)
    _flush(totals)


def _publish_place(place: str, report: RunReport, namespace: str, counts_as_run: bool) -> None:
    counts = summary(report)
    account, _, region = place.partition("/")
    of_place = Metrics(namespace=namespace)
    for name in COUNTS_BY_PLACE:
        if counts[COUNTS[name]]:
            of_place.add_metric(name, MetricUnit.Count, counts[COUNTS[name]])
    if counts_as_run:
        of_place.add_metric(RUNS_COMPLETED, MetricUnit.Count, 1)
    _flush(of_place, Account=account, Region=region)


def _publish_period(report: RunReport, namespace: str, *, is_home: bool) -> None:
    of_period = Metrics(namespace=namespace)
    if is_home:
        of_period.add_metric(RUNS_COMPLETED, MetricUnit.Count, 1)
    if report.newest_age_seconds is not None:
        of_period.add_metric(NEWEST_SNAPSHOT_AGE, MetricUnit.Seconds, report.newest_age_seconds)
    _flush(of_period, Period=report.request.period.value)


def _flush(metrics: Metrics, **dimensions: str) -> None:
    """Send what there is. Powertools keeps dimensions in the class: unsent ones would go to the next metrics."""
    if not metrics.metric_set:
        return
    for name, value in dimensions.items():
        metrics.add_dimension(name, value)
    metrics.flush_metrics()
