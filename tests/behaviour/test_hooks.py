"""Hooks: whatever goes wrong, the journal, the tag, the report, and never a freeze left behind."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta

import pytest

from lambda_function.errors import (
    AccessRefusedError,
    AwsError,
    CreationTooSoonError,
    NoAnswerError,
    RequestRejectedError,
)
from lambda_function.hooks.freeze import CREATE_SECONDS
from lambda_function.hooks.stages import CANCEL_SECONDS
from lambda_function.model.result import Outcome
from tests.support.cloud import KEYS, FakeCloud, refused
from tests.support.ssm import CONTRACT, FULL, Reply

PRE, POST = "pre-script", "post-script"


def policy(**fields):
    words = ", ".join(f'"{name}": {value}' for name, value in fields.items())
    return f'{{"hour": 2, "hook_document": "DOC"{", " if words else ""}{words}}}'


@pytest.fixture(params=["skip", "continue"])
def on_failure(request):
    return request.param


@pytest.fixture
def cloud():
    return FakeCloud(policies={"P": policy()})


def lenient(cloud, on_failure, **fields):
    cloud.policies["P"] = policy(hook_on_failure=f'"{on_failure}"', **fields)


def journal(report, number=0):
    """The steps without their times."""
    return [step.split(" s ", 1)[1] for step in report.hooks[number].steps]


def consistency(cloud, volume):
    return [snapshot.tags[KEYS.consistency] for snapshot in cloud.of(volume)]


def scripted(cloud, **replies):
    """The default document, but with these replies by stage: `pre=Reply(...)`, `post=...`."""

    def run(instance_id, parameters):
        command = parameters["command"][0]
        usual = cloud.ssm.run(instance_id, parameters)
        return replies.get(command.removesuffix("-script"), usual)

    cloud.ssm.script = run


def check_undone(cloud, report, volume, on_failure, *, sent=True):
    """After a pre that failed: thawed, and no snapshot or a crash-consistent one as the policy says."""
    assert cloud.ssm.frozen == set()
    assert (POST in [stage for stage, _ in cloud.ssm.stages()]) is sent
    assert report.hooks[0].problem
    if on_failure == "skip":
        assert cloud.of(volume) == []
        assert report.volumes[0].outcome is Outcome.FAILED
        assert report.failures
    else:
        assert consistency(cloud, volume) == ["crash"]
        assert report.failures == ()
        assert any("hook failed" in warning for warning in report.warnings)


def test_an_instance_is_frozen_once_for_all_its_volumes(cloud):
    """They are taken at one instant, and the instance is thawed once."""
    volumes = [cloud.volume(n, instance="i-1") for n in (1, 2, 3)]
    report = cloud.run("hour")
    assert cloud.ssm.stages() == [(PRE, "i-1"), (POST, "i-1")]
    assert cloud.calls("CreateSnapshots") == 1
    assert [consistency(cloud, volume) for volume in volumes] == [["application"]] * 3
    assert [r.consistency for r in report.volumes] == ["application"] * 3
    made = ", ".join(s.id for volume in volumes for s in cloud.of(volume))
    assert journal(report) == [
        "pre-script i-1: sent",
        "pre-script i-1: success",
        f"create snapshots: success ({made})",
        "post-script i-1: sent",
        "post-script i-1: success",
    ]
    assert report.hooks[0].freeze_ms == 500  # as the instance says
    assert report.failures == report.warnings == ()


def test_both_stages_get_the_parameters_the_document_declares(cloud):
    """They share one execution id and run the version that was checked."""
    cloud.volume(1, instance="i-1")
    cloud.policies["P"] = policy(hook_parameters='{"flavour": ["a", "b"]}')
    cloud.ssm.documents["DOC"] = FULL | {"flavour"}
    cloud.run("hour")
    pre, post = cloud.ssm.sent
    assert pre.document.version == post.document.version == "3"
    assert pre.parameters["executionId"] == post.parameters["executionId"]
    assert {name: value for name, value in pre.parameters.items() if name != "executionId"} == {
        "command": [PRE],
        "period": ["hour"],
        "policy": ["P"],
        "volumeIds": ["vol-00000001"],
        "timeoutSeconds": ["60"],
        "notAfter": [str(int((cloud.clock.now - timedelta(seconds=3)).timestamp()) + 60)],
        "flavour": ["a", "b"],
    }
    assert post.parameters["snapshotIds"] == [cloud.of("vol-00000001")[0].id]
    assert "notAfter" not in post.parameters


def test_a_document_written_for_dlm_works_unchanged(cloud):
    """Written for Data Lifecycle Manager; the whole set becomes application-consistent."""
    volumes = [cloud.volume(n, instance="i-1") for n in (1, 2)]
    cloud.ssm.documents["DOC"] = CONTRACT
    scripted(cloud, pre=Reply(output="frozen, I dare say"), post=Reply())
    cloud.run("hour")
    assert all(each.parameters.keys() == CONTRACT for each in cloud.ssm.sent)
    assert [consistency(cloud, volume) for volume in volumes] == [["application"]] * 2


@pytest.mark.parametrize("declared", [CONTRACT, FULL], ids=["for DLM", "ours"])
def test_a_step_that_the_agent_skipped_proves_nothing(cloud, declared):
    """The agent reports success for a step whose precondition does not hold."""
    volumes = [cloud.volume(n, instance="i-1") for n in (1, 2)]
    cloud.ssm.documents["DOC"] = declared
    skipped = Reply(output="Step execution skipped due to unsatisfied preconditions: platformType")
    scripted(cloud, pre=skipped, post=skipped)
    report = cloud.run("hour")
    assert [consistency(cloud, volume) for volume in volumes] == [["crash"]] * 2
    assert report.failures


def test_only_volumes_that_the_document_says_it_froze_are_raised(cloud):
    frozen, root = cloud.volume(1, instance="i-1"), cloud.volume(2, instance="i-1")
    scripted(cloud, pre=Reply(output="auto-snapshots: frozen vol-00000001\n"))
    report = cloud.run("hour")
    assert consistency(cloud, frozen) == ["application"]
    assert consistency(cloud, root) == ["crash"]
    assert report.failures == ()


def test_each_instance_gets_its_own_command_and_execution_id(cloud):
    for n in range(5):
        cloud.volume(n, instance=f"i-{n}")
    cloud.run("hour")
    assert len({each.parameters["executionId"][0] for each in cloud.ssm.sent}) == 5
    assert sorted(cloud.ssm.stages()) == sorted([(stage, f"i-{n}") for n in range(5) for stage in (PRE, POST)])


def test_a_volume_on_two_instances_freezes_both(cloud):
    """Its snapshot becomes application-consistent only if both freezes held."""
    shared = cloud.volume(1, instance="i-1")
    cloud.volumes[shared.id] = shared = type(shared)(shared.id, "in-use", shared.tags, ("i-1", "i-2"))
    cloud.volume(2, instance="i-2")
    report = cloud.run("hour")
    assert cloud.ssm.stages() == [(PRE, "i-1"), (PRE, "i-2"), (POST, "i-2"), (POST, "i-1")]
    assert len(report.hooks) == 1
    assert consistency(cloud, shared) == consistency(cloud, "vol-00000002") == ["application"]


def test_one_instance_is_thawed_when_the_other_cannot_be_frozen(cloud, on_failure):
    lenient(cloud, on_failure)
    shared = cloud.volume(1, instance="i-1")
    cloud.instances["i-2"] = type(cloud.instances["i-1"])("i-2", "running", None, frozenset({shared.id}))
    cloud.volumes[shared.id] = type(shared)(shared.id, "in-use", shared.tags, ("i-1", "i-2"))

    def run(instance_id, parameters):
        usual = cloud.ssm.run(instance_id, parameters)
        return Reply(exit_code=201) if (instance_id, parameters["command"]) == ("i-2", [PRE]) else usual

    cloud.ssm.script = run
    report = cloud.run("hour")
    assert cloud.ssm.stages()[-2:] == [(POST, "i-2"), (POST, "i-1")]
    check_undone(cloud, report, shared, on_failure)


def test_a_frozen_set_excludes_volumes_that_are_not_ours(cloud):
    ours = [cloud.volume(n, instance="i-1") for n in (1, 2)]
    cloud.volume(3, None, instance="i-1")
    cloud.run("hour")
    assert {s.volume_id for s in cloud.snapshots.values()} == {v.id for v in ours}
    assert cloud.ssm.sent[0].parameters["volumeIds"] == ["vol-00000001,vol-00000002"]


@pytest.mark.parametrize("state", ["stopped", None])
def test_nothing_is_sent_where_nothing_runs(cloud, state):
    volume = cloud.volume(1, instance="i-1" if state else None)
    if state:
        cloud.instances["i-1"] = type(cloud.instances["i-1"])("i-1", state, None, frozenset({volume.id}))
    cloud.run("hour")
    assert cloud.ssm.sent == []
    assert consistency(cloud, volume) == ["offline"]


def test_volumes_of_policies_without_a_hook_are_not_frozen(cloud):
    cloud.policies["Q"] = '{"hour": 1}'
    hooked, plain = cloud.volume(1, instance="i-1"), cloud.volume(2, "Q", instance="i-1")
    cloud.run("hour")
    assert cloud.ssm.sent[0].parameters["volumeIds"] == ["vol-00000001"]
    assert consistency(cloud, hooked) == ["application"]
    assert consistency(cloud, plain) == ["crash"]


@pytest.mark.parametrize(
    "pre",
    [
        pytest.param(Reply(exit_code=201, output="fsfreeze: busy"), id="pre fails"),
        pytest.param(Reply(exit_code=204), id="another run holds the freeze"),
        pytest.param(Reply(status="Undeliverable", exit_code=-1), id="pre is undeliverable"),
        pytest.param(Reply(status="DeliveryTimedOut", exit_code=-1), id="pre is not delivered in time"),
        pytest.param(Reply(seconds=math.inf), id="pre never ends"),
        pytest.param(Reply(seconds=61), id="pre is a second too slow"),
    ],
)
def test_post_runs_after_a_failed_pre_and_the_policy_decides(cloud, on_failure, pre):
    lenient(cloud, on_failure)
    volume = cloud.volume(1, instance="i-1")
    scripted(cloud, pre=pre)
    report = cloud.run("hour")
    check_undone(cloud, report, volume, on_failure)
    assert "pre on i-1" in report.hooks[0].problem


@pytest.mark.parametrize("post", [Reply(exit_code=1), Reply(exit_code=202), Reply(seconds=math.inf)])
@pytest.mark.parametrize("count", [1, 2], ids=["alone", "as a set"])
def test_a_failed_pre_and_a_failed_post_still_allow_crash(cloud, on_failure, count, post):
    """A document may know only plain exit codes. Someone must look: the run fails, and nothing is pruned."""
    lenient(cloud, on_failure)
    volumes = [cloud.volume(n, instance="i-1") for n in range(count)]
    old = [cloud.snapshot(volume, "hour", timedelta(hours=hours)) for volume in volumes for hours in (1, 2, 3)]
    scripted(cloud, pre=Reply(exit_code=1), post=post)
    report = cloud.run("hour")
    new = [[each for each in cloud.of(volume) if each not in old] for volume in volumes]
    made = [[each.tags[KEYS.consistency] for each in of_volume] for of_volume in new]
    assert made == [["crash"] if on_failure == "continue" else []] * count
    assert [result.outcome for result in report.volumes] == [Outcome.FAILED] * count
    assert all("pre on i-1: Failed (exit 1)" in line and "look at it" in line for line in report.failures)
    assert all(each.id in cloud.snapshots for each in old)
    if on_failure == "continue":
        assert [result.snapshot_id for result in report.volumes] == [of_volume[0].id for of_volume in new]
        assert all("was made, but hook failed" in line for line in report.failures)
        # Lambda's retry finds the slot done: only this run can say it.
        assert len(report.unrepeatable_failures) == count
        assert cloud.run("hour").count(Outcome.ALREADY_DONE) == count


def test_a_crash_snapshot_refused_too_leaves_the_hook_s_failure(cloud):
    lenient(cloud, "continue")
    cloud.volume(1, instance="i-1")
    scripted(cloud, pre=Reply(exit_code=1), post=Reply(exit_code=1))

    def refuse(operation, target):
        if operation == "CreateSnapshot":
            raise refused(operation)

    cloud.before = refuse
    report = cloud.run("hour")
    (line,) = report.failures
    assert "hook failed: pre on i-1" in line
    assert "look at it, it may still be frozen" in line
    assert "no snapshot: CreateSnapshot: UnauthorizedOperation" in line


def test_a_late_pre_is_cancelled_first_and_thawed_then(cloud, on_failure):
    lenient(cloud, on_failure)
    cloud.volume(1, instance="i-1")
    scripted(cloud, pre=Reply(seconds=500))
    report = cloud.run("hour")
    assert journal(report) == [
        "pre-script i-1: sent",
        "cancel i-1: sent (pre-script took more than 60 s)",
        "pre-script i-1: timed out (not finished after 60 s, cancelled)",
        "post-script i-1: sent",
        "post-script i-1: success",
    ]


def test_a_crash_consistent_snapshot_is_taken_after_the_thaw(cloud):
    lenient(cloud, "continue")
    cloud.volume(1, instance="i-1")
    scripted(cloud, pre=Reply(exit_code=201))
    seen: list[str] = []
    cloud.before = lambda operation, target: seen.append(operation) if operation == "CreateSnapshot" else None
    cloud.ssm.before = lambda operation, target: seen.append(operation)
    cloud.run("hour")
    assert seen.index("SendCommand post-script") < seen.index("CreateSnapshot")


@pytest.mark.parametrize(
    ("prepare", "expected"),
    [
        (lambda cloud: cloud.ssm.documents.clear(), "document DOC: DescribeDocument: InvalidDocument"),
        (
            lambda cloud: cloud.ssm.documents.update(DOC=frozenset({"command"})),
            "does not declare the parameter executionId",
        ),
        (lambda cloud: cloud.ssm.offline.update({"i-1": "is not managed by SSM"}), "i-1 is not managed by SSM"),
        (
            lambda cloud: cloud.ssm.known_platforms.update({"i-1": "Windows"}),
            "i-1 runs Windows, document DOC is for Linux",
        ),
    ],
    ids=["document missing", "document without the contract", "instance offline", "another platform"],
)
def test_known_faults_are_found_before_anything_is_sent(cloud, on_failure, prepare, expected):
    lenient(cloud, on_failure)
    volume = cloud.volume(1, instance="i-1")
    prepare(cloud)
    report = cloud.run("hour")
    check_undone(cloud, report, volume, on_failure, sent=False)
    assert expected in report.hooks[0].problem


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ('{"colour": ["red"]}', "hook_parameters: document DOC does not declare colour"),
        ('{"command": ["reboot"]}', "hook_parameters must not set command"),
        ('{"volumeIds": ["vol-1"]}', "hook_parameters must not set volumeIds"),
    ],
)
def test_undeclared_parameters_are_named_before_anything_is_sent(cloud, on_failure, parameters, expected):
    lenient(cloud, on_failure, hook_parameters=parameters)
    volume = cloud.volume(1, instance="i-1")
    report = cloud.run("hour")
    check_undone(cloud, report, volume, on_failure, sent=False)
    assert expected in report.hooks[0].problem


def test_documents_and_instances_are_checked_once_a_run(cloud):
    for n in range(6):
        cloud.volume(n, instance=f"i-{n}")
    seen: list[str] = []
    cloud.ssm.before = lambda operation, target: seen.append(operation)
    cloud.run("hour")
    assert seen.count("DescribeDocument") == seen.count("DescribeInstanceInformation") == 1


@pytest.mark.parametrize(
    "error",
    [
        RequestRejectedError("SendCommand", "InvalidInstanceId", "no such instance"),
        AccessRefusedError("SendCommand", "AccessDeniedException", "not allowed"),
    ],
    ids=["rejected", "denied"],
)
def test_a_pre_that_ssm_refuses_outright_needs_no_post(cloud, on_failure, error):
    lenient(cloud, on_failure)
    volume = cloud.volume(1, instance="i-1")

    def refuse(operation, target):
        if operation == f"SendCommand {PRE}":
            raise error

    cloud.ssm.before = refuse
    report = cloud.run("hour")
    check_undone(cloud, report, volume, on_failure, sent=False)


@pytest.mark.parametrize(
    "error",
    [NoAnswerError("SendCommand", "InternalServerError", "try again"), KeyError("Command")],
    ids=["server error", "unreadable answer"],
)
def test_post_follows_a_pre_that_may_have_been_delivered(cloud, on_failure, error):
    lenient(cloud, on_failure)
    volume = cloud.volume(1, instance="i-1")

    def fail(operation, target):
        if operation == f"SendCommand {PRE}":
            raise error

    cloud.ssm.after = fail
    report = cloud.run("hour")
    check_undone(cloud, report, volume, on_failure)


def test_post_follows_a_pre_whose_sending_got_no_answer(cloud, on_failure):
    lenient(cloud, on_failure)
    volume = cloud.volume(1, instance="i-1")

    def lose(operation, target):
        if operation == f"SendCommand {PRE}":
            raise NoAnswerError("SendCommand", "ReadTimeoutError", "no answer")

    cloud.ssm.after = lose
    report = cloud.run("hour")
    check_undone(cloud, report, volume, on_failure)
    assert journal(report)[0].startswith("pre-script i-1: unknown")


@pytest.mark.parametrize(
    "error",
    [
        refused("CreateSnapshot"),
        refused("CreateSnapshot", "RequestLimitExceeded"),
        NoAnswerError("CreateSnapshot", "ReadTimeoutError", "no answer"),
        AwsError("CreateSnapshot", "PendingSnapshotLimitExceeded", "100 pending"),
        ZeroDivisionError("a fault of our own"),
    ],
    ids=["refused", "throttled", "no answer", "too many pending", "unexpected"],
)
def test_a_failed_create_is_thawed_at_once_and_fails_its_volume(cloud, on_failure, error):
    lenient(cloud, on_failure)
    volume = cloud.volume(1, instance="i-1")
    tried = []

    def fail(operation, target):
        if operation == "CreateSnapshot":
            tried.append(cloud.clock.elapsed())
            raise error

    cloud.before = fail
    report = cloud.run("hour")
    assert cloud.ssm.stages() == [(PRE, "i-1"), (POST, "i-1")]
    assert "snapshotIds" not in cloud.ssm.sent[1].parameters
    assert cloud.ssm.frozen == set()
    assert len(tried) == 1, "nothing is waited for while frozen"
    assert report.volumes[0].outcome is Outcome.FAILED
    assert len(report.failures) == 1
    assert cloud.of(volume) == []


def test_a_create_refused_while_frozen_adopts_after_the_thaw(cloud):
    """EC2 refuses it within 15 seconds of another snapshot; the adopted one stays crash-consistent."""
    volume = cloud.volume(1, instance="i-1")

    def beside(operation, target):
        if operation == "CreateSnapshot":
            cloud.snapshot(volume, "hour").tags[KEYS.consistency] = "crash"
            raise CreationTooSoonError(operation, "SnapshotCreationPerVolumeRateExceeded", "too soon")

    cloud.before = beside
    report = cloud.run("hour")
    assert report.volumes[0].outcome is Outcome.ALREADY_DONE
    assert consistency(cloud, volume) == ["crash"]
    assert report.failures == ()


@pytest.mark.usefixtures("one_thread")
def test_room_is_waited_for_before_the_freeze_not_within_it(cloud):
    cloud.pending_cap, cloud.pending_for = 2, timedelta(seconds=30)
    volumes = [cloud.volume(n, instance=f"i-{n}") for n in range(6)]

    def waits_thawed(operation, target):
        if (operation, target) == ("DescribeSnapshots", "pending"):
            assert cloud.ssm.frozen == set()

    cloud.before = waits_thawed
    report = cloud.run("hour")
    assert report.failures == ()
    assert [consistency(cloud, volume) for volume in volumes] == [["application"]] * 6
    assert max(hook.freeze_ms or 0 for hook in report.hooks) < 1000


def test_policies_sharing_a_hook_freeze_an_instance_in_turn(cloud):
    cloud.policies["Q"] = policy()
    for n, name in enumerate("PQPQ"):
        cloud.volume(n, name, instance="i-1")
    order = []
    cloud.ssm.before = lambda operation, target: order.append(operation) if operation.startswith("Send") else None
    report = cloud.run("hour")
    assert order == [f"SendCommand {PRE}", f"SendCommand {POST}"] * 2
    assert [r.consistency for r in report.volumes] == ["application"] * 4


def test_each_instance_gets_only_its_own_volumes(cloud):
    shared, own = cloud.volume(1, instance="i-1"), cloud.volume(2, instance="i-2")
    cloud.volumes[shared.id] = type(shared)(shared.id, "in-use", shared.tags, ("i-1", "i-2"))
    cloud.run("hour")
    told = {each.instance_id: each.parameters["volumeIds"][0] for each in cloud.ssm.sent}
    assert told == {"i-1": shared.id, "i-2": f"{shared.id},{own.id}"}


def test_no_create_begins_once_a_freeze_has_lasted_too_long(cloud):
    for n in range(4):
        cloud.volume(n, instance="i-1", **{f"k{i}": "v" for i in range(48)})

    def slow(operation, target):
        if operation == "CreateSnapshot":
            cloud.clock.sleep(8)

    cloud.before = slow
    report = cloud.run("hour")
    assert cloud.ssm.frozen == set()
    assert all(hook.freeze_ms <= CREATE_SECONDS * 1000 for hook in report.hooks)


def test_a_freeze_held_by_another_run_is_no_failure(cloud):
    """The other run's snapshot must exist by then."""
    volume = cloud.volume(1, instance="i-1")

    def beside(instance_id, parameters):
        if parameters["command"] == [PRE]:
            cloud.snapshot(volume, "hour")
            return Reply(exit_code=204)
        return Reply(exit_code=205)

    cloud.ssm.script = beside
    report = cloud.run("hour")
    assert report.volumes[0].outcome is Outcome.ALREADY_DONE
    assert report.failures == ()
    # It may be application-consistent by the other's freeze: this run knows only of its own hook.
    (warning,) = report.volumes[0].warnings
    assert warning.startswith("hook failed: pre on i-1: Failed (exit 204)")


