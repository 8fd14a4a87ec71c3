"""What botocore makes of answers that are cut, garbled or contradictory, and what the edge makes of that."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime

import pytest

from lambda_function.aws.clients import build_clients
from lambda_function.aws.ec2 import Ec2Ebs
from lambda_function.aws.parameter_store import ParameterStore
from lambda_function.aws.run_command import RunCommand
from lambda_function.deadline import Deadline
from lambda_function.errors import AwsError, NoAnswerError, RequestRejectedError
from lambda_function.inputs.policy import Parameter
from lambda_function.model.ec2 import Consistency, SnapshotState
from lambda_function.model.period import Period
from lambda_function.model.tags import TagKeys
from lambda_function.ports import HookDocument
from tests.support.faults import Faults, answer, error, reset, throttled

COMMAND = "00000000-0000-4000-8000-000000000000"
DOCUMENT = HookDocument("DOC", "1", frozenset())
STARTED = datetime(2026, 3, 2, 0, 5, tzinfo=UTC)


class Edge:
    """The edge's three parts on clients whose requests never leave this process."""

    def __init__(self) -> None:
        self.clients = build_clients("eu-west-1")
        self.faults = Faults()
        clients = self.clients
        keys = TagKeys("AUTO-SNAPSHOT")
        self.ebs = Ec2Ebs(clients, keys)
        self.policies = ParameterStore(clients.ssm, "/p/")
        self.renew()

    def renew(self) -> None:
        self.faults.clear()
        deadline = Deadline(lambda: 900.0, time.sleep, time.monotonic, lambda: datetime.now(UTC))
        self.commands = RunCommand(self.clients, deadline)
        self.commands._documents[COMMAND] = DOCUMENT.name  # as if it had been sent

    def pages(self, operation: str, *bodies: str) -> None:
        self.faults.in_turn(operation, *map(answer, bodies))


@pytest.fixture(scope="module")
def whole():
    with pytest.MonkeyPatch.context() as environment:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            environment.setenv(name, "testing")
        yield Edge()


@pytest.fixture
def edge(whole):
    whole.renew()
    with whole.faults.before(whole.clients):
        yield whole


READS = {
    "DescribeVolumes": lambda edge: edge.ebs.list_volumes(),
    "DescribeSnapshots": lambda edge: edge.ebs.list_snapshots([Period.HOUR]),
    "DescribeLockedSnapshots": lambda edge: edge.ebs.read_locks(["snap-1"]),
    "DescribeInstances": lambda edge: edge.ebs.list_instances(["i-1"]),
    "GetParametersByPath": lambda edge: edge.policies.read(),
    "DescribeDocument": lambda edge: edge.commands.describe_document("DOC"),
    "DescribeInstanceInformation": lambda edge: edge.commands._ping_statuses(["i-0123456789abcdef0"]),
}
WRITES_WITH_AN_ANSWER = {
    "CreateSnapshot": lambda edge: edge.ebs.create_snapshot("vol-1", "", {}),
    "CreateSnapshots": lambda edge: edge.ebs.create_snapshots("i-1", False, [], "", {}),
    "SendCommand": lambda edge: edge.commands.send(
        DOCUMENT, "i-0123456789abcdef0", {"command": ["pre-script"]}, admitted=True
    ),
}
WRITES_WITHOUT_ONE = {
    "DeleteSnapshot": lambda edge: edge.ebs.delete_snapshot("snap-1"),
    "CreateTags": lambda edge: edge.ebs.set_consistency(["snap-1"], Consistency.CRASH),
}
XML = b'<?xml version="1.0"?><DescribeSnapshotsResponse><snapshotSet><item><snapshotId>snap-1</snap'
BODIES = [
    pytest.param(XML, id="XML that ends early"),
    pytest.param(b'{"Parameters": [{"Name": "/p/A", "Val', id="JSON that ends early"),
    pytest.param(b"", id="nothing"),
    pytest.param(b"<html><body>Welcome to the hotel's network</body></html>", id="a page of somebody else"),
    pytest.param(b"null", id="JSON's null"),
    pytest.param(b"[]", id="a list"),
    pytest.param(b'"Service Unavailable"', id="a text"),
    pytest.param(b"{}", id="an empty object"),
    pytest.param(b'{"Parameters": 3, "Document": 3, "Command": 3}', id="a number in place of everything"),
    pytest.param(b'{"Parameters": "\xff', id="bytes that are no text"),
]


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("operation", [*READS, *WRITES_WITH_AN_ANSWER])
def test_an_answer_that_breaks_the_api_s_promise_is_an_error(edge, operation, body):
    """The error names the call; the answer is never a shorter list."""
    edge.faults.on(operation, answer(body))
    with pytest.raises(NoAnswerError) as raised:
        (READS | WRITES_WITH_AN_ANSWER)[operation](edge)
    assert raised.value.operation == operation


