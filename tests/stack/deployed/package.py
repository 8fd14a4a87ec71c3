"""The function's package, built as `sam build` builds it."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
HERE = {"PACKAGE_PYTHON": "{}.{}".format(*sys.version_info[:2]), "PACKAGE_PLATFORM": platform.machine()}
"""Variables of the build for the interpreter and the processor that run the tests."""


def build(target: Path, **variables: str) -> Path:
    """Build into `target`, for Lambda's Pythons and processors unless `variables` say otherwise."""
    command = [
        "make",
        "-C",
        str(ROOT),
        "build-AutoSnapshotsFunction",
        f"ARTIFACTS_DIR={target}",
        f"PYTHON={sys.executable}",
    ]
    made = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    return target
