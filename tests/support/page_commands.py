"""The commands of a documentation page, to be run as they stand there, with a reader's values put in."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support import aws_cli

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^<!-- (run|run on the instance): ([^\n]+) -->\n```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)


class Page:
    """A page whose blocks are named by a comment before them: `run` at a desk, or `run on the instance`."""

    def __init__(self, name: str) -> None:
        self.text = (DOCS / name).read_text(encoding="utf-8")
        found = BLOCK.findall(self.text)
        self.desk = {name: block for where, name, block in found if where == "run"}
        self.instance = {name: block for where, name, block in found if where != "run"}
        assert len(self.desk) + len(self.instance) == len(found), "two blocks bear the same name"
        self.unnamed = self.text.count("```sh\n") - len(found)

    def script(self, *names: str, **values: str) -> str:
        """These blocks one after the other, with the examples' values replaced; every value must have its place."""
        text = "\n".join({**self.desk, **self.instance}[name] for name in names)
        for key, value in values.items():
            text, places = re.subn(rf"^{key}=\S+$", f"{key}='{value}'", text, flags=re.MULTILINE)
            assert places, f"no block sets {key}"
        return text


def run_at_desk(script: str) -> str:
    """What the script prints, run by bash as a reader would, with this environment's AWS CLI."""
    path = f"{aws_cli.folder()}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "PATH": path, "AWS_PAGER": "", "AWS_CONFIG_FILE": os.devnull},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
