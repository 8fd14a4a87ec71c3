"""The built package under AWS's own runtime interface client, with a deadline that kills."""

from __future__ import annotations

import json
import shutil
import signal
import sysconfig
import threading
from datetime import timedelta
from functools import partial
from pathlib import Path
from unittest import mock

import pytest
from moto.ec2.responses.elastic_block_store import ElasticBlockStore

from tests.stack.deployed import loaded_modules
from tests.stack.deployed.package import HERE, ROOT, build
from tests.stack.deployed.runtime_api import ERROR, KILLED, LOAD_ERROR, RESPONSE, sandbox
from tests.support.endpoint import Account, Rules, SnapshotRefusedError, endpoint

PYTHON = ROOT / ".venv-deployed" / "bin" / "python"
HANDLER = "lambda_function.handler.lambda_handler"
YEAR = {"period": "year"}
"""The period whose end no test run is likely to cross."""

RUNTIME = {"awslambdaric", "runtime_client", "simplejson", "snapshot_restore_py", "_distutils_hack"}
"""The runtime interface client, which in Lambda lies in /var/runtime, and what a venv of Python 3.11 starts with."""


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """What `sam build` puts into the package, for this machine's Python and processor."""
    return build(tmp_path_factory.mktemp("package") / "AutoSnapshotsFunction", **HERE)


@pytest.fixture
def rules():
    with endpoint(Rules(create_interval=timedelta(seconds=15))) as (_, rules):
        yield rules


@pytest.fixture
def account(rules):
    made = Account()
    made.policy("P", '{"year": 2}')
    return made


@pytest.fixture
def start(package, account, tmp_path_factory):
    """Start the built handler in a sandbox, with the variables that the template gives it."""
    environ = {
        "AWS_ENDPOINT_URL": account.ec2.meta.endpoint_url,
        "TAG_KEY": "AUTO-SNAPSHOT",
        "POLICIES_PATH": "/auto-snapshots/policies/",
        "METRICS_NAMESPACE": "AutoSnapshots/aws-automatic-snapshots",
    }
    # One folder for all: the bytecode of the first start serves the others, as Lambda's image does.
    scratch = tmp_path_factory.getbasetemp() / "sandboxes"
    return partial(sandbox, PYTHON, package, scratch, environ)


def test_an_ordinary_run_makes_the_snapshot_and_answers_briefly(start, account):
    """It logs JSON lines."""
    volume = account.volume({"AUTO-SNAPSHOT": "P", "Name": "db"})
    with start(HANDLER) as function:
        answer = function.invoke(YEAR)
    (made,) = account.snapshots(volume)
    assert answer.kind == RESPONSE
    assert answer.body["message"] == "year: 1 created, 0 shared, 0 already done, 0 deleted"
    assert answer.body["summary"] == {"created": 1}
    assert answer.body["done"][0].startswith(f"{volume}: created {made['SnapshotId']} (offline)")
    assert made["Tags"] == {
        "AUTO-SNAPSHOT": "P",
        "AUTO-SNAPSHOT-PERIOD": "year",
        "AUTO-SNAPSHOT-CONSISTENCY": "offline",
        "AUTO-SNAPSHOT-SET": made["Tags"]["AUTO-SNAPSHOT-SET"],
        "Name": "db",
    }
    lines = [json.loads(line) for line in function.stdout.read_text().splitlines()]
    (decision,) = [line for line in lines if line.get("volume_id") == volume]
    assert (decision["outcome"], decision["request_id"]) == ("created", answer.request_id)
    assert any(line.get("RunsCompleted") == [1] for line in lines)
    assert function.stderr.read_text() == ""


def test_a_second_invocation_of_a_process_finds_the_slot_done(start, account, rules):
    volume = account.volume({"AUTO-SNAPSHOT": "P"})
    with start(HANDLER) as function:
        first, second = function.invoke(YEAR), function.invoke(YEAR)
    assert [first.body["summary"], second.body["summary"]] == [{"created": 1}, {"already_done": 1}]
    assert first.request_id != second.request_id
    assert len(account.snapshots(volume)) == rules.calls.count("create_snapshot") == 1


def test_a_failure_is_posted_as_an_error_by_name(start, account, rules):
    """The process serves the next invocation."""
    good, bad = account.volume({"AUTO-SNAPSHOT": "P"}), account.volume({"AUTO-SNAPSHOT": "P"})
    rules.failing_volumes.add(bad)
    with start(HANDLER) as function:
        wrong = function.invoke({"period": "fortnight"})
        assert account.snapshots() == []
        failed = function.invoke(YEAR)
        rules.failing_volumes.clear()
        repeated = function.invoke(YEAR)
    assert (wrong.kind, wrong.body["errorType"]) == (ERROR, "ConfigurationError")
    assert '"fortnight": must be one of' in wrong.body["errorMessage"]
    assert (failed.kind, failed.body["errorType"]) == (ERROR, "RunFailedError")
    assert f"- {bad}: " in failed.body["errorMessage"]
    assert "UnauthorizedOperation" in failed.body["errorMessage"]
    assert good not in failed.body["errorMessage"]
    assert (repeated.kind, repeated.body["summary"]) == (RESPONSE, {"created": 1, "already_done": 1})


