"""The endpoints read a filter's values as EC2 does."""

from __future__ import annotations

import pytest

from tests.support.filters import matches_filter


@pytest.mark.parametrize(
    ("value", "text", "matches"),
    [
        pytest.param("a*c", "abbc", True, id="a star is any text"),
        pytest.param("a*c", "ac", True, id="or none"),
        pytest.param("a?c", "abc", True, id="a question mark is one character"),
        pytest.param("a?c", "ac", False, id="not none"),
        pytest.param("a?c", "a\u200bc", True, id="one that cannot be seen, too"),
        pytest.param("abc", "ABC", False, id="case counts"),
        pytest.param("abc", "abcd", False, id="the whole text is compared"),
        pytest.param("[ab]c", "ac", False, id="nothing else is a wildcard"),
        pytest.param(r"\*a\?\\", r"*a?" + "\\", True, id="a backslash takes the meaning away"),
        pytest.param(r"\*", "x", False, id="of a star"),
    ],
)
def test_a_filter_has_two_wildcards_and_an_escape(value, text, matches):
    assert matches_filter(text, ["other", value]) is matches
