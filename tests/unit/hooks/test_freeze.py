"""Until the thaw: the whole of what came of a freeze, word for word, for each way in which it can go."""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from lambda_function.errors import (
    AwsError,
    InterruptedRunError,
    NoAnswerError,
    OutOfTimeError,
    RequestRejectedError,
    ThrottledError,
)
from lambda_function.hooks.freeze import FreezeResult, seconds_needed
from tests.support.clock import START
from tests.support.freezing import BOTH, POST, PRE, SECOND, steps
from tests.support.ssm import Reply

WELL = [
    "0.0 s pre-script i-1: sent",
    "0.0 s pre-script i-2: sent",
    "1.5 s pre-script i-1: success",
    "1.5 s pre-script i-2: success",
    "3.5 s create snapshots: success (snap-1, snap-2)",
    "3.5 s post-script i-2: sent",
    "3.5 s post-script i-1: sent",
    "5.0 s post-script i-2: success",
    "5.0 s post-script i-1: success",
]


def test_a_successful_freeze_proves_all_its_volumes(two):
    """Its journal has every step with its time."""
    two.told(POST, "i-2", Reply(output="auto-snapshots: held-ms 900\nauto-snapshots: held yes\n"))
    held = two.around()
    assert steps(held) == WELL
    assert held == FreezeResult("result", frozenset({BOTH, SECOND}), None, None, False, True, 1500, held.steps)


def test_only_a_pre_has_a_latest_start(two):
    """All instances get until when a pre may begin, and none until when a post may."""
    two.around()
    not_after = [each.parameters.get("notAfter") for each in two.ssm.sent]
    assert not_after == [[str(int(START.timestamp()) + 60)]] * 2 + [None] * 2


def test_post_gets_its_instance_s_execution_and_the_snapshots(two):
    two.around()
    ids = {(each.command, each.instance_id): each.parameters["executionId"] for each in two.ssm.sent}
    assert ids[PRE, "i-1"] == ids[POST, "i-1"] != ids[PRE, "i-2"] == ids[POST, "i-2"]
    assert [each.parameters.get("snapshotIds") for each in two.ssm.sent] == [None] * 2 + [["snap-1,snap-2"]] * 2


@pytest.mark.parametrize(
    ("left", "begun"), [pytest.param(175, True, id="just enough"), pytest.param(174.9, False, id="a moment too few")]
)
def test_a_freeze_begins_only_with_time_for_all_of_it(one, left, begun):
    """For both stages, the create, and cancelling both."""
    one.left = left
    assert seconds_needed(one.plan) == 60 + 60 + 45 + 5 + 5
    if begun:
        assert one.around().thawed
        return
    with pytest.raises(OutOfTimeError, match="175 s needed"):
        one.around()
    assert one.ssm.sent == []


def test_an_interruption_prevents_a_freeze_or_knows_of_it(two):
    """It comes as late as it can: the instances are registered already."""
    holding = two.interruption.holding

    @contextmanager
    def interrupted(instance_ids):
        with holding(instance_ids):
            two.interruption.set()
            assert two.interruption.held == ("i-1", "i-2")
            yield

    two.interruption.holding = interrupted
    with pytest.raises(InterruptedRunError):
        two.around()
    assert two.ssm.sent == []
    assert two.interruption.held == ()


def test_a_failed_pre_is_named_and_both_instances_are_thawed(two):
    two.told(PRE, "i-1", Reply(exit_code=201, output="fsfreeze: busy\n"))
    held = two.around()
    assert steps(held) == [
        "0.0 s pre-script i-1: sent",
        "0.0 s pre-script i-2: sent",
        "1.5 s pre-script i-1: failed (exit 201: fsfreeze: busy)",
        "1.5 s pre-script i-2: success",
        "1.5 s post-script i-2: sent",
        "1.5 s post-script i-1: sent",
        "3.0 s post-script i-2: success",
        "3.0 s post-script i-1: success",
    ]
    problem = "pre on i-1: Failed (exit 201: fsfreeze: busy)"
    assert held == FreezeResult(None, frozenset(), problem, None, False, True, 1500, held.steps)