def test_a_run_with_too_little_time_begins_nothing(start, account, rules):
    """It reports what is deferred before the deadline."""
    volumes = [account.volume({"AUTO-SNAPSHOT": "P"}) for _ in range(3)]
    with start(HANDLER) as function:
        answer = function.invoke(YEAR, seconds=40)
    assert (answer.kind, answer.body["errorType"]) == (ERROR, "RunFailedError")
    for volume in volumes:
        assert f"- {volume}: not begun: " in answer.body["errorMessage"]
    assert answer.left > 0
    assert "create_snapshot" not in rules.calls
    assert account.snapshots() == []


def test_a_hanging_run_is_killed_and_its_repetition_completes_it(start, account):
    """It is killed at its deadline."""
    served, lost, unserved = volumes = [account.volume({"AUTO-SNAPSHOT": "P"}) for _ in range(3)]
    answered, released = ElasticBlockStore.create_snapshot, threading.Event()
    tried = []

    def hang(request):
        """One volume is served; another's create takes effect, unanswered; the third's does neither."""
        volume = request._get_param("VolumeId")
        takes_effect = volume == served or (volume == lost and lost not in tried)
        tried.append(volume)
        answer = answered(request) if takes_effect else None
        if volume == served:
            return answer
        released.wait()
        raise SnapshotRefusedError("Unavailable", "Too late for whoever asked.")

    with start(HANDLER) as function:
        function.invoke({**YEAR, "dry_run": True})  # loads all there is to load, so that the time goes to the creates
        with mock.patch.object(ElasticBlockStore, "create_snapshot", hang):
            killed = function.invoke(YEAR, seconds=50)
            released.set()
        assert function.process.returncode == -signal.SIGKILL
    assert killed.kind == KILLED
    assert tried.count(lost) > 1
    assert tried.count(unserved) > 1
    assert [len(account.snapshots(volume)) for volume in volumes] == [1, 1, 0]
    log = [json.loads(line) for line in function.stdout.read_text().splitlines()]
    told = [line["volume_id"] for line in log if line.get("request_id") == killed.request_id and "outcome" in line]
    assert told == [served]
    with start(HANDLER) as fresh:
        repeated = fresh.invoke(YEAR)
    assert (repeated.kind, repeated.body["summary"]) == (RESPONSE, {"created": 1, "already_done": 2})
    assert [len(account.snapshots(volume)) for volume in volumes] == [1, 1, 1]


def test_a_load_error_is_posted_before_any_event_is_taken(start):
    with start("lambda_function.absent.lambda_handler") as function:
        answer = function.invoke(YEAR)
    assert (answer.kind, answer.body["errorType"]) == (LOAD_ERROR, "Runtime.ImportModuleError")
    assert "lambda_function.absent" in answer.body["errorMessage"]


def test_the_package_loads_only_itself_and_the_standard_library(start, account, package, tmp_path):
    account.volume({"AUTO-SNAPSHOT": "P"})
    shutil.copy(loaded_modules.__file__, tmp_path)
    with start("loaded_modules.handler", tmp_path) as function:
        answer = function.invoke(YEAR)
    assert answer.body["report"]["summary"] == {"created": 1}
    foreign = {
        name: origin
        for name, origin in answer.body["loaded"].items()
        if origin and not _is_expected(Path(origin), package, tmp_path)
    }
    assert foreign == {}
    for name in (
        "lambda_function.run.runner",
        "boto3",
        "botocore",
        "dateutil",
        "pydantic",
        "pydantic_core",
        "aws_lambda_powertools",
    ):
        assert answer.body["loaded"][name].startswith(f"{package}/"), name


def _is_expected(origin, package, of_the_test):
    """Whether the file is the package's, the standard library's, the runtime's, or the test's own handler."""
    library = Path(sysconfig.get_path("stdlib"))
    installed = PYTHON.parent.parent / "lib" / library.name / "site-packages"
    if origin.is_relative_to(installed):
        return origin.relative_to(installed).parts[0].split(".")[0] in RUNTIME
    if origin.is_relative_to(library):
        return "site-packages" not in origin.parts
    return origin.is_relative_to(package) or origin.is_relative_to(of_the_test)
