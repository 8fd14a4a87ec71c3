"""The thaw: what post says, what is told of it, and how often it is sent."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from lambda_function.errors import AccessRefusedError, AwsError, NoAnswerError, RequestRejectedError
from lambda_function.hooks.freeze import FreezeResult, seconds_needed
from lambda_function.hooks.thaw import CONCLUDE_SECONDS, FOREIGN_SECONDS, PAUSES
from tests.support.freezing import BOTH, HELD, POST, PRE, SECOND, steps
from tests.support.ssm import Reply


def test_the_longest_freeze_of_an_instance_is_reported(two):
    """Whichever instance was thawed first."""
    two.told(POST, "i-1", Reply(output="auto-snapshots: held-ms 900\nauto-snapshots: held yes\n"))
    assert two.around().freeze_ms == 1500


def test_a_freeze_of_less_than_a_millisecond_was_held_for_none(one):
    one.told(POST, "i-1", Reply(output="auto-snapshots: held-ms 0\nauto-snapshots: held yes\n"))
    assert one.around().freeze_ms == 0


def test_what_is_not_measured_lasts_to_the_end_of_post(two):
    """From the end of pre, as seen from here: 1.5 to 5.0 s."""
    two.told(POST, "i-1", Reply(output="auto-snapshots: held yes\n"))
    assert two.around().freeze_ms == 3500


def test_a_freeze_that_outlasted_a_failed_pre_is_reported(one):
    one.told(PRE, "i-1", Reply(exit_code=201))
    assert one.around().freeze_ms == 1500


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
def test_a_post_that_reports_a_problem_proves_nothing(two, reply, problem, thawed):
    two.told(POST, "i-1", reply)
    held = two.around()
    assert [each.command for each in two.ssm.sent] == [PRE, PRE, POST, POST]
    assert held == FreezeResult("result", frozenset(), None, problem, False, thawed, 3500, held.steps)


def test_both_instances_are_named_when_post_fails_on_both(two):
    """They are in the order of the thaws."""
    two.told(POST, "i-1", Reply(exit_code=202))
    two.told(POST, "i-2", Reply(exit_code=205))
    held = two.around()
    assert held.post_error == (
        "post on i-2: it was not frozen (exit 205); post on i-1: Failed (exit 202): look at it, it may still be frozen"
    )
    assert not held.thawed
    assert held.freeze_ms == 3500


def test_a_freeze_not_held_is_not_reported_after_a_failed_pre(one):
    one.told(PRE, "i-1", Reply(exit_code=201))
    one.told(POST, "i-1", Reply(output="auto-snapshots: held no\n"))
    assert one.around().post_error is None


@pytest.mark.parametrize(
    ("output", "error", "why"),
    [("", "", ""), ("", "GetCommandInvocation: AccessDenied", " (GetCommandInvocation: AccessDenied)")],
    ids=["without a reason", "with a reason"],
)
def test_a_post_with_unreadable_output_proves_nothing(one, output, error, why):
    """The result says why."""
    one.incomplete(POST, output, error)
    held = one.around()
    problem = f"post on i-1: the freeze was not held throughout, or that is not known{why}"
    assert (held.post_error, held.thawed, held.proved) == (problem, True, frozenset())


def test_a_freeze_not_held_does_not_quote_policy_parameters(one):
    """The document may have printed them."""
    one.plan = replace(one.plan, parameters={"password": ["swordfish"]})
    one.ssm.documents["DOC"] |= {"password"}
    one.incomplete(POST, "swordfish was wrong")
    assert "swordfish" not in str(one.around())


def test_a_post_with_output_read_in_part_proves_what_it_says(one):
    one.incomplete(POST, "auto-snapshots: held yes\n")
    assert one.around().proved == {BOTH, SECOND}


def test_a_post_without_a_verdict_is_sent_three_times(one):
    """Each attempt has its own time."""
    one.told(POST, "i-1", Reply(seconds=math.inf))
    held = one.around()
    assert steps(held)[2:] == [
        "3.5 s create snapshots: success (snap-1, snap-2)",
        "3.5 s post-script i-1: sent",
        "63.5 s post-script i-1: timed out (not seen to end; it may run later)",
        "64.0 s post-script i-1: sent",
        "124.0 s post-script i-1: timed out (not seen to end; it may run later)",
        "125.0 s post-script i-1: sent",
        "185.0 s post-script i-1: timed out (not seen to end; it may run later)",
    ]
    assert not any(command.cancelled for command in one.ssm.sent), "it may yet thaw"
    assert held.post_error == (
        "post on i-1: timed out (not seen to end; it may run later): look at it, it may still be frozen"
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
    [pytest.param(1, 2, id="just enough time"), pytest.param(-1, 1, id="a second too few")],
)
def test_post_is_sent_again_only_with_time_to_report(one, spare, sent):
    one.told(POST, "i-1", Reply(status="Undeliverable", exit_code=-1), HELD)
    first_ends = 1.5 + 2 + 1.5
    one.left = seconds_needed(one.plan)

    def create():
        one.clock.sleep(2)
        one.left = first_ends + CONCLUDE_SECONDS + PAUSES[-1] + spare
        return "result"

    held = one.around(create)
    assert [each.command for each in one.ssm.sent] == [PRE] + [POST] * sent
    assert held.thawed is (sent == 2)


def test_no_thaw_waits_for_another_that_cannot_be_sent(two):
    """It is sent before the other is tried again, and the other until time is over."""
    tried = []

    def fail(operation, target):
        if (operation, target) == (f"SendCommand {POST}", "i-2"):
            tried.append(two.clock.elapsed())
            raise NoAnswerError("SendCommand", "InternalServerError", "try again")

    two.ssm.before = fail
    two.left = 200.0
    held = two.around()
    assert steps(held)[5:7] == [
        "3.5 s post-script i-2: not sent (SendCommand: InternalServerError: try again)",
        "3.5 s post-script i-1: sent",
    ]
    assert len([step for step in steps(held) if "i-2: not sent" in step]) == 1
    assert tried[:6] == [3.5, 4.0, 5.0, 7.0, 12.0, 17.0]
    assert 200 - CONCLUDE_SECONDS - 2 * PAUSES[-1] <= tried[-1] <= 200 - CONCLUDE_SECONDS
    assert held.post_error == (
        "post on i-2: not sent (SendCommand: InternalServerError: try again): look at it, it may still be frozen"
    )
    assert not held.thawed
    assert held.proved == frozenset()


def test_an_instance_that_is_gone_delays_no_other_s_second_thaw(two):
    two.fail(f"SendCommand {POST}", "i-2", RequestRejectedError("SendCommand", "InvalidInstanceId", "not valid"))
    two.told(POST, "i-1", Reply(status="Undeliverable", exit_code=-1), HELD)
    held = two.around()
    sent = [step.at_seconds for step in held.steps if (step.name, step.target, step.status) == (POST, "i-1", "sent")]
    assert len(sent) == 2
    assert sent[1] - sent[0] < 10


def test_a_foreign_document_is_tried_as_long_as_a_lambda_lives(one):
    """Nothing else may thaw the instance."""
    one.is_foreign()
    one.told(POST, "i-1", Reply(status="Undeliverable", exit_code=-1))
    assert one.around().steps[-1].at_seconds >= FOREIGN_SECONDS


def test_a_foreign_pre_that_was_cancelled_freezes_nothing_later(one):
    one.is_foreign()
    one.told(PRE, "i-1", Reply(seconds=math.inf))
    held = one.around()
    assert (held.thawed, held.post_error) == (True, None)


@pytest.mark.parametrize("is_foreign", [True, False])
def test_a_foreign_pre_that_was_not_seen_to_end_may_freeze_later(one, is_foreign):
    """Ours refuses once its post has run."""
    if is_foreign:
        one.is_foreign()
    one.told(PRE, "i-1", Reply(seconds=math.inf))
    one.fail("CancelCommand", "i-1", AccessRefusedError("CancelCommand", "AccessDeniedException", "no"))
    held = one.around()
    assert held.thawed is not is_foreign
    assert bool(held.post_error) is is_foreign
    assert "pre was not seen to end and may freeze later: look at it" in (held.post_error or "") or not is_foreign


@pytest.mark.parametrize(
    "error",
    [
        RequestRejectedError("SendCommand", "InvalidInstanceId", "not valid"),
        AwsError("SendCommand", "ValidationException", "not valid"),
    ],
)
def test_an_instance_unknown_to_ssm_is_tried_until_self_thaw(one, error):
    """It may be back in time."""
    tried = []

    def fail(operation, _):
        if operation == f"SendCommand {POST}":
            tried.append(one.clock.elapsed())
            raise error

    one.ssm.before = fail
    assert not one.around().thawed
    assert 2 * one.plan.timeout_seconds <= tried[-1] <= 2 * one.plan.timeout_seconds + PAUSES[-1]


def test_a_thaw_that_may_not_be_sent_is_not_tried_again(one):
    tried = []

    def fail(operation, _):
        if operation == f"SendCommand {POST}":
            tried.append(one.clock.elapsed())
            raise AccessRefusedError("SendCommand", "AccessDeniedException", "no")

    one.ssm.before = fail
    held = one.around()
    assert tried == [3.5]
    assert not held.thawed
    assert "AccessDeniedException" in held.post_error


def test_a_thaw_sent_at_the_last_moment_is_not_cancelled(one):
    """There is no time to see it end, and it may be all that ever thaws the instance."""
    one.told(POST, "i-1", Reply(seconds=30))
    one.left = seconds_needed(one.plan)

    def create():
        one.left = one.clock.elapsed() + CONCLUDE_SECONDS - 1
        return "result"

    held = one.around(create)
    assert not any(command.cancelled for command in one.ssm.sent)
    assert [command.command for command in one.ssm.sent] == [PRE, POST]
    assert "not seen to end; it may run later" in held.post_error


def test_a_thaw_that_is_throttled_is_sent_when_there_is_room(one):
    """However often SSM refuses it."""
    one.ssm.limit_sends(1, 0.05)
    held = one.around()
    assert held.thawed
    assert held.proved == {BOTH, SECOND}
    (sent,) = [step.at_seconds for step in held.steps if (step.name, step.status) == (POST, "sent")]
    assert 20 <= sent < 30


@pytest.mark.parametrize("stage", [PRE, POST])
def test_a_command_that_may_not_be_seen_ends_its_stage_at_once(one, stage):
    """Pre is cancelled and thawed; post is sent once."""

    def burst(operation, target):
        if operation == f"wait {stage}":
            raise AccessRefusedError("ListCommandInvocations", "AccessDeniedException", "no")

    one.ssm.before = burst
    held = one.around()
    assert one.ssm.sent[0].cancelled is (stage == PRE)
    assert [each.command for each in one.ssm.sent] == [PRE, POST]
    error = held.pre_error if stage == PRE else held.post_error
    assert "ListCommandInvocations: AccessDeniedException" in error
    assert held.steps[-1].at_seconds < 5


def test_a_post_with_an_unknown_outcome_is_sent_again(one):
    """It is not cancelled."""
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
        "4.0 s post-script i-1: sent",
        "5.5 s post-script i-1: success",
    ]
    assert held.thawed