@pytest.mark.parametrize("status", [400, 403, 500, 503])
@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("operation", [*READS, *WRITES_WITH_AN_ANSWER, *WRITES_WITHOUT_ONE])
def test_an_error_with_an_unreadable_body_is_still_an_error(edge, operation, body, status):
    edge.faults.on(operation, answer(body, status))
    with pytest.raises(AwsError) as raised:
        (READS | WRITES_WITH_AN_ANSWER | WRITES_WITHOUT_ONE)[operation](edge)
    assert raised.value.operation == operation


@pytest.mark.parametrize("operation", ["DescribeSnapshots", "CreateSnapshot", "DeleteSnapshot"])
def test_an_error_without_code_and_message_is_still_an_error(edge, operation):
    edge.faults.on(operation, answer("<Response><Errors><Error><Code/><Message/></Error></Errors></Response>", 400))
    with pytest.raises(AwsError, match=f"{operation}: Unknown: no message"):
        (READS | WRITES_WITH_AN_ANSWER | WRITES_WITHOUT_ONE)[operation](edge)


@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize("operation", READS)
def test_a_long_body_that_cannot_be_read_is_not_quoted_whole(edge, operation, status):
    edge.faults.on(operation, answer(b"<page>" + b"x" * 100_000, status))
    with pytest.raises(AwsError) as raised:
        READS[operation](edge)
    assert len(str(raised.value)) < 700


@pytest.mark.parametrize("operation", WRITES_WITHOUT_ONE)
def test_a_write_with_a_cut_answer_is_not_taken_as_done(edge, operation):
    edge.faults.on(operation, answer(f'<?xml version="1.0"?><{operation}Response><return>tr'))
    with pytest.raises(NoAnswerError):
        WRITES_WITHOUT_ONE[operation](edge)


@pytest.mark.parametrize("body", BODIES)
def test_a_garbled_encrypted_policy_is_only_its_own_fault(edge, body):
    listed = '{"Parameters": [{"Name": "/p/S", "Type": "SecureString", "Value": "x"}, {"Name": "/p/A", "Value": "y"}]}'
    edge.pages("GetParametersByPath", listed)
    edge.faults.on("GetParameter", answer(body))
    secret, plain = edge.policies.read()
    assert plain == Parameter("/p/A", "y")
    assert secret.value == ""
    assert "GetParameter" in (secret.error or "")


def test_a_decrypted_policy_cut_within_a_character_is_not_quoted(edge):
    edge.pages("GetParametersByPath", '{"Parameters": [{"Name": "/p/S", "Type": "SecureString", "Value": "x"}]}')
    edge.faults.on("GetParameter", answer('{"Parameter": {"Value": "hunter2 é'.encode()[:-1]))
    (secret,) = edge.policies.read()
    assert "GetParameter: UnexpectedAnswer: " in (secret.error or "")
    assert "hunter2" not in (secret.error or "")


@pytest.mark.parametrize(
    "body", [*BODIES, pytest.param(b'{"Status": "InProgress", "ResponseCode": -1}', id="an answer behind the list's")]
)
def test_a_command_with_unreadable_output_proves_nothing(edge, body):
    """The result says why."""
    ended = {"CommandId": COMMAND, "InstanceId": "i-0123456789abcdef0", "Status": "Success"}
    edge.faults.on("ListCommandInvocations", answer(json.dumps({"CommandInvocations": [ended]})))
    edge.faults.on("GetCommandInvocation", answer(body))
    outcome = edge.commands.wait(COMMAND, "i-0123456789abcdef0", time.monotonic() + 5)
    assert outcome.succeeded
    assert not outcome.complete
    assert "GetCommandInvocation" in str(outcome)


@pytest.mark.parametrize("body", BODIES)
def test_a_garbled_list_of_commands_is_read_again(edge, body):
    ended = {"CommandId": COMMAND, "InstanceId": "i-1", "Status": "Success", "CommandPlugins": [{"Output": ""}]}
    edge.faults.in_turn("ListCommandInvocations", answer(body), answer(json.dumps({"CommandInvocations": [ended]})))
    assert edge.commands.wait(COMMAND, "i-1", time.monotonic() + 120).succeeded


def test_a_command_not_seen_to_its_end_is_an_error(edge):
    """It is not a time-out."""
    edge.faults.on("ListCommandInvocations", throttled)
    with pytest.raises(AwsError, match="ListCommandInvocations: ThrottlingException"):
        edge.commands.wait(COMMAND, "i-1", time.monotonic() + 0.1)


# Walks


def snapshot_page(*items: str, token: str = "") -> str:
    more = f"<nextToken>{token}</nextToken>" if token else ""
    return f"<DescribeSnapshotsResponse><snapshotSet>{''.join(items)}</snapshotSet>{more}</DescribeSnapshotsResponse>"