@pytest.mark.parametrize("stage", [PRE, POST])
def test_an_output_that_could_not_be_read_proves_nothing(cloud, stage):
    volume = cloud.volume(1, instance="i-1")
    wait = cloud.ssm.wait

    def unread(command_id, instance_id, until):
        outcome = wait(command_id, instance_id, until)
        (command,) = [each for each in cloud.ssm.sent if each.id == command_id]
        return replace(outcome, output="", complete=False) if command.command == stage else outcome

    cloud.ssm.wait = unread
    cloud.run("hour")
    assert consistency(cloud, volume) == ["crash"]


@pytest.mark.parametrize(
    "post",
    [
        pytest.param(Reply(exit_code=202, output="umount?"), id="post fails"),
        pytest.param(Reply(seconds=math.inf), id="post times out"),
        pytest.param(Reply(status="Undeliverable", exit_code=-1), id="post is undeliverable"),
    ],
)
def test_a_failed_post_fails_the_run_and_names_the_instance(cloud, on_failure, post):
    """The snapshot stays crash-consistent."""
    lenient(cloud, on_failure)
    volume = cloud.volume(1, instance="i-1")
    for hours in (1, 2, 3):
        cloud.snapshot(volume, "hour", timedelta(hours=hours)).tags[KEYS.consistency] = "crash"
    scripted(cloud, post=post)
    report = cloud.run("hour", seconds=3000)
    assert consistency(cloud, volume) == ["crash"] * 4, "not raised, and not pruned in this run"
    assert report.volumes[0].outcome is Outcome.FAILED
    assert "post on i-1" in report.failures[0]
    assert "it may still be frozen" in report.failures[0]


