from __future__ import annotations

import json
from typing import Any

import pytest

from tools.bench.record import PAGE, PLOT, STORED, plot, verdict, with_measured
from tools.bench.throughput import misses

STORED_FIGURES: dict[str, Any] = json.loads(STORED.read_text("utf-8"))

GOOD: dict[str, Any] = {
    "name": "turnover-1000",
    "volumes": 1000,
    "created": 1000,
    "exactly_once": True,
    "failed": 0,
    "ratio": 1.04,
    "most": 1.05,
    "calls_ratio": 1.01,
    "most_calls": 1.02,
    "throttled": 0.02,
    "most_throttled": 0.1,
    "megabytes": 90,
    "frozen_beyond": 0.3,
    "valid": True,
}


def test_the_pages_tables_are_made_from_the_stored_figures():
    page = PAGE.read_text("utf-8")
    assert with_measured(page, STORED_FIGURES) == page


def test_the_plot_is_made_from_the_stored_figures():
    assert plot(STORED_FIGURES) == PLOT.read_text("utf-8")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"failed": 3}, "3 failed"),
        ({"exactly_once": False, "created": 1001}, "1001 created for 1000 volumes"),
        ({"ratio": 1.06}, "more than 1.05 times the floor"),
        ({"calls_ratio": 1.03}, "more than 1.02 times the calls"),
        ({"throttled": 0.11}, "more than 10% throttled"),
        ({"megabytes": 513}, "more than 512 MB"),
        ({"frozen_beyond": 0.6}, "frozen 0.6 s beyond the least"),
    ],
)
def test_every_missed_target_is_named(change, said):
    assert misses({**GOOD, **change}) == [said]
    assert verdict({**GOOD, **change}) == f"MISSED: {said}"


@pytest.mark.parametrize(
    ("change", "said"),
    [({}, "met"), ({"valid": False}, "invalid"), ({"most": None, "most_calls": None}, "")],
    ids=["valid", "invalid", "nothing asked"],
)
def test_a_target_is_met_only_by_a_valid_figure(change, said):
    """Nothing is said where there is no target."""
    assert verdict({**GOOD, **change}) == said
