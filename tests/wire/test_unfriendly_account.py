"""Over HTTP: parameters that are no policies, tags at their limits, and snapshots that others have a hand on."""

from __future__ import annotations

import base64
import json
from datetime import timedelta

import pytest

from lambda_function.errors import AwsError
from tests.support.faults import denied, error, lost_answer, throttled, through, truncated_answer
from tests.support.run_command_endpoint import Reply
from tests.wire.unfriendly import KEYS, unfriendly_world

HOUR = timedelta(hours=1)
OTHER_ACCOUNT = "210987654321"
HOOKED = '{"hour": 2, "hook_document": "DOC", "hook_timeout_seconds": 10}'


@pytest.fixture(scope="module")
def whole():
    with unfriendly_world() as world:
        yield world


@pytest.fixture
def world(whole):
    renewed = whole.renew()
    renewed.account.policy("P", '{"hour": 2}')
    return renewed


def with_old_ones(world, policy="P"):
    """A volume with more snapshots than are kept."""
    volume = world.account.volume({KEYS.selection: policy})
    for hours in (1, 2, 3, 4):
        world.snapshot(volume, "hour", hours * HOUR, policy)
    return volume


# Parameters

LARGE = json.dumps({"hour": 2, "hook_document": "DOC", "hook_parameters": {"list": ["x" * 8000]}})
GARBAGE = bytes(range(256)) * 8


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("x" * 8192, id="8 KB that are no JSON"),
        pytest.param('{"hour": 2, "colour": "' + "x" * 8000 + '"}', id="8 KB with an unknown field"),
        pytest.param(base64.b64encode(GARBAGE).decode(), id="binary as base64"),
        pytest.param(GARBAGE.decode("latin-1"), id="binary as text, null and control characters included"),
        pytest.param("\ufeff\ufeff{}", id="two byte-order marks"),
        pytest.param("\ufffe{}", id="a byte-order mark the wrong way round"),
        pytest.param('{"hour": 2}'.encode("utf-16").decode("latin-1"), id="UTF-16 read as Latin-1"),
        pytest.param(" ", id="a space"),
        pytest.param('{"hour": 2', id="cut short"),
    ],
)
def test_a_parameter_that_is_no_policy_is_a_short_failure(world, value):
    """It is failed by name, and its volumes lose nothing."""
    world.account.policy("BAD", value)
    bad, good = with_old_ones(world, "BAD"), with_old_ones(world)
    run = world.invoke({"period": "hour"})
    assert run.error is not None
    assert "/auto-snapshots/policies/BAD: " in run.text
    assert len(run.text) < 1000
    assert len(world.of(bad)) == 4
    assert len(run.deleted) == 3
    assert len(world.of(good)) == 2


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("\ufeff" + '{"hour": 2}', id="a byte-order mark"),
        pytest.param("\r\n\t" + '{\r\n"hour": 2\r\n}' + "\r\n", id="an editor's line ends"),
        pytest.param('{"hour": 2}' + " " * 8000, id="8 KB of it spaces"),
    ],
)
def test_a_parameter_that_is_odd_but_clear_is_a_policy(world, value):
    world.account.policy("P", value)
    volume = with_old_ones(world)
    assert world.invoke({"period": "hour"}).error is None
    assert len(world.of(volume)) == 2


def test_eight_kilobytes_of_hook_parameters_are_read_whole(world):
    world.account.policy("P", LARGE)
    with_old_ones(world)
    assert world.invoke({"period": "hour"}).error is None


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(denied, id="no access to its key"),
        pytest.param(error("InvalidKeyId", message="AccessDeniedException: key is disabled"), id="its key is disabled"),
        pytest.param(error("ParameterNotFound"), id="it was deleted after it was listed"),
        pytest.param(throttled, id="throttled for good"),
    ],
)
def test_an_unreadable_encrypted_policy_fails_by_name(world, fault):
    """It harms no other."""
    world.account.policy("S", '{"hour": 2}', kind="SecureString")
    secret, good = with_old_ones(world, "S"), with_old_ones(world)
    world.faults.on("GetParameter", fault)
    run = world.invoke({"period": "hour"})
    assert "/auto-snapshots/policies/S: could not be read and decrypted: GetParameter: " in run.text
    assert (len(world.of(secret)), len(world.of(good))) == (4, 2)


@pytest.mark.parametrize("event", [{"period": "hour"}, {"period": "hour", "force": True}])
def test_volumes_of_a_deleted_policy_are_left_alone_and_named(world, event):
    volume = with_old_ones(world, "GONE")
    run = world.invoke(event)
    assert run.error is None
    assert volume in run.text
    assert len(world.of(volume)) == 4


# Tags