def test_only_a_post_without_a_verdict_is_sent_again(cloud):
    cloud.volume(1, instance="i-1")
    replies = [Reply(status="Undeliverable", exit_code=-1), Reply(output="auto-snapshots: held yes\n")]

    def run(instance_id, parameters):
        usual = cloud.ssm.run(instance_id, parameters)
        return replies.pop(0) if parameters["command"] == [POST] else usual

    cloud.ssm.script = run
    report = cloud.run("hour")
    assert [stage for stage, _ in cloud.ssm.stages()] == [PRE, POST, POST]
    assert len({each.parameters["executionId"][0] for each in cloud.ssm.sent}) == 1
    assert report.failures == ()


@pytest.mark.parametrize(
    "post",
    [
        pytest.param(Reply(exit_code=203), id="the dead man's thaw came first"),
        pytest.param(Reply(exit_code=205), id="it was not frozen at all"),
        pytest.param(Reply(output="auto-snapshots: held no\n"), id="the lock was lost on the way"),
    ],
)
def test_a_freeze_that_did_not_hold_leaves_the_snapshot_crash(cloud, on_failure, post):
    """The policy decides whether that is a failure."""
    lenient(cloud, on_failure)
    volume = cloud.volume(1, instance="i-1")
    scripted(cloud, post=post)
    report = cloud.run("hour")
    assert consistency(cloud, volume) == ["crash"]
    assert report.hooks[0].problem
    assert bool(report.failures) is (on_failure == "skip")
    assert [stage for stage, _ in cloud.ssm.stages()] == [PRE, POST]


