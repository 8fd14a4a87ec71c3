"""Policies in files: one file with all of them by name, a directory with a file for each, or one such file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lambda_function.cli.policies.disk import NotAFileError, is_directory, read_file
from lambda_function.cli.policies.source import Document, Location, read_document, stored_text
from lambda_function.errors import ConfigurationError, quoted
from lambda_function.inputs.policy import FIELDS, NAME, Policy, parse_content
from lambda_function.inputs.validation import Fault

JSON_SUFFIX = ".json"
SUFFIXES = (JSON_SUFFIX, ".yaml", ".yml")

SCHEMA_KEY = "$schema"
"""Editors look for it at the top of a file. It is neither policy nor field, and is never stored."""

MAX_BYTES = 4096
"""A standard parameter's value (Systems Manager user guide, "Managing parameter tiers")."""


@dataclass(frozen=True, order=True)
class FileFault:
    """What is wrong on one line of one file."""

    path: Path
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}"


@dataclass(frozen=True)
class FilePolicy:
    """A policy as in its file; `policy` is None if it has faults."""

    content: Mapping[str, Any]
    policy: Policy | None


@dataclass
class PolicyFiles:
    """Everything that was found. `is_one`: the path is the file of a single policy.

    `paths` has the file of every policy with a file of its own, readable or not; `schemas` the schema that each
    file names.
    """

    policies: dict[str, FilePolicy] = field(default_factory=dict)
    faults: list[FileFault] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    paths: dict[str, Path] = field(default_factory=dict)
    schemas: dict[Path, str] = field(default_factory=dict)
    is_one: bool = False

    @property
    def valid(self) -> dict[str, Policy]:
        return {name: found.policy for name, found in self.policies.items() if found.policy is not None}


def is_policy_file(path: Path) -> bool:
    """Whether the name has a policy file's suffix."""
    return path.suffix.lower() in SUFFIXES


def read_files(path: Path) -> PolicyFiles:
    """All policies under `path`, with every fault.

    Raises ConfigurationError if there is no such file or directory, or it cannot be read.
    """
    found = PolicyFiles()
    try:
        if is_directory(path):
            _read_directory(path, found)
        elif is_policy_file(path):
            _read_file(path, found)
        else:
            raise ConfigurationError(f"{path}: must be a directory, or a file that ends in {', '.join(SUFFIXES)}")
    except FileNotFoundError as error:
        raise ConfigurationError(f"{error.filename or path}: there is no such file or directory") from None
    except OSError as error:
        raise ConfigurationError(f"{error.filename or path}: cannot be read: {error.strerror}") from error
    if not found.policies and not found.faults:
        found.faults.append(FileFault(path, 1, "holds no policy"))
    found.faults.sort()
    return found


def _read_directory(directory: Path, found: PolicyFiles) -> None:
    for path in sorted(directory.iterdir()):
        if path.name.startswith("."):
            continue
        if not is_policy_file(path):
            found.warnings.append(f"{path}: not read: a policy is a file that ends in {', '.join(SUFFIXES)}")
            continue
        name = path.stem
        if name in found.paths:
            found.faults.append(FileFault(path, 1, f"policy {name} stands in {found.paths[name].name} as well"))
            continue
        found.paths[name] = path
        document = _open(path, found)
        if document is None:
            continue
        if isinstance(document.value, dict) and document.value and not _is_one_policy(document.value):
            several = all(isinstance(value, dict) for value in document.value.values())
            if several and not document.value.keys() & set(FIELDS):
                text = "holds policies by name; in a directory each file holds the fields of one"
                found.faults.append(FileFault(path, 1, text))
                continue
        _take(name, path, (), document, found)


def _read_file(path: Path, found: PolicyFiles) -> None:
    document = _open(path, found)
    if document is None:
        return
    if not isinstance(document.value, dict):
        text = f'{quoted(document.value)}: must be one object with policies by name, {{"NAME": {{"hour": 24}}}}'
        found.faults.append(FileFault(path, 1, text))
    elif _is_one_policy(document.value):
        found.is_one = True
        found.paths[path.stem] = path
        _take(path.stem, path, (), document, found)
    else:
        for name in document.value:
            _take(name, path, (name,), document, found)


def _is_one_policy(content: Mapping[str, Any]) -> bool:
    """Whether these are fields rather than policies: one has a value that is not an object.

    A policy may be called `hour`; its value is then an object. `hook_parameters` alone decides nothing.
    """
    return any(name in FIELDS and not isinstance(value, dict) for name, value in content.items())


def _open(path: Path, found: PolicyFiles) -> Document | None:
    """The file's document without its schema key, or None if nothing of it can be used."""
    try:
        raw = read_file(path)
    except NotAFileError as error:
        found.faults.append(FileFault(path, 1, str(error)))
        return None
    document = read_document(raw, is_json=path.suffix.lower() == JSON_SUFFIX)
    if not document.is_readable:
        found.faults += [FileFault(path, fault.line, fault.text) for fault in document.faults]
        return None
    if isinstance(document.value, dict):
        schema = document.value.pop(SCHEMA_KEY, None)
        if isinstance(schema, str):
            found.schemas[path] = schema
        elif schema is not None:
            text = f"{quoted(schema)}: {SCHEMA_KEY} must be the path or address of a JSON Schema"
            found.faults.append(FileFault(path, document.line((SCHEMA_KEY,)), text))
    # Faults of no single policy: duplicate keys at the top, and the schema key's own.
    found.faults += [
        FileFault(path, fault.line, fault.text)
        for fault in document.faults
        if fault.location is not None and (fault.location == () or fault.location[0] == SCHEMA_KEY)
    ]
    return document


def _take(name: str, path: Path, location: Location, document: Document, found: PolicyFiles) -> None:
    """Add the policy at this place of the document, and all its faults with their lines."""
    label = f"policy {quoted(name).strip(chr(34))}"
    content = document.value
    for key in location:
        content = content[key]
    faults: dict[Location, FileFault] = {}

    def note(place: Location, line: int, text: str) -> None:
        faults.setdefault(place, FileFault(path, line, text))

    if not re.fullmatch(NAME, name):
        note((*location, "(name)"), document.line(location), f"{label}: a name consists of A-Z a-z 0-9 _ . -")
    outcome = parse_content(content, name, label)
    if not isinstance(outcome, Policy):
        for fault in outcome:
            place = (*location, *fault.location)
            note(place if fault.location else (*place, fault.text), document.line(place), str(fault))
    for problem in document.faults:
        if problem.location is not None and problem.location[: len(location)] == location and problem.location != ():
            # The field's own fault says what it must be, which helps more than that YAML is unclear.
            place = problem.location if problem.is_unclear else (*problem.location, problem.text)
            field_name = ".".join(problem.location[len(location) :]) if problem.is_unclear else None
            note(place, problem.line, str(Fault(label, field_name or None, None, problem.text)))
    size = len(stored_text(content).encode())
    if size > MAX_BYTES:
        text = f"{label}: has {size} bytes as JSON; a standard parameter holds {MAX_BYTES}"
        note((*location, "(size)"), document.line(location), text)
    found.faults += faults.values()
    if isinstance(content, dict):
        found.policies[name] = FilePolicy(content, outcome if isinstance(outcome, Policy) and not faults else None)


def same_policy(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether both are equal; an absent field equals its default."""
    first, second = (parse_content(dict(content), "", "") for content in (one, other))
    if isinstance(first, Policy) and isinstance(second, Policy):
        return first == second
    return stored_text(dict(sorted(one.items()))) == stored_text(dict(sorted(other.items())))
