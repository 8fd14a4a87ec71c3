"""Standard streams that are closed, lost, unbuffered or of a small alphabet must not change what a command does."""

from __future__ import annotations

import io
import os
import sys

_NAMES = ("stdin", "stdout", "stderr")


def prepare_streams() -> None:
    """Before anything is written."""
    _open_missing_streams()
    _escape_what_cannot_be_encoded()
    _buffer_output()


def forget_lost_streams() -> None:
    """At the end: Python would exit with 120 because of what it cannot write to a terminal that is gone."""
    for name in _NAMES[1:]:
        try:
            getattr(sys, name).flush()
        except (OSError, ValueError):
            setattr(sys, name, None)


def _open_missing_streams() -> None:
    """Streams that the shell closed (`2>&-`) lead nowhere, so that no connection gets their number."""
    for number, name in enumerate(_NAMES):
        if getattr(sys, name) is None:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w"))


def _escape_what_cannot_be_encoded() -> None:
    """A tag may hold any character; one that the output's encoding lacks must not hide what a run did.

    Another way that the user chose (`PYTHONIOENCODING=ascii:replace`) stays.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="backslashreplace")


def _buffer_output() -> None:
    """An unbuffered stream (PYTHONUNBUFFERED) drops what is left of a write that a signal cuts short."""
    stream = sys.stdout
    if isinstance(stream, io.TextIOWrapper) and isinstance(raw := stream.buffer, io.RawIOBase):
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(raw), stream.encoding, stream.errors)
