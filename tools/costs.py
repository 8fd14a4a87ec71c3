"""Calculates what a stack costs a month: `python -m tools.costs` prints the tables of docs/costs.md.

Prices are the published ones of us-east-1, in US dollars, without the free tier.
"""

from __future__ import annotations

from dataclasses import dataclass

from lambda_function.model.period import Period
from tests.support.template import defaults, resources
from tools.demo.template import read_template

METRIC_MONTH = 0.30
ALARM_METRIC_MONTH = 0.10
LOG_GB = 0.50
GB_SECOND_ARM64 = 0.0000133334
LAMBDA_REQUEST = 0.20 / 1_000_000
SNAPSHOT_GB_MONTH = 0.05

DAYS = 30
HOURS = 24 * DAYS
TARGET_METRICS = 3
"""Sent each hour by each target's run: RunsCompleted, created, deleted."""

HOURLY_METRICS = 2 + 2
"""Sent each hour by a fleet in order: RunsCompleted and NewestSnapshotAge of the hour, created, deleted."""

METRICS_A_NIGHTLY_RUN = 2
"""Sent by each run of a longer period, in an hour of its own: the same two, of its period."""

SHARED_METRICS = 1
"""Sent in one hour of the day, at midnight."""

LOG_BYTES_A_VOLUME = 740
"""Of one run that creates and deletes one snapshot, as measured on the local endpoint."""

CREATE_BURST, CREATE_RATE = 100, 5.0
"""EC2's bucket for creates; deletions have one of the same size."""

READING_SECONDS = 3.0
"""A cold start and the listings, assumed."""


@dataclass(frozen=True)
class Fleet:
    """Volumes under the policy CRITICAL: 50 GB of data each, of which 2 % change a day and 10 % a week."""

    volumes: int
    data_gb: float = 50.0
    hours: int = 2
    days: int = 5
    weeks: int = 52
    change_an_hour: float = 0.002
    change_a_day: float = 0.02
    change_a_week: float = 0.10

    @property
    def run_seconds(self) -> float:
        """The hourly run: creates, then deletions, at EC2's rate beyond the burst, 50 ms each within it."""
        beyond = max(0, self.volumes - CREATE_BURST)
        one_kind = beyond / CREATE_RATE + min(self.volumes, CREATE_BURST) * 0.05
        return READING_SECONDS + 2 * one_kind

    @property
    def stored_gb(self) -> float:
        """The first snapshot is the data, each further one what changed since the one before it."""
        changed = self.hours * self.change_an_hour + self.days * self.change_a_day + self.weeks * self.change_a_week
        return self.volumes * self.data_gb * (1 + changed)


def nightly_runs() -> int:
    """How often the rules of the longer periods fire in a night, by the template's schedules."""
    return sum(len(rule.hours) for rule in read_template().rules if rule.period != Period.HOUR)


def lambda_cost(fleet: Fleet) -> float:
    """Compute and requests of the hourly runs and the nightly ones, which find most done."""
    memory_gb = int(defaults()["MemorySize"]) / 1024
    runs = DAYS * nightly_runs()
    seconds = HOURS * fleet.run_seconds + runs * READING_SECONDS
    return seconds * memory_gb * GB_SECOND_ARM64 + (HOURS + runs) * LAMBDA_REQUEST


def metrics_cost() -> float:
    """CloudWatch bills a custom metric by the hours in which it receives a value."""
    at_night = METRICS_A_NIGHTLY_RUN * nightly_runs() + SHARED_METRICS
    return METRIC_MONTH * (HOURLY_METRICS + at_night / 24)


def alarms_cost() -> float:
    """CloudWatch bills an alarm by the metrics that it watches; an expression over them costs nothing more."""
    alarms = [alarm["Properties"] for alarm in resources("AWS::CloudWatch::Alarm").values()]
    queries = [query for alarm in alarms for query in alarm.get("Metrics", [{"MetricStat": alarm}])]
    return ALARM_METRIC_MONTH * sum("MetricStat" in query for query in queries)


def log_cost(fleet: Fleet) -> float:
    """Ingestion; storage costs a sixteenth of that a month."""
    runs = HOURS + DAYS * nightly_runs()
    return runs * fleet.volumes * LOG_BYTES_A_VOLUME / 1e9 * LOG_GB * (1 + 3 / 16)


def stack_cost(fleet: Fleet) -> float:
    """All but the snapshots."""
    return lambda_cost(fleet) + metrics_cost() + alarms_cost() + log_cost(fleet)


def target_cost(fleet: Fleet) -> float:
    """One more account or Region, with this fleet."""
    return lambda_cost(fleet) + METRIC_MONTH * TARGET_METRICS + log_cost(fleet)


def tables() -> str:
    """Both tables in Markdown."""
    fleets = [Fleet(volumes) for volumes in (10, 100, 1000)]
    rows = [
        ("an hour's run, seconds", [f"{fleet.run_seconds:,.0f}" for fleet in fleets]),
        ("Lambda", [f"{lambda_cost(fleet):.2f}" for fleet in fleets]),
        ("metrics", [f"{metrics_cost():.2f}" for _ in fleets]),
        ("alarms", [f"{alarms_cost():.2f}" for _ in fleets]),
        ("log", [f"{log_cost(fleet):.2f}" for fleet in fleets]),
        ("**the stack, USD a month**", [f"**{stack_cost(fleet):.2f}**" for fleet in fleets]),
        ("snapshots, GB", [f"{fleet.stored_gb:,.0f}" for fleet in fleets]),
        ("**snapshots, USD a month**", [f"**{fleet.stored_gb * SNAPSHOT_GB_MONTH:,.2f}**" for fleet in fleets]),
    ]
    lines = ["| volumes | 10 | 100 | 1,000 |", "|---|---|---|---|"]
    lines += [f"| {name} | {' | '.join(values)} |" for name, values in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    print(tables())