def test_when_pre_fails_on_both_instances_both_are_named(two):
    two.told(PRE, "i-1", Reply(exit_code=201))
    two.told(PRE, "i-2", Reply(exit_code=204))
    assert two.around().pre_error == "pre on i-1: Failed (exit 201); pre on i-2: Failed (exit 204)"


def test_a_slow_pre_is_cancelled_waited_for_and_thawed(one):
    one.told(PRE, "i-1", Reply(seconds=math.inf))
    held = one.around()
    assert one.ssm.sent[0].cancelled
    assert steps(held) == [
        "0.0 s pre-script i-1: sent",
        "60.0 s cancel i-1: sent (pre-script took more than 60 s)",
        "65.0 s pre-script i-1: timed out (not finished after 60 s, cancelled)",
        "65.0 s post-script i-1: sent",
        "66.5 s post-script i-1: success",
    ]
    assert held.pre_error == "pre on i-1: timed out (not finished after 60 s, cancelled)"
    assert held.thawed


@pytest.mark.parametrize("refused", [False, True], ids=["cancelled", "not even cancelled"])
def test_a_pre_with_an_unknown_outcome_is_thawed(one, refused):
    """Whether or not it can be cancelled."""

    def burst(operation, target):
        if operation == f"wait {PRE}" or (refused and operation == "CancelCommand"):
            raise AwsError(operation.split()[0], "ThrottlingException", "slow down")

    one.ssm.before = burst
    held = one.around()
    cancel = "not sent (CancelCommand: ThrottlingException: slow down)" if refused else "sent"
    assert one.ssm.sent[0].cancelled is not refused
    assert steps(held) == [
        "0.0 s pre-script i-1: sent",
        f"0.0 s cancel i-1: {cancel}",
        "0.0 s pre-script i-1: unknown (AwsError: wait: ThrottlingException: slow down)",
        "0.0 s post-script i-1: sent",
        "1.5 s post-script i-1: success",
    ]
    assert held.pre_error == "pre on i-1: unknown (AwsError: wait: ThrottlingException: slow down)"


def test_no_pre_is_sent_after_one_is_refused(two):
    """Only those that were sent are thawed."""
    two.fail(f"SendCommand {PRE}", "i-2", RequestRejectedError("SendCommand", "InvalidInstanceId", "no such instance"))
    two.plan = replace(two.plan, instance_ids=("i-1", "i-2", "i-3"))
    held = two.around()
    assert steps(held) == [
        "0.0 s pre-script i-1: sent",
        "0.0 s pre-script i-2: not sent (SendCommand: InvalidInstanceId: no such instance)",
        "1.5 s pre-script i-1: success",
        "1.5 s post-script i-1: sent",
        "3.0 s post-script i-1: success",
    ]
    assert held.pre_error == "pre on i-2: SendCommand: InvalidInstanceId: no such instance"
    assert held.result is None


@pytest.mark.parametrize(
    ("error", "told", "is_unanswered"),
    [
        (NoAnswerError("SendCommand", "ReadTimeoutError", "late"), "SendCommand: ReadTimeoutError: late", True),
        (ValueError(), "ValueError()", False),
    ],
    ids=["no answer", "an error without words"],
)
def test_an_unanswered_pre_is_not_waited_for_but_thawed(two, error, told, is_unanswered):
    two.fail(f"SendCommand {PRE}", "i-1", error, after=True)
    held = two.around()
    assert steps(held) == [
        f"0.0 s pre-script i-1: unknown ({told})",
        "0.0 s post-script i-1: sent",
        "1.5 s post-script i-1: success",
    ]
    assert held.pre_error == f"pre on i-1: {error}"
    assert held.is_unanswered is is_unanswered
    assert held.proved == frozenset()


def test_a_throttled_pre_leaves_nothing_to_thaw(two):
    two.fail(f"SendCommand {PRE}", "i-1", ThrottledError("SendCommand", "ThrottlingException", "slow down"))
    with pytest.raises(ThrottledError):
        two.around()
    assert two.ssm.sent == []