@pytest.mark.parametrize("seconds", [5, 2 * 60 + CREATE_SECONDS + 2 * CANCEL_SECONDS - 1])
def test_no_stage_is_begun_that_no_run_s_time_could_also_undo(cloud, on_failure, seconds):
    lenient(cloud, on_failure)
    volume = cloud.volume(1, instance="i-1")
    report = cloud.run("hour", seconds=seconds)
    assert cloud.ssm.sent == []
    if on_failure == "skip":
        assert "s left" in report.failures[0]
    elif seconds > CREATE_SECONDS:
        assert consistency(cloud, volume) == ["crash"]
        assert "s left" in report.warnings[0]
    else:
        assert "s left" in report.deferred[0]


def test_a_freeze_without_time_is_deferred_unless_crash_will_do(cloud, on_failure):
    """It is deferred only where the next run has the time."""
    lenient(cloud, on_failure)
    cloud.policies["Q"] = cloud.policies["P"]
    # Two policies on one instance: one freeze after the other.
    volumes = [cloud.volume(1, instance="i-1"), cloud.volume(2, "Q", instance="i-1")]

    def late(called, target):
        if called == f"SendCommand {PRE}":
            cloud.clock.now += timedelta(seconds=800)

    cloud.ssm.before = late
    report = cloud.run("hour", seconds=900)
    outcomes = [result.outcome for result in report.volumes]
    if on_failure == "continue":  # a crash-consistent one now is better than one that may never come
        assert outcomes == [Outcome.CREATED] * 2
        return
    assert outcomes.count(Outcome.DEFERRED) == 1
    assert len(report.deferred) == 1
    cloud.ssm.before = lambda called, target: None
    again = cloud.run("hour", seconds=900)
    assert again.deferred == ()
    assert all(cloud.of(volume, "hour") for volume in volumes)


