"""The own run starts one for each target: once, for its own slot, whatever becomes of the others."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest

from lambda_function.errors import AwsError
from lambda_function.fan_out import fan_out, is_for_all_targets
from lambda_function.model import Period, RunRequest, Target
from lambda_function.targets import TargetSet

NOW = datetime(2026, 3, 2, 0, 5, tzinfo=UTC)
OWN = "123456789012/eu-west-1"
NAMES = ("111122223333/eu-west-1", "111122223333/us-east-1", "222233334444/eu-west-1")


def targets(*names, faults=()):
    return TargetSet({name: Target(name[:12], name[13:], "r") for name in names}, tuple(faults))


class Queue:
    def __init__(self, refuses=()):
        self.events = []
        self.refuses = refuses
        self._lock = threading.Lock()

    def __call__(self, event):
        if event["target"] in self.refuses:
            raise AwsError("Invoke", "TooManyRequestsException", "no")
        with self._lock:
            self.events.append(event)

    def sorted(self):
        return sorted(self.events, key=lambda event: event["target"])


def test_each_target_gets_the_event_with_its_name_and_the_own_run_s_time():
    queue = Queue()
    event = {"period": "day", "policies": ["P"], "force": True}
    outcome = fan_out(RunRequest(Period.DAY, NOW, force=True), event, targets(*NAMES), OWN, queue)
    assert queue.sorted() == [{**event, "time": "2026-03-02T00:05:00+00:00", "target": name} for name in NAMES]
    assert outcome.started == NAMES
    assert outcome.failures == ()


def test_the_own_account_and_region_among_the_targets_is_served_by_the_own_run_alone():
    queue = Queue()
    outcome = fan_out(RunRequest(Period.DAY, NOW), {"period": "day"}, targets(*NAMES, OWN), OWN, queue)
    assert [event["target"] for event in queue.sorted()] == list(NAMES)
    assert outcome.started == NAMES


def test_a_target_that_could_not_be_started_and_a_faulty_one_are_failures_and_the_others_have_their_runs():
    queue = Queue(refuses=NAMES[1:2])
    found = targets(*NAMES, faults=["/t/x: must be an object"])
    outcome = fan_out(RunRequest(Period.DAY, NOW), {"period": "day"}, found, OWN, queue)
    assert outcome.started == (NAMES[0], NAMES[2])
    assert outcome.failures == (
        "/t/x: must be an object",
        f"target {NAMES[1]}: its run could not be started, or that is not known: Invoke: TooManyRequestsException: no",
    )


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        pytest.param(RunRequest(Period.DAY, NOW), True, id="a rule's event"),
        pytest.param(RunRequest(Period.DAY, NOW, force=True, policies=("P",)), True, id="for some policies"),
        pytest.param(RunRequest(Period.DAY, NOW, target=NAMES[0]), False, id="for one target"),
        pytest.param(RunRequest(Period.DAY, NOW, continuation=1), False, id="a continuation"),
        pytest.param(RunRequest(Period.DAY, NOW, volumes=("vol-1",)), False, id="volumes of one account"),
    ],
)
def test_which_events_are_for_all_targets(request_, expected):
    assert is_for_all_targets(request_) is expected
