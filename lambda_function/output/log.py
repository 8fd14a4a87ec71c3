"""The function's log: one structured line per decision."""

from __future__ import annotations

import json

from aws_lambda_powertools import Logger

from lambda_function.escapes import escaped_json
from lambda_function.model.result import ChangeOutcome, ChangeResult, HookResult, Outcome, RunReport, VolumeResult
from lambda_function.output.summary import change_line, headline, hook_line, summary, volume_line

SERVICE = "auto-snapshots"


def _json(record: dict[str, object]) -> str:
    """The line; letters of any script can be read in it."""
    return escaped_json(json.dumps(record, default=str, separators=(",", ":"), ensure_ascii=False))


logger = Logger(service=SERVICE, json_serializer=_json)

_FAULTS = (Outcome.FAILED, Outcome.FAULTY_POLICY)
_WARNINGS = (Outcome.DEFERRED, Outcome.UNKNOWN_POLICY, Outcome.VOLUME_GONE)


class LogObserver:
    """One log line per decision, as soon as it is final, so that a run that is cut off has logged what it did."""

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
    request = report.request
    facts = {
        "period": request.period.value,
        "time": request.time.isoformat(timespec="seconds"),
        "dry_run": request.dry_run,
        "duration_seconds": round(report.duration_seconds, 3),
    }
    logger.info(headline(report), extra={**facts, "summary": summary(report)})