def listed(number: int, state: str = "completed", started: str | None = "2026-03-02T00:05:00.000Z") -> str:
    start = f"<startTime>{started}</startTime>" if started is not None else ""
    tag = "<tagSet><item><key>AUTO-SNAPSHOT-PERIOD</key><value>hour</value></item></tagSet>"
    return (
        f"<item><snapshotId>snap-{number}</snapshotId><volumeId>vol-1</volumeId>"
        f"<status>{state}</status>{start}{tag}</item>"
    )


def snapshots(edge):
    return edge.ebs.list_snapshots([Period.HOUR])


@pytest.mark.parametrize("code", ["InvalidNextToken", "InvalidParameterValue", "InvalidPaginationToken"])
def test_a_token_that_expires_between_pages_is_an_error(edge, code):
    """It is not taken for the end of the list."""
    edge.faults.in_turn("DescribeSnapshots", answer(snapshot_page(listed(1), token="a")), error(code))
    with pytest.raises(RequestRejectedError, match=f"DescribeSnapshots: {code}"):
        snapshots(edge)


def test_a_list_without_an_end_is_an_error_and_not_a_loop(edge):
    edge.pages("DescribeSnapshots", snapshot_page(listed(1), token="a"))
    with pytest.raises(NoAnswerError, match=r"DescribeSnapshots: PaginationError: .* token was received twice"):
        snapshots(edge)


@pytest.mark.parametrize(
    ("first", "second", "state"),
    [
        pytest.param("pending", "completed", SnapshotState.COMPLETED, id="completed meanwhile"),
        pytest.param("pending", "error", SnapshotState.ERROR, id="failed meanwhile"),
        pytest.param("completed", "recoverable", SnapshotState.RECOVERABLE, id="deleted meanwhile"),
    ],
)
def test_a_snapshot_on_two_pages_is_one_in_the_state_last_seen(edge, first, second, state):
    edge.pages(
        "DescribeSnapshots", snapshot_page(listed(1, first), token="a"), snapshot_page(listed(1, second), listed(2))
    )
    assert [(each.id, each.state) for each in snapshots(edge)] == [("snap-1", state), ("snap-2", "completed")]


def test_an_empty_page_with_a_token_is_not_the_end(edge):
    edge.pages("DescribeSnapshots", snapshot_page(token="a"), snapshot_page(listed(1)))
    assert [each.id for each in snapshots(edge)] == ["snap-1"]


def test_a_parameter_on_two_pages_is_one_policy_as_last_seen(edge):
    edge.pages(
        "GetParametersByPath",
        '{"Parameters": [{"Name": "/p/A", "Value": "old"}], "NextToken": "a"}',
        '{"Parameters": [{"Name": "/p/A", "Value": "new"}, {"Name": "/p/B", "Value": "b"}]}',
    )
    assert edge.policies.read() == [Parameter("/p/A", "new"), Parameter("/p/B", "b")]


def test_a_state_that_this_release_does_not_know_is_other(edge):
    edge.pages("DescribeSnapshots", snapshot_page(listed(1, "hibernating")))
    assert [each.state for each in snapshots(edge)] == [SnapshotState.OTHER]


@pytest.mark.parametrize("started", [None, "", "yesterday"])
def test_a_snapshot_without_a_start_time_spoils_the_listing(edge, started):
    """The listing is not just shorter."""
    edge.pages("DescribeSnapshots", snapshot_page(listed(1), listed(2, started=started)))
    with pytest.raises(NoAnswerError, match="DescribeSnapshots"):
        snapshots(edge)


PASSING = [
    pytest.param(throttled, id="throttled"),
    pytest.param(reset, id="connection reset"),
    pytest.param(error("InternalError", 500), id="internal error"),
    pytest.param(error("Unavailable", 503), id="unavailable"),
]


@pytest.mark.parametrize("fault", PASSING)
def test_botocore_retries_a_passing_fault(edge, fault):
    """The listing is whole."""
    edge.faults.in_turn(
        "DescribeSnapshots",
        *(fault, answer(snapshot_page(listed(1), token="a"))),
        *(fault, fault, answer(snapshot_page(listed(2)))),
    )
    assert [each.id for each in snapshots(edge)] == ["snap-1", "snap-2"]


@pytest.mark.parametrize("fault", PASSING)
@pytest.mark.parametrize("operation", [*READS, *WRITES_WITH_AN_ANSWER, *WRITES_WITHOUT_ONE])
def test_a_fault_that_stays_is_an_error_of_the_call(edge, operation, fault):
    """botocore has tried several times by then; a command is sent once, since SSM would run it twice."""
    edge.faults.on(operation, fault)
    with pytest.raises(AwsError) as raised:
        (READS | WRITES_WITH_AN_ANSWER | WRITES_WITHOUT_ONE)[operation](edge)
    assert raised.value.operation == operation
    assert edge.faults.seen[operation] >= (1 if operation == "SendCommand" else 5)
