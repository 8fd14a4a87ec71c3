"""Policy files as text: JSON or YAML to plain values, with the line on which each of them stands.

JSON is read as Parameter Store's values are. YAML is read so that what is seen is what is stored: numbers, true,
false and null as JSON writes them, everything else text; what YAML's versions read differently is a fault.
"""

from __future__ import annotations

import bisect
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from lambda_function.errors import quoted

Location = tuple[str, ...]
"""Keys, and positions in lists as text, from the top of a file to a value."""


@dataclass(frozen=True)
class DocumentFault:
    """What is wrong on a line. A `location` of None: nothing of the file can be used.

    `is_unclear` says that there is a value, which others may read differently.
    """

    line: int
    text: str
    location: Location | None = None
    is_unclear: bool = False


@dataclass
class Document:
    """A file's value and the line of everything in it; for a key's value the key's line."""

    value: Any = None
    lines: dict[Location, int] = field(default_factory=dict)
    faults: list[DocumentFault] = field(default_factory=list)

    @property
    def is_readable(self) -> bool:
        return all(fault.location is not None for fault in self.faults)

    def line(self, location: Location) -> int:
        """The line of this place, or of the nearest one around it that has a line."""
        while location and location not in self.lines:
            location = location[:-1]
        return self.lines.get(location, 1)

    def note_key(self, parent: Location, key: str, line: int, seen: Mapping[str, Any]) -> Location:
        """Remember where a key stands, and that it stands there a second time; the place of its value."""
        location = (*parent, key)
        if key in seen:
            first = self.lines[location]
            self.faults.append(
                DocumentFault(line, f"the key {quoted(key)} stands twice, first in line {first}", location)
            )
        self.lines[location] = line
        return location


def read_document(raw: bytes, *, is_json: bool) -> Document:
    """The document in a file's bytes; what is wrong with it is in its faults."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        return Document(faults=[DocumentFault(line, "is not text in UTF-8: save it as UTF-8")])
    try:
        return _read_json(text) if is_json else _read_yaml(text)
    except RecursionError:
        return Document(faults=[DocumentFault(1, "is nested too deeply")])


_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')


def _read_json(text: str) -> Document:
    if not text.strip():
        return Document(faults=[DocumentFault(1, "is empty")])
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        return Document(faults=[DocumentFault(error.lineno, f"is not JSON: {error.msg} (column {error.colno})")])
    except ValueError as error:
        return Document(faults=[DocumentFault(1, f"is not JSON: {error}")])
    places = _JsonPlaces(text)
    places.walk(next(places.tokens), ())
    places.document.value = value
    return places.document


class _JsonPlaces:
    """Finds the lines in a text that is known to be JSON, and the keys that `json` silently takes twice."""

    def __init__(self, text: str) -> None:
        self.document = Document()
        self.tokens: Iterator[re.Match[str]] = _TOKEN.finditer(text)
        self._ends = [match.start() for match in re.finditer("\n", text)]

    def walk(self, token: re.Match[str], location: Location) -> None:
        self.document.lines.setdefault(location, self._line(token))
        if token[0] == "{":
            self._walk_object(location)
        elif token[0] == "[":
            self._walk_list(location)

    def _walk_object(self, location: Location) -> None:
        seen: dict[str, None] = {}
        for token in self.tokens:
            if token[0] == "}":
                return
            if token[0] == ",":
                continue
            key: str = json.loads(token[0])
            inner = self.document.note_key(location, key, self._line(token), seen)
            seen[key] = None
            next(self.tokens)  # the colon
            self.walk(next(self.tokens), inner)

    def _walk_list(self, location: Location) -> None:
        position = 0
        for token in self.tokens:
            if token[0] == "]":
                return
            if token[0] != ",":
                self.walk(token, (*location, str(position)))
                position += 1

    def _line(self, token: re.Match[str]) -> int:
        return bisect.bisect(self._ends, token.start()) + 1


JSON_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
NEW_OCTAL = re.compile(r"0o[0-7]+")
"""A number in YAML 1.2, text in 1.1, which PyYAML reads."""

_TEXT_TAG = "tag:yaml.org,2002:str"
_WORDS = {"": None, "null": None, "true": True, "false": False}


class _Loader(yaml.SafeLoader):
    """Composes nodes with their lines; refuses what would make the stored value differ from what is seen."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        problem = None
        if isinstance(event, yaml.AliasEvent):
            problem = f"the alias *{event.anchor} is not followed: write its value out"
        elif getattr(event, "tag", None) is not None:
            problem = f"the tag {event.tag} is not read: leave it out"
        if problem:
            raise yaml.composer.ComposerError(None, None, problem, event.start_mark)
        return super().compose_node(parent, index)