@pytest.mark.parametrize("operation", [f"wait {PRE}", "CancelCommand", f"SendCommand {POST}", f"wait {POST}"])
def test_a_thaw_is_retried_when_ssm_throttles(cloud, operation):
    cloud.volume(1, instance="i-1")
    if operation == "CancelCommand":
        scripted(cloud, pre=Reply(seconds=500))
    left = [2]

    def throttle(called, target):
        if called == operation and left[0]:
            left[0] -= 1
            raise refused(called, "ThrottlingException")

    cloud.ssm.before = throttle
    cloud.run("hour", seconds=3000)
    assert cloud.ssm.frozen == set()
    assert (POST, "i-1") in cloud.ssm.stages()


@pytest.mark.parametrize("error", [refused("CreateTags"), ZeroDivisionError("ours")], ids=["refused", "unexpected"])
def test_a_snapshot_whose_tag_cannot_be_raised_stays_crash(cloud, error):
    """The report says so."""
    volume = cloud.volume(1, instance="i-1")

    def fail(operation, target):
        if operation == "CreateTags":
            raise error

    cloud.before = fail
    report = cloud.run("hour")
    assert journal(report)[-1] == "post-script i-1: success"
    assert consistency(cloud, volume) == ["crash"]
    assert "its tag may still say crash" in report.warnings[0]
    assert report.failures == ()