def test_odd_tags_arrive_unchanged_or_are_named_as_left_out(world):
    """They have every allowed character, and are full to fifty."""
    odd = {
        "+ - = . _ : / @": "+ - = . _ : / @",
        "Grüße, 世界 ✓ 🗄": "Ünïcödé 日本語 🗄 \u202eabc",
        "k" * 128: "v" * 256,
        "empty": "",
        "&?#%<>\"'\\;|*": "&?#%<>\"'\\;|*%41&amp;",
        " leading and trailing ": " x ",
        "Name": "<b>db</b>",
        KEYS.selection: "P",
    }
    filling = {f"filling-{number:02}": "x" for number in range(50 - len(odd))}
    volume = world.account.volume({**odd, **filling})
    run = world.invoke({"period": "hour"})
    (made,) = world.of(volume)
    tags = world.backend.tags[made]
    assert run.error is None
    assert len(tags) == 50
    assert {key: tags[key] for key in odd} == odd
    left_out = sorted(filling.keys() - tags.keys())
    assert len(left_out) == 3
    assert f"tags left out, no room: {', '.join(left_out)}" in run.text


def test_a_set_of_volumes_with_odd_tags_gets_each_one_s_own(world):
    instance = world.account.instance()
    values = ("Grüße 世界 🗄", "&?#%<>\"'\\")
    volumes = [world.account.volume({KEYS.selection: "P", "Name": value}, instance) for value in values]
    run = world.invoke({"period": "hour"})
    assert run.error is None
    assert [world.tag(world.of(volume)[0], "Name") for volume in volumes] == list(values)


@pytest.mark.parametrize("name", ["P ", " P", "p", "\uff30", "P\u200b", "*", "P?", "🗄", "../P", "P/Q", ""])
def test_a_tag_that_resembles_a_policy_s_name_selects_nothing(world, name):
    """It is reported."""
    volume = with_old_ones(world, name)
    run = world.invoke({"period": "hour"})
    assert run.error is None
    assert volume in run.text
    assert (run.writes, len(world.of(volume))) == ([], 4)


# Others' hands


def test_other_accounts_snapshots_with_our_key_are_not_listed(world):
    volume = with_old_ones(world)
    foreign = world.snapshot(volume, "hour", timedelta(minutes=1))
    world.backend.snapshots[foreign].owner_id = OTHER_ACCOUNT
    run = world.invoke({"period": "hour"})
    assert run.error is None
    assert run.deleted
    assert foreign not in run.deleted
    assert len(world.of(volume)) == 3, "it neither served the slot nor counted"
    reading = [parameters for name, parameters in world.rules.requests if name == "describe_snapshots"]
    assert len(reading) == 3
    assert all(parameters["OwnerIds"] == ["self"] for parameters in reading)


def test_a_snapshot_shared_with_accounts_is_like_any_other(world):
    """It is kept and deleted in its turn."""
    volume = with_old_ones(world)
    oldest = min(world.of(volume), key=lambda each: world.backend.snapshots[each].start_time)
    world.account.ec2.modify_snapshot_attribute(
        SnapshotId=oldest, Attribute="createVolumePermission", OperationType="add", UserIds=[OTHER_ACCOUNT]
    )
    assert oldest in world.invoke({"period": "hour"}).deleted


def test_an_archived_snapshot_counts_and_goes_like_any_other(world):
    """EC2 lists it as completed, whichever tier it is in; how to keep one is in the restore page."""
    volume = with_old_ones(world)
    oldest = min(world.of(volume), key=lambda each: world.backend.snapshots[each].start_time)
    world.account.ec2.modify_snapshot_tier(SnapshotId=oldest, StorageTier="archive")
    assert oldest in world.invoke({"period": "hour"}).deleted


@pytest.mark.parametrize(
    "code",
    ["IncorrectState", "SnapshotLocked", "InvalidSnapshot.InUse", "OperationNotPermitted", "DependencyViolation"],
)
def test_a_refused_deletion_is_reported_and_stops_no_other(world, code):
    """EC2's reason is reported, whatever it is."""
    with_old_ones(world)
    world.faults.in_turn("DeleteSnapshot", error(code, message="the reason"), through)
    run = world.invoke({"period": "hour"})
    assert len(run.deleted) == 2
    assert "the reason" in run.text


# Answers that do not come


def to_create(world, operation):
    """Volumes that one call of this kind serves."""
    world.rules.create_interval = timedelta(seconds=15)
    if operation == "CreateSnapshot":
        return [world.account.volume({KEYS.selection: "P"})]
    instance = world.account.instance()
    return [world.account.volume({KEYS.selection: "P"}, instance) for _ in range(2)]


@pytest.mark.parametrize("operation", ["CreateSnapshot", "CreateSnapshots"])
def test_a_create_with_a_lost_answer_is_found_and_not_repeated(world, operation):
    volumes = to_create(world, operation)
    world.faults.in_turn(operation, lost_answer, through)
    run = world.invoke({"period": "hour"})
    assert run.error is None
    assert world.faults.seen[operation] >= 2
    assert [len(world.of(volume)) for volume in volumes] == [1] * len(volumes)


