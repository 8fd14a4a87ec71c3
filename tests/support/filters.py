"""A filter's values as EC2 reads them."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

_WILDCARDS = {"*": ".*", "?": "."}


def matches_filter(text: str, values: Sequence[str]) -> bool:
    """Whether any value matches: `*` is any text, `?` one character, a backslash takes their meaning away.

    Case counts. (EC2 user guide, "Find your Amazon EC2 resources"; API reference, `Filter`.)
    """
    return _pattern(tuple(values)).fullmatch(text) is not None


@functools.lru_cache(maxsize=256)
def _pattern(values: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(_translated(value) for value in values), re.DOTALL)


def _translated(value: str) -> str:
    signs = re.findall(r"\\.|.", value, re.DOTALL)
    return "".join(_WILDCARDS.get(sign) or re.escape(sign[-1]) for sign in signs)