def test_an_unrequested_snapshot_is_deleted_after_the_thaw(cloud):
    for n in (1, 2):
        cloud.volume(n, instance="i-1")

    def attach(operation, target):
        if operation == "CreateSnapshots":
            cloud.volume(9, None, instance="i-1")
        if operation == "DeleteSnapshot":
            assert cloud.ssm.frozen == set()

    cloud.before = attach
    report = cloud.run("hour")
    assert [change.volume_id for change in report.changes] == ["vol-00000009"]
    assert cloud.calls("DeleteSnapshot") == 1


def test_single_creates_replace_a_rejected_set_in_one_freeze(cloud):
    volumes = [cloud.volume(n, instance="i-1", **{f"k{i}": "v" for i in range(48)}) for n in (1, 2)]
    cloud.run("hour")
    assert cloud.ssm.stages() == [(PRE, "i-1"), (POST, "i-1")]
    assert cloud.calls("CreateSnapshot") == 2
    assert [consistency(cloud, volume) for volume in volumes] == [["application"]] * 2


def test_a_dry_run_sends_nothing_and_reports_failing_hooks(cloud):
    cloud.volume(1, instance="i-1")
    cloud.volume(2, instance="i-2")
    cloud.ssm.offline["i-2"] = "is not managed by SSM"
    report = cloud.run("hour", dry_run=True)
    assert cloud.ssm.sent == []
    assert [hook.problem for hook in report.hooks] == ["i-2 is not managed by SSM"]


