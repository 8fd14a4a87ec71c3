"""The environment variables this software reads, checked before anything else."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from lambda_function.errors import ConfigurationError, quoted
from lambda_function.model.tags import TagKeys

DEFAULT_TAG_KEY = "AUTO-SNAPSHOT"
DEFAULT_POLICIES_PATH = "/auto-snapshots/policies/"
DEFAULT_METRICS_NAMESPACE = "AutoSnapshots"

_NAMES = ("TAG_KEY", "POLICIES_PATH", "TARGETS_PATH", "METRICS_NAMESPACE")

# Room for "-CONSISTENCY" under EC2's limit of 127; no characters that a filter reads as a wildcard.
_TAG_KEY = re.compile(r"[A-Za-z0-9+=._:/@-][A-Za-z0-9 +=._:/@-]{0,113}[A-Za-z0-9+=._:/@-]|[A-Za-z0-9+=._:/@-]")
# CloudWatch's characters and length for a namespace; AWS/ is AWS's own.
_NAMESPACE = re.compile(r"(?!AWS/)[A-Za-z0-9.\-_/#:]{1,255}")
_PATH = re.compile(r"(/[A-Za-z0-9_.-]+){1,14}/?")


@dataclass(frozen=True)
class Settings:
    """Paths begin and end with a slash; `targets_path` is None if only the own account and Region are served."""

    keys: TagKeys
    policies_path: str
    metrics_namespace: str = DEFAULT_METRICS_NAMESPACE
    targets_path: str | None = None

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Raises ConfigurationError naming the variable, its value and what is allowed; see also `near_misses`."""
        key = environ.get("TAG_KEY", DEFAULT_TAG_KEY)
        if not _TAG_KEY.fullmatch(key) or key.lower().startswith("aws:"):
            raise ConfigurationError(
                f"environment variable TAG_KEY: {quoted(key)}: must be a tag key of 1 to 115 letters, digits, spaces "
                "or + - = . _ : / @, not beginning with aws:"
            )
        policies_path = _path("POLICIES_PATH", environ.get("POLICIES_PATH", DEFAULT_POLICIES_PATH))
        targets = environ.get("TARGETS_PATH")
        targets_path = _path("TARGETS_PATH", targets) if targets else None
        if targets_path == policies_path:
            raise ConfigurationError(
                f"environment variable TARGETS_PATH: {quoted(targets)}: must be another path than POLICIES_PATH"
            )
        namespace = environ.get("METRICS_NAMESPACE", DEFAULT_METRICS_NAMESPACE)
        if not _NAMESPACE.fullmatch(namespace):
            raise ConfigurationError(
                f"environment variable METRICS_NAMESPACE: {quoted(namespace)}: must be 1 to 255 letters, digits or "
                ". - _ / # :, not beginning with AWS/"
            )
        return cls(TagKeys(key), policies_path, namespace, targets_path)


def _path(name: str, path: str) -> str:
    if not _PATH.fullmatch(path) or re.match(r"/(aws|ssm)", path, re.IGNORECASE):
        raise ConfigurationError(
            f"environment variable {name}: {quoted(path)}: must be a parameter path such as "
            f"{DEFAULT_POLICIES_PATH}, of letters, digits, _ . - between slashes, not beginning with /aws or /ssm"
        )
    return path.rstrip("/") + "/"


def near_misses(environ: Mapping[str, str]) -> tuple[str, ...]:
    """A line for each variable whose name only resembles one of ours.

    In the stack's own environment that is a mistake. A shell's may belong to another program.
    """
    return tuple(line for name in environ if (line := _near_miss(name)) is not None)


def _near_miss(name: str) -> str | None:
    if name in _NAMES:
        return None
    # 0.9 catches one letter or underscore too many or too few; other programs' names differ more.
    close = difflib.get_close_matches(name.upper(), _NAMES, n=1, cutoff=0.9)
    close = close or (["POLICIES_PATH"] if name.upper() in ("POLICY_PATH", "POLICYPATH") else [])
    text = quoted(name).strip('"')
    return f"environment variable {text}: is not read; did you mean {close[0]}?" if close else None
