"""What a person may be shown of a text that somebody else wrote: a tag, a document's output, AWS's message.

A terminal obeys some characters (ESC, C1), some turn a line's direction round, and some cannot be seen at all.
"""

from __future__ import annotations

_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
_SELECTORS = ((0x180B, 0x180F), (0xFE00, 0xFE0F), (0xE0100, 0xE01EF))
"""Letters and marks without a shape, which Python takes for printable: Unicode's Default_Ignorable_Code_Point
(DerivedCoreProperties.txt), and the empty braille pattern."""


def is_visible(sign: str) -> bool:
    """Whether this one character is the plain space, or can be seen and does nothing else."""
    if sign.isascii():
        return sign.isprintable()
    return (
        sign.isprintable() and sign not in _BLANK and not any(first <= ord(sign) <= last for first, last in _SELECTORS)
    )


def escaped(text: str, keep: str = "") -> str:
    """The text with all that is not visible as escapes (`\\x1b`, `\\n`, `\\u202e`), so that it is one line.

    `keep` are characters that stay as they are.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        sign if sign in keep or is_visible(sign) else sign.encode("unicode_escape").decode() for sign in text
    )


def escaped_json(text: str) -> str:
    """JSON's own text with escapes for what is not visible; U+0000 to U+001F have them already."""
    if text.isascii():
        return text.replace("\x7f", "\\u007f")
    return "".join(sign if sign == "\n" or is_visible(sign) else _json_escape(sign) for sign in text)


def _json_escape(sign: str) -> str:
    units = sign.encode("utf-16-be", "surrogatepass").hex(" ", 2).split()
    return "".join(f"\\u{unit}" for unit in units)
