"""The throttled endpoint from outside: starting its process, asking it, ending it. Imports nothing of AWS."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Setting:
    """All seconds are of service time. `pending_cap` 0 means none; `others` is the part that other tools use."""

    factor: float
    epoch: float
    limited: bool = True
    others: float = 0.0
    pending_seconds: float = 0.0
    pending_cap: int = 0
    write_seconds: float = 0.15
    read_seconds: float = 0.1
    refusal_seconds: float = 0.05
    round_trip: float = 0.0
    stage_seconds: float = 0.0


@dataclass(frozen=True)
class Remote:
    """A running endpoint."""

    address: str

    def ask(self, what: str) -> Any:
        request = urllib.request.Request(f"{self.address}/throttled/{what}", data=b"{}", method="POST")
        with urllib.request.urlopen(request, timeout=600) as answer:
            return json.load(answer)

    def environment(self) -> dict[str, str]:
        """For a process that takes this endpoint for AWS."""
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            "AWS_ENDPOINT_URL": self.address,
            "AWS_REGION": "eu-west-1",
            "AWS_DEFAULT_REGION": "eu-west-1",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
        }


@contextmanager
def running(setting: Setting, fleet: dict[str, int]) -> Iterator[Remote]:
    """An endpoint with this fleet (fields of `fleet.Fleet`); limits and counts begin with `ask("begin")`."""
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.support.throttled", json.dumps(asdict(setting)), json.dumps(fleet)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
        text=True,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        line = server.stdout.readline()
        if not line:
            raise RuntimeError(
                "the throttled endpoint did not start: run `python -m tests.support.throttled` to see why"
            )
        yield Remote(json.loads(line)["address"])
    finally:
        server.stdin.close()
        server.wait()
        server.stdout.close()