def _read_yaml(text: str) -> Document:
    document = Document()
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or "cannot be read"
        if problem == "but found another document":
            problem = "holds several YAML documents: put all policies into one"
        return Document(faults=[DocumentFault(mark.line + 1 if mark else 1, f"is not YAML to be used: {problem}")])
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        return Document(faults=[DocumentFault(line, f"is not YAML: U+{error.character:04X} is not allowed in it")])
    if node is None:
        return Document(faults=[DocumentFault(1, "is empty")])
    document.value = _value(node, (), document)
    return document


def _value(node: yaml.Node, location: Location, document: Document) -> Any:
    document.lines.setdefault(location, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        content: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = _key(key_node, line, location, document)
            if key is None:
                continue
            inner = document.note_key(location, key, line, content)
            content[key] = _value(value_node, inner, document)
        return content
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node, location, document)
    return [_value(each, (*location, str(position)), document) for position, each in enumerate(node.value)]


def _key(node: yaml.Node, line: int, parent: Location, document: Document) -> str | None:
    if not isinstance(node, yaml.ScalarNode):
        document.faults.append(DocumentFault(line, "a key must be text", parent))
        return None
    if not isinstance(_scalar(node, (*parent, node.value), document), str):
        text = f"the key {node.value or '(nothing)'} must be text: put it in quotes"
        document.faults.append(DocumentFault(line, text, (*parent, node.value)))
    return str(node.value)


def _scalar(node: yaml.ScalarNode, location: Location, document: Document) -> Any:
    text: str = node.value
    if node.style is not None:  # quoted, or a block of text
        return text
    if text in _WORDS:
        return _WORDS[text]
    try:
        if JSON_NUMBER.fullmatch(text):
            return json.loads(text)
        agreed = node.tag == _TEXT_TAG and not NEW_OCTAL.fullmatch(text)
    except ValueError:  # thousands of digits
        agreed = False
    if not agreed:
        what = f"{text[:40]}: YAML readers differ about it; write numbers, true, false, null as in JSON, text in quotes"
        document.faults.append(DocumentFault(node.start_mark.line + 1, what, location, is_unclear=True))
    return text


def stored_text(content: object) -> str:
    """What Parameter Store is to hold: JSON in one line.

    Parameter Store takes no `{{`, which it would read as a reference; in JSON it can be written differently.
    """
    return _json(content, None).replace("{{", "{\\u007b")


def file_text(content: object, *, is_json: bool) -> str:
    """What a file is to hold: JSON or YAML, one field per line."""
    if is_json:
        return _json(content, 2) + "\n"
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=100)


def _json(content: object, indent: int | None) -> str:
    text = json.dumps(content, ensure_ascii=False, indent=indent)
    # Half a surrogate pair can be written in JSON, but not in UTF-8.
    return text if _is_encodable(text) else json.dumps(content, indent=indent)


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class _Dumper(yaml.SafeDumper):
    """Quotes also the text that this reader, or one of YAML 1.2, would take for a number."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # In other styles PyYAML folds line breaks that it does not write back as they were, U+0085 among them.
    return dumper.represent_scalar(_TEXT_TAG, text, style=None if text.isprintable() else '"')


_Dumper.add_representer(str, _represent_text)
for _pattern, _first in ((JSON_NUMBER, "-0123456789"), (NEW_OCTAL, "0")):
    _Dumper.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(f"^(?:{_pattern.pattern})$"), list(_first))
