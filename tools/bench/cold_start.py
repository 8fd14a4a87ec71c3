"""What the handler's import and clients cost beside boto3's, in alternating fresh processes.

The clients are those of a run without hooks.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

PAIRS = 15

_MEASURED = """
import json, resource, time
def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
began, used = time.perf_counter(), cpu()
{body}
print(json.dumps([cpu() - used, time.perf_counter() - began]))
"""

_HANDLER = _MEASURED.format(body="from lambda_function import handler\nhandler.clients().ssm")

_BOTO3 = _MEASURED.format(
    body="""
import boto3
from botocore.config import Config
config = Config(
    retries={"mode": "adaptive", "total_max_attempts": 10}, max_pool_connections=16, connect_timeout=5,
    read_timeout=30, user_agent_extra="aws-automatic-snapshots",
)
impatient = config.merge(Config(read_timeout=10))
persistent = config.merge(Config(retries={"mode": "standard", "total_max_attempts": 5}))
session = boto3.Session(region_name="eu-west-1")
clients = [
    session.client(name, config=settings)
    for name, settings in (
        ("ec2", config), ("ec2", impatient), ("ec2", config), ("ssm", persistent)
    )
]
"""
)


@dataclass(frozen=True)
class ColdStart:
    """Medians in seconds; the ratios are medians of each pair's, so that a drifting load cancels out."""

    handler_cpu: float
    handler_wall: float
    boto3_cpu: float
    boto3_wall: float
    cpu_ratio: float
    wall_ratio: float


def environment() -> dict[str, str]:
    return {**os.environ, "AWS_REGION": "eu-west-1", "AWS_CONFIG_FILE": os.devnull}


def measure(pairs: int = PAIRS) -> ColdStart:
    """The first pair, which writes bytecode and fills the disk's cache, does not count."""
    taken = [[*_run(_HANDLER), *_run(_BOTO3)] for _ in range(pairs + 1)][1:]
    ratios = [(ours_cpu / cpu, ours_wall / wall) for ours_cpu, ours_wall, cpu, wall in taken]
    return ColdStart(*_medians(taken), *_medians(ratios))


def _run(program: str) -> list[float]:
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, check=True
    )
    cpu_and_wall: list[float] = json.loads(done.stdout)
    return cpu_and_wall


def _medians(rows: Sequence[Sequence[float]]) -> list[float]:
    return [statistics.median(column) for column in zip(*rows, strict=True)]
