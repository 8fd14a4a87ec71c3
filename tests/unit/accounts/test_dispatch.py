"""An event is given on to each target and the own place: once, for its slot, whatever becomes of the others."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest

from lambda_function.accounts.dispatch import fan_out, is_for_all_targets
from lambda_function.errors import AwsError
from lambda_function.inputs.event import parse_event
from lambda_function.inputs.targets import TargetSet
from lambda_function.model.period import Period
from lambda_function.model.request import RunRequest, Target

NOW = datetime(2026, 3, 2, 0, 5, tzinfo=UTC)
OWN = "123456789012/eu-west-1"
NAMES = ("111122223333/eu-west-1", "111122223333/us-east-1", "222233334444/eu-west-1")


def targets(*names, faults=()):
    return TargetSet({name: Target(name[:12], name[13:], "r") for name in names}, tuple(faults))


class SelfInvoker:
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


def test_each_target_and_home_get_the_event():
    """The event has their name and the time of this run."""
    self_invoker = SelfInvoker()
    event = {"period": "day", "policies": ["P"], "force": True}
    outcome = fan_out(RunRequest(Period.DAY, NOW, force=True), event, targets(*NAMES), OWN, self_invoker)
    everybody = sorted((*NAMES, OWN))
    assert self_invoker.sorted() == [
        {**event, "time": "2026-03-02T00:05:00+00:00", "target": name} for name in everybody
    ]
    assert outcome.started == (OWN, *NAMES)
    assert outcome.target_faults == ()


def test_home_among_the_targets_has_one_run():
    """Home is the function's own account and Region."""
    self_invoker = SelfInvoker()
    fan_out(RunRequest(Period.DAY, NOW), {"period": "day"}, targets(*NAMES, OWN), OWN, self_invoker)
    assert [event["target"] for event in self_invoker.sorted()] == sorted((*NAMES, OWN))


def test_the_home_run_reports_what_could_not_be_started():
    """The others have their runs."""
    self_invoker = SelfInvoker(refuses=NAMES[1:2])
    found = targets(*NAMES, faults=["/t/x: must be an object"])
    outcome = fan_out(RunRequest(Period.DAY, NOW), {"period": "day"}, found, OWN, self_invoker)
    assert outcome.started == (OWN, NAMES[0], NAMES[2])
    assert outcome.target_faults == (
        "/t/x: must be an object",
        f"target {NAMES[1]}: its run could not be started, or that is not known: Invoke: TooManyRequestsException: no",
    )
    (own,) = [event for event in self_invoker.events if event["target"] == OWN]
    assert own["target_faults"] == list(outcome.target_faults)
    parsed = parse_event(own, NOW)
    assert isinstance(parsed, RunRequest)
    assert parsed.target_faults == outcome.target_faults


def test_many_faults_are_counted_so_that_the_event_stays_small():
    self_invoker = SelfInvoker()
    fan_out(
        RunRequest(Period.DAY, NOW),
        {"period": "day"},
        targets(faults=[f"{n:03}" for n in range(100)]),
        OWN,
        self_invoker,
    )
    (own,) = self_invoker.events
    assert own["target_faults"] == [*(f"{n:03}" for n in range(20)), "and 80 more, each in the log"]
    assert isinstance(parse_event(own, NOW), RunRequest)


def test_the_event_is_repeated_if_home_cannot_be_started():
    with pytest.raises(AwsError):
        fan_out(RunRequest(Period.DAY, NOW), {"period": "day"}, targets(*NAMES), OWN, SelfInvoker(refuses=[OWN]))


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        pytest.param(RunRequest(Period.DAY, NOW), True, id="a rule's event"),
        pytest.param(RunRequest(Period.DAY, NOW, force=True, policies=("P",)), True, id="for some policies"),
        pytest.param(RunRequest(Period.DAY, NOW, dry_run=True), False, id="a plan, read where it is asked for"),
        pytest.param(RunRequest(Period.DAY, NOW, target=NAMES[0]), False, id="for one target"),
        pytest.param(RunRequest(Period.DAY, NOW, continuation=1), False, id="a continuation"),
        pytest.param(RunRequest(Period.DAY, NOW, volumes=("vol-1",)), False, id="volumes of one account"),
    ],
)
def test_which_events_are_for_all_targets(request_, expected):
    assert is_for_all_targets(request_) is expected
