"""Turns stored policies into files, and decides what to write where before anything is written."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lambda_function.cli.policies.disk import NotAFileError, is_directory, read_file, write_file
from lambda_function.cli.policies.files import (
    JSON_SUFFIX,
    SCHEMA_KEY,
    PolicyFiles,
    is_policy_file,
    read_files,
    same_policy,
)
from lambda_function.cli.policies.source import file_text
from lambda_function.errors import ConfigurationError
from lambda_function.inputs.policy import Parameter, Policy, parse_policy
from lambda_function.inputs.validation import read_json

Content = Mapping[str, Any]


@dataclass
class Pull:
    """What a pull would do. `failures` are policies that no file can hold; `differing` are files with other content."""

    writes: dict[Path, str] = field(default_factory=dict)
    differing: list[Path] = field(default_factory=list)
    unchanged: list[Path] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def plan_pull(target: Path, stored: Iterable[Parameter]) -> Pull:
    """What to write to `target`: a file if it has a file's suffix, otherwise a directory.

    Raises ConfigurationError if `target` cannot be that.
    """
    pull = Pull()
    policies = _contents(stored, pull)
    if is_policy_file(target) and not is_directory(target):
        _plan_file(target, policies, pull)
    else:
        _plan_directory(target, policies, pull)
    return pull


def write(pull: Pull) -> None:
    """Write the files. Raises ConfigurationError if the first of them cannot be written."""
    for path, text in pull.writes.items():
        try:
            write_file(path, text)
        except OSError as error:
            raise ConfigurationError(f"{path}: cannot be written: {error.strerror}") from error
        except NotAFileError as error:  # since it was read
            raise ConfigurationError(f"{path}: {error}") from error


def _contents(stored: Iterable[Parameter], pull: Pull) -> dict[str, Content]:
    """The stored policies as plain values; faulty ones as stored if they are objects."""
    contents: dict[str, Content] = {}
    for parameter in sorted(stored, key=lambda parameter: parameter.name):
        outcome, content = parse_policy(parameter), _content(parameter)
        if not isinstance(outcome, Policy):
            found, end = (pull.failures, "not pulled") if content is None else (pull.warnings, "pulled as it is")
            found += [f"{fault} ({end})" for fault in outcome]
        if content is not None:
            contents[parameter.policy_name] = content
            if parameter.secure:
                pull.warnings.append(f"{parameter.name}: is a SecureString; the file holds its value in the clear")
    return contents


def _content(parameter: Parameter) -> Content | None:
    try:
        content = None if parameter.error else read_json(parameter.value)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _plan_file(path: Path, policies: Mapping[str, Content], pull: Pull) -> None:
    present = read_files(path) if os.path.lexists(path) else PolicyFiles()
    if present.is_one:
        raise ConfigurationError(f"{path}: holds the fields of one policy; pull all of them into its directory instead")
    _plan_write(path, policies, {name: policy.content for name, policy in present.policies.items()}, present, pull)


def _plan_directory(directory: Path, policies: Mapping[str, Content], pull: Pull) -> None:
    if os.path.lexists(directory) and not is_directory(directory):
        raise ConfigurationError(f"{directory}: is a file that does not end in .json, .yaml or .yml, nor a directory")
    present = read_files(directory) if directory.exists() else PolicyFiles()
    suffixes = {path.suffix for path in present.paths.values()}
    suffix = suffixes.pop() if len(suffixes) == 1 else JSON_SUFFIX
    for name, content in policies.items():
        if name.startswith("."):
            pull.failures.append(f"policy {name}: files that begin with a dot are not read: pull into one file")
            continue
        path = present.paths.get(name, directory / (name + suffix))
        known = present.policies.get(name)
        _plan_write(path, content, known.content if known else None, present, pull)
    for name, path in sorted(present.paths.items()):
        if name not in policies:
            pull.warnings.append(f"{path}: policy {name} is not in the store; its file stays")


def _plan_write(path: Path, content: Content, known: Content | None, present: PolicyFiles, pull: Pull) -> None:
    schema = {SCHEMA_KEY: present.schemas[path]} if path in present.schemas else {}
    try:
        old = read_file(path) if os.path.lexists(path) else None
    except NotAFileError as error:
        pull.failures.append(f"{path}: {error}: not written")
        return
    text = file_text({**schema, **content}, is_json=path.suffix.lower() == JSON_SUFFIX, old=old or b"")
    if old is not None:
        faulty = any(fault.path == path for fault in present.faults)
        says_the_same = known is not None and not faulty and _is_same(content, known)
        if says_the_same or old == text.encode():
            pull.unchanged.append(path)
            return
        pull.differing.append(path)
    pull.writes[path] = text


def _is_same(content: Content, known: Content) -> bool:
    """Whether the file is equal already, so that its form and its comments can stay."""
    whole = all(isinstance(value, dict) for value in (*content.values(), *known.values()))
    if whole and content.keys() == known.keys():
        return all(same_policy(content[name], known[name]) for name in content)
    return same_policy(content, known)
