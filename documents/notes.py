"""What outlives a stage, in memory and for root only: how an execution ended, and what its keeper holds.

Nothing here is needed for a thaw. A note is written when the thaw is seen; that something is held, before the freeze.
"""

import contextlib
import json
import os
import time
from typing import Any, Dict, List, Optional

from documents.messages import Answer

FOLDER = "/run/auto-snapshots"
ONE_DAY = 24 * 3600


class Notes:
    """Those of one kind of document."""

    def __init__(self, kind: str) -> None:
        self.folder = FOLDER + "/" + kind
        self.program = self.folder + "/program"
        self._ended = self.folder + "/ended"
        self._holding = self.folder + "/holding"

    def prepare(self) -> None:
        """Makes the folders."""
        os.makedirs(self._ended, mode=0o700, exist_ok=True)

    def how_ended(self, execution: str) -> Optional[Answer]:
        """The answer to this execution's post; None while it is open."""
        note = read_json(self._ended + "/" + execution)
        return Answer(note["code"], note["lines"]) if note else None

    def end(self, execution: str, answer: Answer) -> None:
        """Answers a repeated post the same way, and refuses a pre that comes later."""
        write_whole(
            self._ended + "/" + execution, json.dumps({"code": answer.code, "lines": list(answer.lines)}).encode()
        )

    def refuse(self, execution: str) -> None:
        """Its post-script has come: a pre-script that comes later would freeze for nobody."""
        write_whole(f"{self._ended}/{execution}.posted", b"")

    def is_over(self, execution: str) -> bool:
        """Whether its pre-script comes too late."""
        return os.path.exists(f"{self._ended}/{execution}.posted") or self.how_ended(execution) is not None

    def clear_old(self) -> None:
        """Forgets executions of more than a day ago."""
        for name in os.listdir(self._ended):
            path = self._ended + "/" + name
            if os.stat(path).st_mtime < time.time() - ONE_DAY:
                os.unlink(path)

    def hold(self, execution: str, numbers: List[str]) -> None:
        """Said before the freeze, for the case that every process of it is killed."""
        write_whole(self._holding, json.dumps({"execution": execution, "numbers": numbers}).encode())

    def held(self) -> Optional[Dict[str, Any]]:
        """The execution and the devices that are held, or were when their keeper was killed."""
        return read_json(self._holding)

    def release(self) -> None:
        """Nothing is held any more."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._holding)


def read_json(path: str) -> Optional[Dict[str, Any]]:
    """A file of ours; None where there is none or it is not whole."""
    try:
        with open(path) as file:
            content: Dict[str, Any] = json.load(file)
            return content
    except (FileNotFoundError, ValueError):
        return None


def write_whole(path: str, content: bytes) -> None:
    """Writes a file that is there whole or not at all."""
    new = f"{path}.{os.getpid()}"
    with open(new, "wb") as file:
        file.write(content)
    os.rename(new, path)
