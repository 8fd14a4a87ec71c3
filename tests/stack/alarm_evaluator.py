"""When an alarm of the template rings: CloudWatch's evaluation of static thresholds, as far as the template uses it.

The rules are those of the CloudWatch User Guide, "Alarm evaluation" and "Configuring how CloudWatch alarms treat
missing data". What is not known here is an error, so that no property of an alarm is passed over.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

Points = Sequence[float | None]
"""One value a period, the newest last; None where there is no data."""

EXTRA_POINTS = 2
"""How many more points than its evaluation periods an alarm looks at. The guide gives 5 for 3 as its only figure."""

MULTI_DAY = timedelta(days=1)
"""An alarm with a longer window is evaluated once an hour, on data up to the full hour."""


def is_ringing(alarm: Mapping[str, Any], points: Points) -> bool:
    """The alarm's state by its evaluation range: as many real points as there are, then as few missing as possible."""
    wanted = alarm["EvaluationPeriods"]
    real = [_breaches(alarm, value) for value in points if value is not None][-wanted:]
    missing = [{"breaching": True, "notBreaching": False}[alarm["TreatMissingData"]]] * (wanted - len(real))
    return sum([*real, *missing]) >= alarm.get("DatapointsToAlarm", wanted)


def _breaches(alarm: Mapping[str, Any], value: float) -> bool:
    threshold = alarm["Threshold"]
    return {
        "LessThanThreshold": value < threshold,
        "GreaterThanOrEqualToThreshold": value >= threshold,
    }[alarm["ComparisonOperator"]]


def rings_at(alarm: Mapping[str, Any], sent: Sequence[datetime], until: datetime) -> datetime | None:
    """The first minute at which it rings; its metric had the value 1 at these moments, the first one first."""
    return next((moment for moment in _evaluations(alarm, sent[0], until) if _rings_now(alarm, sent, moment)), None)


def _evaluations(alarm: Mapping[str, Any], first: datetime, until: datetime) -> Iterator[datetime]:
    is_multi_day = _period(alarm) * alarm["EvaluationPeriods"] > MULTI_DAY
    moment = first.replace(minute=0) + timedelta(hours=1) if is_multi_day else first
    while moment <= until:
        yield moment
        moment += timedelta(hours=1) if is_multi_day else timedelta(minutes=1)


def _rings_now(alarm: Mapping[str, Any], sent: Sequence[datetime], now: datetime) -> bool:
    """The windows slide: the newest period ends now."""
    period = _period(alarm)
    bounds = [now - n * period for n in reversed(range(alarm["EvaluationPeriods"] + EXTRA_POINTS + 1))]
    totals = [bisect_right(sent, end) - bisect_right(sent, begin) for begin, end in pairwise(bounds)]
    return is_ringing(alarm, _calculated(alarm, [total or None for total in totals]))


def _period(alarm: Mapping[str, Any]) -> timedelta:
    return timedelta(seconds=watched_metric(alarm)["Period"])


def watched_metric(alarm: Mapping[str, Any]) -> Mapping[str, Any]:
    """The one metric of the alarm with its statistic and period, whether or not there is an expression over it."""
    if "Metrics" not in alarm:
        return {"Stat": alarm["Statistic"], "Period": alarm["Period"], "Metric": alarm}
    (stat,) = [query["MetricStat"] for query in alarm["Metrics"] if "MetricStat" in query]
    return dict(stat)


def _calculated(alarm: Mapping[str, Any], points: Points) -> Points:
    """The expression's points. FILL takes the place of what is missing, but nothing comes of a metric without data."""
    expressions = [query["Expression"] for query in alarm.get("Metrics", ()) if "Expression" in query]
    if not expressions:
        return points
    filled = re.fullmatch(r"FILL\(\w+, (\d+)\)", expressions[0])
    if filled is None:
        raise NotImplementedError(f"the expression {expressions[0]} is not known here")
    if all(value is None for value in points):
        return points
    return [float(filled[1]) if value is None else value for value in points]