def test_a_slot_that_is_done_freezes_nothing(cloud):
    cloud.volume(1, instance="i-1")
    cloud.run("hour")
    cloud.ssm.sent.clear()
    cloud.run("hour")
    assert cloud.ssm.sent == []


def test_a_lost_shared_snapshot_is_replaced_under_the_hook(cloud):
    """The volume gets a snapshot of its own, under its hook too."""
    cloud.policies["P"] = policy(day=1)
    volume = cloud.volume(1, instance="i-1")
    cloud.clock.now += timedelta(minutes=30)
    lost = cloud.snapshot(volume, "hour", timedelta(minutes=10), consistency="application")

    def lose(operation, target):
        if target == "recheck":
            cloud.snapshots.pop(lost.id, None)

    cloud.before = lose
    report = cloud.run("day")
    assert cloud.ssm.stages() == [(PRE, "i-1"), (POST, "i-1")]
    assert consistency(cloud, volume) == ["application"]
    assert report.failures == ()


def test_an_unexpected_fault_in_one_freeze_harms_no_other(cloud):
    """It is the failure of that freeze."""
    for n in (1, 2):
        cloud.volume(n, instance=f"i-{n}")

    def burst(operation, target):
        if (operation, target) == (f"wait {PRE}", "i-1"):
            raise ZeroDivisionError("ours")

    cloud.ssm.before = burst
    report = cloud.run("hour")
    assert report.count(Outcome.CREATED) == 1
    assert "unexpected ZeroDivisionError" in report.failures[0] or "ours" in report.failures[0]
    assert cloud.ssm.frozen == set()


