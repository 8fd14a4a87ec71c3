"""Policy files as text: JSON or YAML to plain values with their line numbers, and back.

Parameter Store holds JSON. YAML is read so that what is seen is what is stored: numbers, true, false and null as in
JSON, everything else as text. What YAML's versions read differently is a fault.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.composer import Composer, ComposerError
from ruamel.yaml.error import CommentMark, MarkedYAMLError
from ruamel.yaml.events import AliasEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode
from ruamel.yaml.reader import ReaderError
from ruamel.yaml.representer import RoundTripRepresenter
from ruamel.yaml.resolver import implicit_resolvers
from ruamel.yaml.tokens import CommentToken

from lambda_function.errors import quoted

Location = tuple[str, ...]
"""Keys, and positions in lists as text, from the top of a file to a value."""


@dataclass(frozen=True)
class DocumentFault:
    """A fault on a line. If `location` is None, nothing of the file can be used.

    `is_unclear`: there is a value, but other YAML readers may read it differently.
    """

    line: int
    text: str
    location: Location | None = None
    is_unclear: bool = False


@dataclass
class Document:
    """A file's value and all line numbers; a key's value has the key's line."""

    value: Any = None
    lines: dict[Location, int] = field(default_factory=dict)
    faults: list[DocumentFault] = field(default_factory=list)

    @property
    def is_readable(self) -> bool:
        return all(fault.location is not None for fault in self.faults)

    def line(self, location: Location) -> int:
        """The line of this place, or of the nearest enclosing one that has a line."""
        while location and location not in self.lines:
            location = location[:-1]
        return self.lines.get(location, 1)

    def note_key(self, parent: Location, key: str, line: int, seen: Mapping[str, Any]) -> Location:
        """Record a key's line, and a fault if it is a duplicate. Returns its value's location."""
        location = (*parent, key)
        if key in seen:
            first = self.lines[location]
            self.faults.append(
                DocumentFault(line, f"the key {quoted(key)} stands twice, first in line {first}", location)
            )
        self.lines[location] = line
        return location


def read_document(raw: bytes, *, is_json: bool) -> Document:
    """The document in a file's bytes, with its faults."""
    kind = "JSON" if is_json else "YAML"
    try:
        text = raw.decode("utf-8-sig")
        return _read(text, is_json=is_json)
    except UnicodeDecodeError as error:
        line, problem = raw[: error.start].count(b"\n") + 1, "is not text in UTF-8: save it as UTF-8"
    except json.JSONDecodeError as error:
        line, problem = error.lineno, f"is not JSON: {error.msg} (column {error.colno})"
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, problem = mark.line + 1 if mark else 1, error.problem or "cannot be read"
        if problem == "but found another document":
            problem = "holds several YAML documents: put all policies into one"
        problem = f"is not {kind} to be used: {problem}"
    except ReaderError as error:
        line = text[: error.position].count("\n") + 1
        problem = f"is not YAML: U+{error.character:04X} is not allowed in it"
    except (ValueError, OverflowError) as error:  # thousands of digits, an escape beyond Unicode
        line, problem = 1, f"is not {kind}: {error}"
    except RecursionError:
        line, problem = 1, "is nested too deeply"
    return Document(faults=[DocumentFault(line, problem)])


def _read(text: str, *, is_json: bool) -> Document:
    content = None
    if is_json and text.strip():
        # Only YAML gives line numbers. It refuses some characters, and has line breaks that JSON has not.
        content = json.loads(text)
        text = text.encode("ascii", "backslashreplace").decode().replace("\x7f", "\\x7f")
    yaml = YAML(typ="safe", pure=True)
    yaml.Composer = _Composer
    node = yaml.compose(text)
    if node is None:
        return Document(faults=[DocumentFault(1, "is empty")])
    document = Document()
    value = _value(node, (), document)
    document.value = content if is_json else value
    return document


