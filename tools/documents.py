"""Writes the SSM documents of documents/ into template.yaml: `make template`.

A document cannot include another, and CloudFormation includes only files in S3, so the template has each document
whole. In documents/ each part is written once: a line `# include: FILE`, in any language, stands for that file's
text, indented like the line, and for a Python module stands the script that is made of it and of what it imports.
Only the template's marked blocks are rewritten.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.script import script

ROOT = Path(__file__).parents[1]
TEMPLATE = ROOT / "template.yaml"
DOCUMENTS = ROOT / "documents"

_MARK = "# made by 'make template' from documents/"
_BLOCK = re.compile(rf"^( *)({_MARK}(\S+)): begin\n.*?^\1\2: end$", re.DOTALL | re.MULTILINE)
_PARAMETERS = re.compile(r"^parameters:\n(?:[ #].*\n|\n)*", re.MULTILINE)
_DECLARED = re.compile(r"^  (\w+):$", re.MULTILINE)
_PLACE = re.compile(r"\{\{ (\w+) \}\}")
_UNPRINTABLE = re.compile("[^\t -~\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_INCLUDE = re.compile(r"^( *)# include: (\S+)\n", re.MULTILINE)


def assemble(name: str, folder: Path = DOCUMENTS) -> str:
    """A file's text with everything it includes; it ends with a newline. ValueError if a document would be damaged."""
    text = _expanded(name, folder)
    if name.endswith(".yaml"):
        _check_document(name, text)
    return text


def _expanded(name: str, folder: Path) -> str:
    if name.endswith(".py"):
        return script(name.removesuffix(".py"), folder)
    text = (folder / name).read_text(encoding="utf-8").removesuffix("\n") + "\n"
    return _INCLUDE.sub(lambda line: _indented(_expanded(line[2], folder), line[1]), text)


def _check_document(name: str, text: str) -> None:
    """A YAML block keeps printable characters only, and the agent replaces what is in {{ }}."""
    section = _PARAMETERS.search(text)
    declared = set(_DECLARED.findall(section[0])) if section else set()
    for number, line in enumerate(text.split("\n"), 1):
        if damaged := _UNPRINTABLE.search(line):
            raise ValueError(f"{name}:{number}: YAML does not keep the character {damaged[0]!r}: {line.strip()}")
        rest = _PLACE.sub(lambda place: "" if place[1] in declared else place[0], line)
        if "{{" in rest:
            raise ValueError(f"{name}:{number}: '{{{{' is for a declared parameter, {{{{ name }}}}: {line.strip()}")


def rebuild(template: str, folder: Path = DOCUMENTS) -> str:
    """The template with its marked blocks regenerated; ValueError if a mark has no counterpart."""

    def block(old: re.Match[str]) -> str:
        margin, mark, name = old.groups()
        return f"{margin}{mark}: begin\n{_indented(assemble(name, folder), margin)}{margin}{mark}: end"

    rebuilt, blocks = _BLOCK.subn(block, template)
    marks = template.count(_MARK)
    if not blocks or marks != 2 * blocks:
        raise ValueError(
            f"template.yaml: {marks} lines with {_MARK!r} make {blocks} blocks; "
            "give each ': begin' an ': end' of the same file and indentation"
        )
    return rebuilt


def _indented(text: str, margin: str) -> str:
    """Indents lines of blanks too, which a YAML block would lose otherwise, but not empty ones."""
    return re.sub(r"^(?=.)", margin, text, flags=re.MULTILINE)


def main(arguments: Sequence[str]) -> str | None:
    """Writes the template, or with --check only compares; returns the faults."""
    before = TEMPLATE.read_bytes()  # bytes, to keep line ends
    after = rebuild(before.decode()).encode()
    if "--check" in arguments:
        return None if after == before else "template.yaml and documents/ differ: run `make template`"
    TEMPLATE.write_bytes(after)
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
