"""One freeze alone: the whole of what came of it, word for word, for each way in which it can go."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta

import pytest

from lambda_function.errors import AwsError, NoAnswerError, OutOfTimeError, RequestRejectedError
from lambda_function.hook_command import HookPlan
from lambda_function.hooks import CANCEL_SECONDS, Freeze, Held, seconds_needed
from lambda_function.ports import CommandOutcome
from lambda_function.time_budget import TimeBudget
from tests.fake_clock import START, Clock
from tests.fake_ssm import FakeSsm, Reply

PRE, POST = "pre-script", "post-script"
BOTH, SECOND = "vol-1", "vol-2"
"""One volume on both instances, one on the second only."""

FROZEN = Reply(output=f"auto-snapshots: frozen {BOTH},{SECOND}\n")
HELD = Reply(output="auto-snapshots: held-ms 1500\nauto-snapshots: held yes\n")
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


class Freezing:
    """Two instances whose documents do as they are told; one that is told nothing freezes and holds."""

    def __init__(self, *instance_ids):
        self.clock = Clock()
        self.ssm = FakeSsm(self.clock, script=self._reply)
        self.replies = {}
        self.left = 3000.0
        attached = {BOTH: ("i-1", "i-2"), SECOND: ("i-2",)} if len(instance_ids) > 1 else {}
        self.plan = HookPlan(
            document=self.ssm.describe_document("DOC"),
            instance_ids=instance_ids,
            volume_ids=(BOTH, SECOND),
            policy="P",
            period="hour",
            timeout_seconds=60,
            attached=attached,
        )

    def _reply(self, instance_id, parameters):
        stage = parameters["command"][0]
        told = self.replies.get((stage, instance_id), [])
        if told:
            return told.pop(0) if len(told) > 1 else told[0]
        return FROZEN if stage == PRE else HELD

    def told(self, stage, instance_id, *replies):
        """These replies, one a command; the last one again and again."""
        self.replies[stage, instance_id] = list(replies)

    def fail(self, operation, instance_id, error, after=False):
        def burst(called, target):
            if (called, target) == (operation, instance_id):
                raise error

        setattr(self.ssm, "after" if after else "before", burst)

    def incomplete(self, stage, output="", error=""):
        """What this stage printed could not be read whole."""
        wait = self.ssm.wait

        def unread(command_id, instance_id, until):
            outcome = wait(command_id, instance_id, until)
            (command,) = [each for each in self.ssm.sent if each.id == command_id]
            if outcome is None or command.command != stage:
                return outcome
            return CommandOutcome(outcome.status, outcome.exit_code, output, error, complete=False)

        self.ssm.wait = unread  # type: ignore[method-assign]

    def around(self, create=None, made=("snap-1", "snap-2")):
        def two_seconds():
            self.clock.sleep(2)
            return "result"

        budget = TimeBudget(
            lambda: self.left - self.clock.elapsed(), self.clock.sleep, self.clock.elapsed, lambda: self.clock.now
        )
        return Freeze(self.plan, self.ssm, budget).around(create or two_seconds, lambda result: list(made))


@pytest.fixture
def two():
    return Freezing("i-1", "i-2")


@pytest.fixture
def one():
    return Freezing("i-1")


def steps(held):
    return [str(step) for step in held.steps]


def test_a_freeze_that_goes_well_proves_all_its_volumes_and_tells_every_step_with_its_time(two):
    two.told(POST, "i-2", Reply(output="auto-snapshots: held-ms 900\nauto-snapshots: held yes\n"))
    held = two.around()
    assert steps(held) == WELL
    assert held == Held("result", frozenset({BOTH, SECOND}), None, None, True, 2000, 1500, held.steps)


def test_the_longest_time_that_an_instance_was_held_is_told_whichever_was_thawed_first(two):
    two.told(POST, "i-1", Reply(output="auto-snapshots: held-ms 900\nauto-snapshots: held yes\n"))
    assert two.around().held_ms == 1500


def test_a_freeze_of_less_than_a_millisecond_was_held_for_none(one):
    one.told(POST, "i-1", Reply(output="auto-snapshots: held-ms 0\nauto-snapshots: held yes\n"))
    assert one.around().held_ms == 0


def test_an_instance_that_measured_nothing_does_not_hide_what_the_other_did(two):
    two.told(POST, "i-1", Reply(output="auto-snapshots: held yes\n"))
    assert two.around().held_ms == 1500


def test_all_instances_are_told_until_when_a_pre_may_begin_and_none_until_when_a_post_may(two):
    two.around()
    not_after = [each.parameters.get("notAfter") for each in two.ssm.sent]
    assert not_after == [[str(int(START.timestamp()) + 60)]] * 2 + [None] * 2


def test_post_is_told_the_execution_of_its_own_instance_and_the_snapshots(two):
    two.around()
    ids = {(each.command, each.instance_id): each.parameters["executionId"] for each in two.ssm.sent}
    assert ids[PRE, "i-1"] == ids[POST, "i-1"] != ids[PRE, "i-2"] == ids[POST, "i-2"]
    assert [each.parameters.get("snapshotIds") for each in two.ssm.sent] == [None] * 2 + [["snap-1,snap-2"]] * 2


@pytest.mark.parametrize(
    ("left", "begun"), [pytest.param(175, True, id="just enough"), pytest.param(174.9, False, id="a moment too few")]
)
def test_a_freeze_begins_only_with_time_for_both_stages_the_create_and_cancelling_both(one, left, begun):
    one.left = left
    assert seconds_needed(one.plan) == 60 + 60 + 45 + 5 + 5
    if begun:
        assert one.around().thawed
        return
    with pytest.raises(OutOfTimeError, match="175 s needed"):
        one.around()
    assert one.ssm.sent == []


def test_a_pre_that_fails_on_one_instance_is_named_and_both_are_thawed(two):
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
    assert held == Held(None, frozenset(), problem, None, True, None, 1500, held.steps)


def test_when_pre_fails_on_both_instances_both_are_named(two):
    two.told(PRE, "i-1", Reply(exit_code=201))
    two.told(PRE, "i-2", Reply(exit_code=204))
    assert two.around().pre_error == "pre on i-1: Failed (exit 201); pre on i-2: Failed (exit 204)"


def test_a_pre_that_takes_too_long_is_cancelled_waited_for_and_thawed(one):
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
def test_a_pre_of_which_nothing_is_known_is_thawed_whether_or_not_it_can_be_cancelled(one, refused):
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


def test_once_a_pre_is_refused_no_other_is_sent_and_only_those_sent_are_thawed(two):
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
    ("error", "told"),
    [
        (NoAnswerError("SendCommand", "ReadTimeoutError", "no answer"), "SendCommand: ReadTimeoutError: no answer"),
        (ValueError(), "ValueError()"),
    ],
    ids=["no answer", "an error without words"],
)
def test_a_pre_whose_sending_got_no_answer_is_not_waited_for_but_thawed(two, error, told):
    two.fail(f"SendCommand {PRE}", "i-1", error, after=True)
    held = two.around()
    assert steps(held) == [
        f"0.0 s pre-script i-1: unknown ({told})",
        "0.0 s post-script i-1: sent",
        "1.5 s post-script i-1: success",
    ]
    assert held.pre_error == f"pre on i-1: {error}"
    assert held.proved == frozenset()


def test_a_create_that_fails_unexpectedly_is_told_and_thawed(one):
    def burst():
        raise ZeroDivisionError("ours")

    held = one.around(burst)
    assert steps(held)[2:] == ["1.5 s post-script i-1: sent", "3.0 s post-script i-1: success"]
    assert held == Held(None, frozenset(), "unexpected ZeroDivisionError: ours", None, True, 0, 1500, held.steps)


def test_a_create_that_made_nothing_proves_nothing_and_is_told(one):
    held = one.around(made=())
    assert "3.5 s create snapshots: failed" in steps(held)
    assert held.proved == frozenset()
    assert held.result == "result"


@pytest.mark.parametrize(
    ("reply", "problem", "thawed"),
    [
        pytest.param(
            Reply(exit_code=202, output="umount?"),
            "post on i-1: Failed (exit 202: umount?): look at it, it may still be frozen",
            False,
            id="it fails",
        ),
        pytest.param(
            Reply(exit_code=203),
            "post on i-1: it thawed by itself before post (exit 203)",
            True,
            id="it thawed by itself",
        ),
        pytest.param(Reply(exit_code=205), "post on i-1: it was not frozen (exit 205)", True, id="it was not frozen"),
        pytest.param(
            Reply(output="auto-snapshots: held no\n"),
            "post on i-1: the freeze was not held throughout, or that is not known",
            True,
            id="it says it was not held",
        ),
    ],
)
def test_what_post_says_of_the_freeze_is_told_and_proves_nothing(two, reply, problem, thawed):
    two.told(POST, "i-1", reply)
    held = two.around()
    assert [each.command for each in two.ssm.sent] == [PRE, PRE, POST, POST]
    assert held == Held("result", frozenset(), None, problem, thawed, 2000, 1500, held.steps)


def test_when_post_fails_on_both_instances_both_are_named_in_the_order_of_the_thaws(two):
    two.told(POST, "i-1", Reply(exit_code=202))
    two.told(POST, "i-2", Reply(exit_code=205))
    held = two.around()
    assert held.post_error == (
        "post on i-2: it was not frozen (exit 205); post on i-1: Failed (exit 202): look at it, it may still be frozen"
    )
    assert not held.thawed
    assert held.held_ms is None


def test_a_freeze_not_held_is_no_second_problem_where_pre_had_failed(one):
    one.told(PRE, "i-1", Reply(exit_code=201))
    one.told(POST, "i-1", Reply(output="auto-snapshots: held no\n"))
    assert one.around().post_error is None


@pytest.mark.parametrize(
    ("output", "error", "why"),
    [("", "", ""), ("", "GetCommandInvocation: AccessDenied", " (GetCommandInvocation: AccessDenied)")],
    ids=["without a reason", "with a reason"],
)
def test_a_post_whose_output_could_not_be_read_proves_nothing_and_says_why(one, output, error, why):
    one.incomplete(POST, output, error)
    held = one.around()
    problem = f"post on i-1: the freeze was not held throughout, or that is not known{why}"
    assert (held.post_error, held.thawed, held.proved) == (problem, True, frozenset())


def test_what_a_document_printed_of_the_policy_s_own_parameters_is_not_told_of_a_freeze_not_held_either(one):
    one.plan = replace(one.plan, parameters={"password": ["swordfish"]})
    one.ssm.documents["DOC"] |= {"password"}
    one.incomplete(POST, "swordfish was wrong")
    assert "swordfish" not in str(one.around())


def test_a_post_whose_output_was_read_in_part_proves_what_it_says(one):
    one.incomplete(POST, "auto-snapshots: held yes\n")
    assert one.around().proved == {BOTH, SECOND}


@pytest.mark.parametrize(
    ("output", "complete", "proved"),
    [
        pytest.param(f"auto-snapshots: frozen {BOTH}\n", True, {BOTH}, id="it names one"),
        pytest.param("auto-snapshots: frozen\n", True, set(), id="it names none"),
        pytest.param("frozen, I dare say", True, {BOTH, SECOND}, id="a foreign document names nothing"),
        pytest.param("", False, set(), id="its output could not be read"),
        pytest.param(f"auto-snapshots: frozen {SECOND}\n", False, {SECOND}, id="read in part, it names one"),
    ],
)
def test_only_what_the_documents_claim_to_have_frozen_is_proved(one, output, complete, proved):
    if complete:
        one.told(PRE, "i-1", Reply(output=output))
    else:
        one.incomplete(PRE, output)
    assert one.around().proved == proved


def test_a_volume_is_proved_only_by_every_instance_that_has_it(two):
    two.told(PRE, "i-1", Reply(output="auto-snapshots: frozen vol-9\n"))
    assert two.around().proved == {SECOND}


def test_a_post_without_a_verdict_is_sent_three_times_each_with_its_own_time(one):
    one.told(POST, "i-1", Reply(seconds=math.inf))
    held = one.around()
    assert steps(held)[2:] == [
        "3.5 s create snapshots: success (snap-1, snap-2)",
        "3.5 s post-script i-1: sent",
        "63.5 s cancel i-1: sent (post-script took more than 60 s)",
        "68.5 s post-script i-1: timed out (not finished after 60 s, cancelled)",
        "68.5 s post-script i-1: sent",
        "128.5 s cancel i-1: sent (post-script took more than 60 s)",
        "133.5 s post-script i-1: timed out (not finished after 60 s, cancelled)",
        "133.5 s post-script i-1: sent",
        "193.5 s cancel i-1: sent (post-script took more than 60 s)",
        "198.5 s post-script i-1: timed out (not finished after 60 s, cancelled)",
    ]
    assert held.post_error == (
        "post on i-1: timed out (not finished after 60 s, cancelled): look at it, it may still be frozen"
    )
    assert not held.thawed


def test_only_the_instance_without_a_verdict_is_sent_post_again(two):
    two.told(POST, "i-1", Reply(status="Undeliverable", exit_code=-1), HELD)
    held = two.around()
    assert [each.instance_id for each in two.ssm.sent if each.command == POST] == ["i-2", "i-1", "i-1"]
    assert held.proved == {BOTH, SECOND}
    assert held.post_error is None


@pytest.mark.parametrize(
    ("spare", "sent"),
    [pytest.param(0, 2, id="just enough time"), pytest.param(-1, 1, id="a second too few")],
)
def test_post_is_sent_again_only_with_time_to_wait_for_it_and_to_cancel_it(one, spare, sent):
    one.told(POST, "i-1", Reply(status="Undeliverable", exit_code=-1), HELD)
    first_ends = 1.5 + 2 + 1.5
    one.left = seconds_needed(one.plan)

    def create():
        one.clock.sleep(2)
        one.left = first_ends + one.plan.timeout_seconds + CANCEL_SECONDS + spare
        return "result"

    held = one.around(create)
    assert [each.command for each in one.ssm.sent] == [PRE] + [POST] * sent
    assert held.thawed is (sent == 2)


def test_a_post_that_cannot_be_sent_is_tried_again_and_told(two):
    two.fail(f"SendCommand {POST}", "i-2", AwsError("SendCommand", "ThrottlingException", "slow down"))
    held = two.around()
    refusal = "3.5 s post-script i-2: not sent (SendCommand: ThrottlingException: slow down)"
    assert steps(held)[5:] == [
        refusal,
        "3.5 s post-script i-1: sent",
        "5.0 s post-script i-1: success",
        *[refusal.replace("3.5", "5.0")] * 2,
    ]
    assert held.post_error == (
        "post on i-2: not sent (SendCommand: ThrottlingException: slow down): look at it, it may still be frozen"
    )
    assert not held.thawed
    assert held.proved == frozenset()


def test_a_post_of_which_nothing_is_known_is_not_cancelled_but_sent_again(one):
    left = [1]

    def burst(operation, target):
        if operation == f"wait {POST}" and left[0]:
            left[0] -= 1
            raise AwsError("GetCommandInvocation", "ThrottlingException", "slow down")

    one.ssm.before = burst
    held = one.around()
    assert not any(each.cancelled for each in one.ssm.sent)
    assert steps(held)[3:] == [
        "3.5 s post-script i-1: sent",
        "3.5 s post-script i-1: unknown (AwsError: GetCommandInvocation: ThrottlingException: slow down)",
        "3.5 s post-script i-1: sent",
        "5.0 s post-script i-1: success",
    ]
    assert held.thawed


def test_the_times_of_the_steps_count_from_the_freeze_s_beginning_and_not_the_run_s(one):
    one.clock.now = START + timedelta(seconds=100)
    assert steps(one.around())[0] == "0.0 s pre-script i-1: sent"