def test_a_volume_on_two_instances_is_proved_by_both_documents(cloud):
    """One document's claim is not enough."""
    shared = cloud.volume(1, instance="i-1")
    cloud.volumes[shared.id] = type(shared)(shared.id, "in-use", shared.tags, ("i-1", "i-2"))
    own = cloud.volume(2, instance="i-2")

    def run(instance_id, parameters):
        usual = cloud.ssm.run(instance_id, parameters)
        claims = {"i-1": "", "i-2": f"{shared.id} {own.id}"}
        return (
            Reply(output=f"auto-snapshots: frozen {claims[instance_id]}") if parameters["command"] == [PRE] else usual
        )

    cloud.ssm.script = run
    cloud.run("hour")
    assert consistency(cloud, shared) == ["crash"]
    assert consistency(cloud, own) == ["application"]


def test_only_the_instance_that_did_not_hold_is_named(cloud):
    shared = cloud.volume(1, instance="i-1")
    cloud.volumes[shared.id] = type(shared)(shared.id, "in-use", shared.tags, ("i-1", "i-2"))

    def run(instance_id, parameters):
        usual = cloud.ssm.run(instance_id, parameters)
        return Reply(exit_code=203) if (instance_id, parameters["command"]) == ("i-2", [POST]) else usual

    cloud.ssm.script = run
    report = cloud.run("hour")
    assert report.hooks[0].problem == "post on i-2: it thawed by itself before post (exit 203)"


def test_a_pre_with_an_unknown_outcome_is_cancelled_before_post(cloud):
    cloud.volume(1, instance="i-1")

    def throttle(operation, target):
        if operation == f"wait {PRE}":
            raise refused(operation, "ThrottlingException")

    cloud.ssm.before = throttle
    report = cloud.run("hour")
    assert cloud.ssm.sent[0].cancelled
    assert [step.split(":")[0] for step in journal(report)] == [
        "pre-script i-1", "cancel i-1", "pre-script i-1", "post-script i-1", "post-script i-1",
    ]  # fmt: skip


def test_a_dry_run_predicts_a_snapshot_that_a_hook_will_cost(cloud, on_failure):
    lenient(cloud, on_failure)
    cloud.policies["P"] = cloud.policies["P"].replace("DOC", "nosuch")
    cloud.volume(1, instance="i-1")
    report = cloud.run("hour", dry_run=True)
    (result,) = report.volumes
    if on_failure == "skip":
        assert result.outcome is Outcome.FAILED
        assert "hook failed: document nosuch" in report.failures[0]
    else:
        assert result.outcome is Outcome.WOULD_CREATE
    assert cloud.writes() == []