@pytest.mark.parametrize("operation", ["CreateSnapshot", "CreateSnapshots"])
def test_a_create_with_a_cut_answer_fails(world, operation):
    """The repetition finds it done."""
    volumes = to_create(world, operation)
    world.faults.in_turn(operation, truncated_answer, through)
    first, second = world.invoke({"period": "hour"}), world.invoke({"period": "hour"})
    assert operation in first.text
    assert (second.error, second.writes) == (None, [])
    assert [len(world.of(volume)) for volume in volumes] == [1] * len(volumes)


@pytest.mark.parametrize("fault", [lost_answer, truncated_answer])
def test_a_deletion_with_a_cut_answer_is_done(world, fault):
    """The other deletions are done, too."""
    volume = with_old_ones(world)
    world.faults.in_turn("DeleteSnapshot", fault, through)
    run = world.invoke({"period": "hour"})
    assert len(run.deleted) == 3
    assert len(world.of(volume)) == 2
    assert (run.error is None) is (fault is lost_answer)


# The clock and the signature


@pytest.mark.parametrize("code", ["RequestExpired", "AuthFailure", "InvalidSignatureException", "ExpiredToken"])
@pytest.mark.parametrize("operation", ["GetParametersByPath", "DescribeVolumes", "DescribeSnapshots"])
def test_a_clock_too_far_off_ends_the_run_before_any_write(world, operation, code):
    """AWS refuses signatures made so far off."""
    with_old_ones(world)
    world.faults.on(operation, error(code, 403))
    run = world.invoke({"period": "hour"})
    assert isinstance(run.error, AwsError)
    assert (run.error.operation, run.error.code) == (operation, code)
    assert run.writes == []


# While something is frozen


def hooked(world):
    world.account.policy("P", HOOKED)
    world.account.document("DOC")
    instance = world.account.instance()
    return instance, world.account.volume({KEYS.selection: "P"}, instance)


def test_nothing_is_frozen_whose_end_could_never_be_seen(world):
    """The failure names the permission."""
    _, volume = hooked(world)
    world.faults.on("ListCommandInvocations", denied)
    run = world.invoke({"period": "hour"})
    assert "ListCommandInvocations: AccessDeniedException" in run.text
    assert world.rules.agents.sent == []
    assert world.of(volume) == []


def test_a_permission_lost_on_the_way_ends_a_freeze_at_once(world):
    instance, _ = hooked(world)
    world.rules.agents.round_trip = 2.0
    world.faults.on("ListCommandInvocations", denied, after=1)
    began = world.clock.monotonic()
    run = world.invoke({"period": "hour"})
    assert "ListCommandInvocations: AccessDeniedException" in run.text
    assert world.rules.agents.stages(instance) == ["pre-script", "post-script"]
    assert world.faults.seen["CancelCommand"] == 1
    assert world.clock.monotonic() - began < 5
    world.clock.sleep(10)
    assert world.rules.agents.frozen == set()


@pytest.mark.parametrize("fault", [throttled, error("InternalServerError", 500)])
def test_a_thaw_is_sent_though_commands_cannot_be_listed(world, fault):
    """The failure says why."""
    instance, volume = hooked(world)
    world.faults.on("ListCommandInvocations", fault)
    run = world.invoke({"period": "hour"})
    assert world.rules.agents.frozen == set()
    assert world.rules.agents.stages(instance)[:2] == ["pre-script", "post-script"]
    assert "ListCommandInvocations" in run.text
    assert f"post on {instance}: " in run.text
    assert world.of(volume) == []


def test_commands_not_listed_for_a_while_cost_only_time(world):
    _, volume = hooked(world)
    world.faults.on("ListCommandInvocations", throttled, after=1, times=5)
    run = world.invoke({"period": "hour"})
    assert run.error is None
    assert world.rules.agents.frozen == set()
    assert [world.tag(each, KEYS.consistency) for each in world.of(volume)] == ["application"]


def test_unreadable_output_leaves_the_snapshot_crash(world):
    """The failure says why."""
    _, volume = hooked(world)
    world.rules.agents.with_plugins = False  # so that it is read from the invocation itself
    world.faults.on("GetCommandInvocation", denied)
    run = world.invoke({"period": "hour"})
    assert "GetCommandInvocation: AccessDeniedException" in run.text
    assert world.rules.agents.frozen == set()
    assert [world.tag(each, KEYS.consistency) for each in world.of(volume)] == ["crash"]


def test_a_freeze_is_thawed_though_its_cancelling_is_throttled(world):
    instance, _ = hooked(world)
    usual = world.rules.agents.well_behaved

    def slow(command):
        reply = usual(command)
        return Reply(seconds=3600) if command.stage == "pre-script" else reply

    world.rules.agents.scripts = {instance: slow}
    world.faults.on("CancelCommand", throttled)
    run = world.invoke({"period": "hour"})
    assert "CancelCommand" in run.text
    assert world.rules.agents.frozen == set()
