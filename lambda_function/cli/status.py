"""`python -m lambda_function status`: shows every tagged volume's protection. Writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from lambda_function.aws.clients import Clients
from lambda_function.aws.ec2 import Ec2Ebs
from lambda_function.aws.parameter_store import ParameterStore
from lambda_function.cli.terminal import Cell, Terminal
from lambda_function.inputs.event import parse_event
from lambda_function.inputs.settings import Settings
from lambda_function.model.ec2 import Snapshot, SnapshotState
from lambda_function.model.period import Period
from lambda_function.model.request import HookCheckRequest
from lambda_function.plan.protection import PeriodStatus, Status, StatusReport, VolumeStatus, judge_volumes, summary
from lambda_function.ports import Observer
from lambda_function.run.context import policy_faults, read_policies

_STYLES = {
    Status.PROTECTED: "green",
    Status.WAITING: "cyan",
    Status.OVERDUE: "bold red",
    Status.UNPROTECTED: "bold red",
    Status.OUTSIDE: "yellow",
    Status.NOT_DUE: "yellow",
}


def read_status(
    selection: Mapping[str, object],
    *,
    environ: Mapping[str, str],
    clients: Callable[[], Clients],
    now: datetime,
    observer: Observer,
) -> StatusReport:
    """The status of the volumes in this selection (`policies`, `volumes`).

    Raises ConfigurationError and AwsError as a run does.
    """
    settings = Settings.from_env(environ)
    # Checks names and ids as for an event, with the same errors.
    request = parse_event({"check_hooks": True, **selection}, now)
    assert isinstance(request, HookCheckRequest)  # noqa: S101  # that is what the event above asks for
    built = clients()
    observer.stage("reading", 0)
    policies = read_policies(request, ParameterStore(built.ssm, settings.policies_path), settings.policies_path)
    ebs = Ec2Ebs(built, settings.keys)
    return judge_volumes(
        now,
        policies,
        ebs.list_volumes(request.volumes),
        ebs.list_snapshots(tuple(Period), request.volumes),
        settings.keys,
        only_policies=request.policies,
        only_volumes=request.volumes,
        faults=policy_faults(policies, request.policies),
    )


def print_status(report: StatusReport, terminal: Terminal) -> None:
    """A line per volume and period, then warnings, faults, and one line of counts."""
    if report.volumes:
        title = f"status at {report.time:%Y-%m-%d %H:%M} UTC"
        terminal.table(title, _COLUMNS, "why", _rows(report))
    for volume in report.volumes:
        for warning in volume.warnings:
            terminal.say(f"warning: {volume.volume_id}: {warning}", "yellow")
    if report.orphaned_snapshots:
        terminal.say(f"{report.orphaned_snapshots} snapshots of volumes that are gone or no longer tagged: left alone")
    for volume in report.volumes:
        if volume.status.is_problem:
            terminal.say(f"{volume.status.upper()}: {volume.volume_id}: {volume.reason}", "bold red")
    for fault in report.faults:
        terminal.say(f"FAULT: {fault}", "bold red")
    terminal.say(headline(report), "bold" if report.is_well else "bold red")


def headline(report: StatusReport) -> str:
    """The counts in one line; zeros only if they reassure."""
    always = (Status.PROTECTED, Status.OVERDUE, Status.UNPROTECTED)
    counts = [f"{report.count(status)} {status}" for status in Status if status in always or report.count(status)]
    faults = [f"{len(report.faults)} faults"] if report.faults else []
    return f"status: {len(report.volumes)} volumes: " + ", ".join(counts + faults)


def status_json(report: StatusReport) -> dict[str, Any]:
    """The whole report for machines; the keys are documented and stay."""
    return {
        "time": report.time.isoformat(),
        "ok": report.is_well,
        "summary": summary(report),
        "faults": list(report.faults),
        "volumes": [_volume_line(volume) for volume in report.volumes],
    }


def _volume_line(volume: VolumeStatus) -> dict[str, Any]:
    return {
        "volume_id": volume.volume_id,
        "policy": volume.policy,
        "status": volume.status.value,
        "reason": volume.reason,
        "consistency": volume.consistency,
        "warnings": list(volume.warnings),
        "periods": {period_status.period.value: _period_line(period_status) for period_status in volume.periods},
    }


def _period_line(period_status: PeriodStatus) -> dict[str, Any]:
    return {
        "status": period_status.status.value,
        "due_since": period_status.due_since.isoformat() if period_status.due_since else None,
        "newest": _snapshot_line(period_status.newest),
        "newest_failed": _snapshot_line(period_status.failed),
    }


def _snapshot_line(snapshot: Snapshot | None) -> dict[str, Any] | None:
    if snapshot is None:
        return None
    return {
        "snapshot_id": snapshot.id,
        "start_time": snapshot.start_time.isoformat(),
        "state": snapshot.state.value,
        "consistency": snapshot.consistency,
    }


_COLUMNS = ("volume", "policy", "period", "status", "newest", "snapshot", "consistency")


def _rows(report: StatusReport) -> Iterator[tuple[Cell, ...]]:
    for volume in report.volumes:
        if not volume.periods:
            yield _row(volume, volume.status, ("-", "-", "-", "-"), volume.reason)
        for period_status in volume.periods:
            # Each line repeats what concerns the whole volume, so that it can be read alone.
            whole = volume.status in (Status.UNPROTECTED, Status.OUTSIDE)
            why = volume.reason if whole or volume.status is Status.WAITING else _why(period_status)
            yield _row(volume, volume.status if whole else period_status.status, _newest(period_status), why)


def _row(volume: VolumeStatus, status: Status, cells: tuple[str, str, str, str], why: str) -> tuple[Cell, ...]:
    period, newest, snapshot, consistency = cells
    shown = (status.value, _STYLES[status])
    return volume.volume_id, volume.policy or "-", period, shown, newest, snapshot, consistency, why


def _newest(period_status: PeriodStatus) -> tuple[str, str, str, str]:
    if period_status.newest is None:
        return period_status.period.value, "-", "-", "-"
    state = "" if period_status.newest.state is SnapshotState.COMPLETED else f" {period_status.newest.state}"
    started = f"{period_status.newest.start_time:%Y-%m-%d %H:%M}{state}"
    return period_status.period.value, started, period_status.newest.id, period_status.newest.consistency or "-"


def _why(period_status: PeriodStatus) -> str:
    failed = f"{period_status.failed.id} failed" if period_status.failed else ""
    late = f"due since {period_status.due_since:%Y-%m-%d %H:%M}" if period_status.due_since else "none yet"
    waiting = "none yet" if period_status.status is Status.WAITING else ""
    return "; ".join(part for part in (late if period_status.status is Status.OVERDUE else waiting, failed) if part)
