"""How much of a campaign is run, by the variable CAMPAIGN: each campaign has three sizes.

A `sample` in `make test`, where somebody waits for it; a `day`'s in `make test-campaigns`, which continuous integration
runs; the whole in `make test-nightly`. Tests that have sizes bear the marker `campaign`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from hypothesis import settings

T = TypeVar("T")

SIZES = ("nightly", "day", "sample")
SIZE = os.environ.get("CAMPAIGN") or "sample"
if SIZE not in SIZES:
    raise pytest.UsageError(f"CAMPAIGN={SIZE}: must be one of {', '.join(SIZES)}, or not set, for a sample")

NIGHTLY = SIZE == "nightly"
IS_SAMPLE = SIZE == "sample"


def sized(nightly: T, day: T, sample: T) -> T:
    """What is run at this size."""
    return (nightly, day, sample)[SIZES.index(SIZE)]


def examples(nightly: int, day: int, sample: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A campaign of hypothesis: it makes up so many inputs."""

    def decorate(test: Callable[..., Any]) -> Callable[..., Any]:
        marked: Callable[..., Any] = pytest.mark.campaign(settings(max_examples=sized(nightly, day, sample))(test))
        return marked

    return decorate
