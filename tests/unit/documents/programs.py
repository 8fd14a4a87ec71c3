"""Programs that stand in for a database's client, or for aws."""

from __future__ import annotations

import sys


def program(folder, name, text):
    """A Python program of that name, which finds itself by `__file__`; returns its path."""
    path = folder / name
    path.write_text(f"#!{sys.executable} -IS\n{text}")
    path.chmod(0o700)
    return str(path)