def test_a_second_pre_that_is_throttled_is_sent_later(two):
    """The first instance may be frozen already."""
    two.ssm.limit_sends(1, 0.2)
    held = two.around()
    assert two.ssm.stages() == [(PRE, "i-1"), (PRE, "i-2"), (POST, "i-2"), (POST, "i-1")]
    assert held.proved == {BOTH, SECOND}


def test_a_second_pre_that_stays_throttled_undoes_the_first(two):
    two.fail(f"SendCommand {PRE}", "i-2", ThrottledError("SendCommand", "ThrottlingException", "slow down"))
    held = two.around()
    assert two.ssm.stages() == [(PRE, "i-1"), (POST, "i-1")]
    assert 60 <= held.steps[1].at_seconds < 65
    assert (held.result, held.thawed, held.is_unanswered) == (None, True, True)
    assert held.pre_error == "pre on i-2: SendCommand: ThrottlingException: slow down"


def test_a_create_that_fails_unexpectedly_is_reported_and_thawed(one):
    def burst():
        raise ZeroDivisionError("ours")

    held = one.around(burst)
    assert steps(held)[2:] == ["1.5 s post-script i-1: sent", "3.0 s post-script i-1: success"]
    assert held == FreezeResult(
        None, frozenset(), "unexpected ZeroDivisionError: ours", None, False, True, 1500, held.steps
    )


def test_an_empty_create_proves_nothing_and_is_reported(one):
    held = one.around(made=())
    assert "3.5 s create snapshots: failed" in steps(held)
    assert held.proved == frozenset()
    assert held.result == "result"


SKIPPED = "Step execution skipped due to unsatisfied preconditions: platformType"


@pytest.mark.parametrize(
    ("is_foreign", "output", "complete", "proved"),
    [
        pytest.param(False, f"auto-snapshots: frozen {BOTH}\n", True, {BOTH}, id="it names one"),
        pytest.param(False, "auto-snapshots: frozen\n", True, set(), id="it names none"),
        pytest.param(False, "frozen, I dare say", True, set(), id="it could name them and is silent"),
        pytest.param(False, SKIPPED, True, set(), id="its step was skipped"),
        pytest.param(False, "", False, set(), id="its output could not be read"),
        pytest.param(False, f"auto-snapshots: frozen {SECOND}\n", False, {SECOND}, id="read in part, it names one"),
        pytest.param(True, "frozen, I dare say", True, {BOTH, SECOND}, id="a foreign document names nothing"),
        pytest.param(True, SKIPPED, True, set(), id="a foreign document's step was skipped"),
        pytest.param(True, "", False, set(), id="a foreign document's output could not be read"),
    ],
)
def test_only_what_the_documents_claim_to_have_frozen_is_proved(one, is_foreign, output, complete, proved):
    if is_foreign:
        one.is_foreign()
    if complete:
        one.told(PRE, "i-1", Reply(output=output))
    else:
        one.incomplete(PRE, output)
    assert one.around().proved == proved


@pytest.mark.parametrize(
    ("is_foreign", "output", "held"),
    [
        pytest.param(False, "auto-snapshots: held yes\n", True, id="it says so"),
        pytest.param(False, "auto-snapshots: held no\n", False, id="it denies it"),
        pytest.param(False, "", False, id="it could say so and is silent"),
        pytest.param(False, SKIPPED, False, id="its step was skipped"),
        pytest.param(True, "", True, id="a foreign document says nothing"),
        pytest.param(True, SKIPPED, False, id="a foreign document's step was skipped"),
    ],
)
def test_a_freeze_is_held_only_if_post_proves_it(one, is_foreign, output, held):
    if is_foreign:
        one.is_foreign()
        one.told(PRE, "i-1", Reply())
    one.told(POST, "i-1", Reply(output=output))
    assert bool(one.around().proved) is held


def test_a_volume_is_proved_only_by_every_instance_that_has_it(two):
    two.told(PRE, "i-1", Reply(output="auto-snapshots: frozen vol-9\n"))
    assert two.around().proved == {SECOND}


def test_step_times_count_from_the_freeze_s_beginning(one):
    """They do not count from the run's."""
    one.clock.now = START + timedelta(seconds=100)
    assert steps(one.around())[0] == "0.0 s pre-script i-1: sent"
