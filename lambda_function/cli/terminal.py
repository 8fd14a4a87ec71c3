"""The one place where text becomes terminal output: nothing else of the command line may import rich, or print.

Whatever it is given, tag values and AWS's messages among it, is shown with escapes: it moves no cursor, hides nothing
and adds no line to a report.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Iterable, Sequence
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from lambda_function.escapes import escaped, escaped_json
from lambda_function.model.result import ChangeResult, HookResult, VolumeResult

Cell = str | tuple[str, str]
"""A text, or a text and its style."""


class Terminal:
    """A standard stream, whether or not it is a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @classmethod
    def output(cls) -> Self:
        """Redirected output goes to grep and mail, so its tables are not folded at the terminal's width."""
        return cls(Console() if sys.stdout.isatty() else Console(width=240))

    @classmethod
    def errors(cls) -> Self:
        return cls(Console(stderr=True))

    def say(self, text: str, style: str = "") -> None:
        """One line, not wrapped, so that file positions can be clicked and lines grepped."""
        self._console.print(_shown((text, style)), soft_wrap=True)

    def say_lines(self, text: str, style: str = "") -> None:
        """Each line of an error that names several faults."""
        for line in text.split("\n"):
            self.say(line, style)

    def table(self, title: str, narrow: Sequence[str], wide: str, rows: Iterable[Sequence[Cell]]) -> None:
        """Rows under a header; only the last column is folded."""
        heading = _shown((title, "table.title"))
        table = Table(title=heading, title_justify="left", box=None, pad_edge=False, header_style="bold")
        for name in narrow:
            table.add_column(name, no_wrap=True)
        table.add_column(wide, overflow="fold")
        for row in rows:
            table.add_row(*map(_shown, row))
        self._console.print(table)

    def json(self, value: object) -> None:
        """A value for machines, in ASCII."""
        print(escaped_json(json.dumps(value, indent=2)), file=self._console.file)

    def ask(self, question: str) -> str:
        """What the person answers; nothing if nobody does."""
        self._console.print(_shown(question), end=" ", soft_wrap=True)
        with contextlib.suppress(EOFError):
            return self._console.input()
        return ""

    def progress(self) -> ProgressObserver:
        return ProgressObserver(self._console)


def _shown(cell: Cell) -> Text:
    text, style = (cell, "") if isinstance(cell, str) else cell
    return Text(escaped(text), style=style)


def log_to_errors() -> None:
    """Warnings of our own and of libraries, which quote what AWS answered."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_LogFormatter(logging.BASIC_FORMAT))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


class _LogFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return escaped(super().format(record), keep="\n")


class ProgressObserver:
    """A bar on the error stream if that is a terminal, so that output can be redirected.

    If the terminal is gone (SIGHUP), the bar is, too, and the run goes on.
    """

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<9}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("reading", total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._progress.stop()

    def stage(self, name: str, total: int) -> None:
        with contextlib.suppress(OSError):
            self._progress.reset(self._task, description=name, total=total or None)

    def advance(self, steps: int = 1) -> None:
        self._progress.advance(self._task, steps)

    def volume(self, result: VolumeResult) -> None: ...

    def change(self, result: ChangeResult) -> None: ...

    def hook(self, result: HookResult) -> None: ...

    def warning(self, text: str) -> None: ...

    def failure(self, text: str) -> None: ...
