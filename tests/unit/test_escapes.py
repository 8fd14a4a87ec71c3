"""What may be shown of a text that somebody else wrote."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_function.errors import AwsError, ConfigurationError, quoted
from lambda_function.escapes import escaped, escaped_json, is_visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("db 1 (Zürich, 東京)", "db 1 (Zürich, 東京)", id="letters stay"),
        pytest.param("\x1b[2J", "\\x1b[2J", id="ESC, with which commands to a terminal begin"),
        pytest.param("\x9b31m", "\\x9b31m", id="C1's own, of one character"),
        pytest.param("\x7f\x08", "\\x7f\\x08", id="what rubs out"),
        pytest.param("\u202egnp.exe", "\\u202egnp.exe", id="a change of direction"),
        pytest.param("\u2066x\u2069", "\\u2066x\\u2069", id="an isolate"),
        pytest.param("a\u200bb\ufeff\u2060", "a\\u200bb\\ufeff\\u2060", id="zero width"),
        pytest.param("a\u00a0b\u2003", "a\\xa0b\\u2003", id="blanks that are no space"),
        pytest.param("a\u00ad\u034f\u3164\u2800\ufe0f", "a\\xad\\u034f\\u3164\\u2800\\ufe0f", id="no shape"),
        pytest.param("\U000e0041", "\\U000e0041", id="a tag character"),
        pytest.param("a\r\n\tb\x85\u2028c", "a\\r\\n\\tb\\x85\\u2028c", id="ends of lines, and tabs"),
        pytest.param("\udc9b", "\\udc9b", id="half a surrogate pair"),
    ],
)
def test_what_cannot_be_seen_is_shown_as_an_escape(text, shown):
    assert escaped(text) == shown


@given(st.text())
def test_a_shown_text_is_one_line_of_visible_characters(text):
    """Showing it again changes nothing."""
    shown = escaped(text)
    assert all(map(is_visible, shown))
    assert shown.splitlines() in ([shown], [])
    assert escaped(shown) == shown
    assert all(map(is_visible, quoted(text)))


@given(st.text() | st.dictionaries(st.text(), st.text()))
def test_json_with_escapes_says_the_same(value):
    for whole in (json.dumps(value), json.dumps(value, indent=2), json.dumps(value, ensure_ascii=False)):
        shown = escaped_json(whole)
        assert json.loads(shown) == value
        assert {sign for sign in shown if not is_visible(sign)} <= {"\n"}


def test_no_control_or_format_character_is_visible():
    """Of any that this Python knows, nor any that it does not."""
    unseen = [sign for sign in map(chr, range(0x110000)) if unicodedata.category(sign)[0] in "CZ" and sign != " "]
    assert len(unseen) > 100_000
    assert not any(map(is_visible, unseen))


def test_an_error_quotes_nothing_that_acts_on_a_terminal():
    """Its own lines stay; AWS's message has none."""
    assert str(ConfigurationError("one\n\x1b[2Jtwo")) == "one\n\\x1b[2Jtwo"
    error = AwsError("CreateSnapshot", "Odd\x9b", "first\nFAILED: vol-1: forged\u202e")
    assert str(error) == "CreateSnapshot: Odd\\x9b: first\\nFAILED: vol-1: forged\\u202e"
