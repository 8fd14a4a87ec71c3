from __future__ import annotations

import io
import json
import signal
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, settings

from lambda_function import handler
from lambda_function.cli import main as shell
from lambda_function.output.log import logger
from tests.campaigns.crashes.schedule import in_one_thread
from tests.support import botocore_models
from tests.support.clock import Now

# How long an input takes is the machine's doing, and no promise.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")
botocore_models.share()


@pytest.fixture
def one_thread():
    """Calls of a run one after another, so that a seed or a schedule decides and nothing else."""
    with in_one_thread("in turn"):
        yield


@pytest.fixture
def nothing_is_ignored():
    """What this process ignores its children do too, and these tests may run under nohup or in the background."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    ignored = [number for number in numbers if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.fixture
def now(monkeypatch):
    """The clock of handler and command line, at a time of its own: no slot ends because a test took long."""
    clock = Now()
    monkeypatch.setattr(handler, "utc_now", clock)
    monkeypatch.setattr(shell, "datetime", SimpleNamespace(now=lambda _: clock()))
    return clock


@pytest.fixture
def log(monkeypatch):
    """The structured lines so far; the logger took hold of standard output when it was imported."""
    stream = io.StringIO()
    monkeypatch.setattr(logger.registered_handler, "stream", stream)
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
