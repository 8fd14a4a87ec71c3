"""How much of a campaign is run: a share of it in `make test`, all of it in `make test-nightly`."""

from __future__ import annotations

import os

NIGHTLY = os.environ.get("CAMPAIGN") == "nightly"


def at_night(whole: int, share: int) -> int:
    """The whole number at night, and by day its share."""
    return whole if NIGHTLY else share