class _Composer(Composer):
    """Refuses YAML whose stored value would differ from what is seen."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.parser.peek_event()
        if isinstance(event, AliasEvent):
            problem = f"the alias *{event.anchor} is not followed: write its value out"
        elif event.tag is not None:
            problem = f"the tag {event.tag} is not read: leave it out"
        else:
            self.warn_double_anchors = False
            return super().compose_node(parent, index)
        raise ComposerError(None, None, problem, event.start_mark)


def _value(node: Node, location: Location, document: Document) -> Any:
    document.lines.setdefault(location, node.start_mark.line + 1)
    if isinstance(node, MappingNode):
        content: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = _key(key_node, line, location, document)
            if key is None:
                continue
            inner = document.note_key(location, key, line, content)
            content[key] = _value(value_node, inner, document)
        return content
    if isinstance(node, ScalarNode):
        return _scalar(node, location, document)
    return [_value(item, (*location, str(position)), document) for position, item in enumerate(node.value)]


def _key(node: Node, line: int, parent: Location, document: Document) -> str | None:
    if not isinstance(node, ScalarNode):
        document.faults.append(DocumentFault(line, "a key must be text", parent))
        return None
    if not isinstance(_scalar(node, (*parent, node.value), document), str):
        text = f"the key {node.value or '(nothing)'} must be text: put it in quotes"
        document.faults.append(DocumentFault(line, text, (*parent, node.value)))
    return str(node.value)


_WORDS = {"": None, "null": None, "true": True, "false": False}
_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,99})(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
_NOT_TEXT = [pattern for _, _, pattern, _ in implicit_resolvers]
"""What YAML 1.1 or 1.2 does not read as text if unquoted."""


def _scalar(node: ScalarNode, location: Location, document: Document) -> Any:
    text: str = node.value
    if node.style is not None:  # quoted, or a block of text
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _NUMBER.fullmatch(text):
        return json.loads(text)
    if not _is_text(text):
        what = f"{text[:40]}: YAML readers differ about it; write numbers, true, false, null as in JSON, text in quotes"
        document.faults.append(DocumentFault(node.start_mark.line + 1, what, location, is_unclear=True))
    return text


def _is_text(text: str) -> bool:
    return not any(pattern.match(text) for pattern in _NOT_TEXT)


def stored_text(content: object) -> str:
    """The text to store in Parameter Store: JSON in one line.

    Parameter Store refuses `{{`, which it would read as a reference, so it is escaped.
    """
    return _json(content, None).replace("{{", "{\\u007b")


def file_text(content: Mapping[str, Any], *, is_json: bool, old: bytes = b"") -> str:
    """The text for a file: JSON or YAML, one field per line. An `old` YAML file's comments stay."""
    if is_json:
        return _json(content, 2) + "\n"
    present = read_document(old, is_json=False)
    if isinstance(present.value, dict) and not present.faults:
        text = _updated(old.decode("utf-8-sig"), content)
        if read_document(text.encode(), is_json=False).value == content:
            return text
    return _dumped(content)


def _json(content: object, indent: int | None) -> str:
    text = json.dumps(content, ensure_ascii=False, indent=indent)
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can hold, but not UTF-8
        return json.dumps(content, indent=indent)
    return text


def _represent_text(representer: RoundTripRepresenter, text: str) -> ScalarNode:
    # Quote what YAML's versions read differently, and line breaks, which other styles fold.
    style = None if text.isprintable() and _is_text(text) else '"'
    return representer.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _round_trip() -> YAML:
    yaml = YAML()
    yaml.representer.add_representer(str, _represent_text)
    yaml.preserve_quotes = True
    yaml.width = 100_000  # no value is folded
    return yaml


def _dumped(content: object) -> str:
    stream = io.StringIO()
    _round_trip().dump(content, stream)
    return stream.getvalue()


_START = re.compile(r"\A(?:[ \t]*(?:#.*)?\n)*---[ \t]*\n")
"""The line `---` and the comments before it, which ruamel.yaml drops."""


def _updated(text: str, content: Mapping[str, Any]) -> str:
    """The YAML text with these values and its own comments."""
    body = _START.sub("", text, count=1)
    present = _round_trip().load(body)
    end = _comments_to_next(present)
    _update(present, content)
    return text.removesuffix(body) + _dumped(present) + end


def _update(present: CommentedMap, content: Mapping[str, Any]) -> None:
    for key in present.keys() - content.keys():
        del present[key]
    for key, value in content.items():
        if isinstance(value, dict) and isinstance(present.get(key), CommentedMap):
            _update(present[key], value)
        elif key not in present or _json(present[key], None) != _json(value, None):
            present[key] = value


def _comments_to_next(collection: CommentedMap | CommentedSeq, above: str = "") -> str:
    """Attach the comment above each entry to that entry, and return the one below the last.

    ruamel.yaml attaches it to the entry before, so it would move or vanish with that entry.
    """
    is_map = isinstance(collection, CommentedMap)
    for key in collection if is_map else range(len(collection)):
        comments = collection.ca.items.setdefault(key, [None, None, None, None])
        if above:
            comments[1] = [CommentToken(above, CommentMark(0))]
        above, beside, value = "", 2 if is_map else 0, collection[key]
        if token := comments[beside]:
            token.value, _, above = token.value.partition("\n")
            comments[beside] = token if token.value else None
        if isinstance(value, CommentedMap | CommentedSeq) and not value.fa.flow_style():
            above = _comments_to_next(value, above)
    return above
