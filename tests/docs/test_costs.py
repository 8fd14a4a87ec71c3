"""The costs in the documentation are the calculated ones, and the stack stays cheap."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.costs import (
    METRIC_MONTH,
    TARGET_METRICS,
    Fleet,
    alarms_cost,
    log_cost,
    metrics_cost,
    stack_cost,
    tables,
    target_cost,
)

ROOT = Path(__file__).parents[2]


def test_the_table_in_the_documentation_is_the_calculated_one():
    assert tables() in (ROOT / "docs/costs.md").read_text(encoding="utf-8")


def test_the_stack_costs_less_than_three_dollars_a_month():
    """The stack itself, at its defaults."""
    assert stack_cost(Fleet(10)) < 3
    assert stack_cost(Fleet(100)) < 3


@pytest.mark.parametrize("volumes", [10, 100, 1000])
def test_the_readme_names_the_calculated_sums(volumes):
    fleet = Fleet(volumes)
    row = f"| {volumes:,} | {stack_cost(fleet):.2f} | {fleet.stored_gb * 0.05:,.0f} |"
    assert row in (ROOT / "README.md").read_text(encoding="utf-8")


def test_a_target_costs_what_the_documentation_says():
    page = (ROOT / "docs/costs.md").read_text(encoding="utf-8")
    assert f"{target_cost(Fleet(10)):.2f} a month for each with 10 volumes" in page
    targets_page = (ROOT / "docs/accounts-and-regions.md").read_text(encoding="utf-8")
    assert f"up to {METRIC_MONTH * TARGET_METRICS:.2f} a month for its metrics" in targets_page


def test_monitoring_costs_the_same_for_any_fleet():
    """Only the log grows."""
    assert metrics_cost() + alarms_cost() < 2.6
    assert log_cost(Fleet(1000)) == pytest.approx(100 * log_cost(Fleet(10)))
