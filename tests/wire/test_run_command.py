"""The real edge over HTTP: botocore's requests, pages and errors, against the endpoint's Run Command."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from moto.backends import get_backend

from lambda_function import handler
from lambda_function.accounts.targets import Targets
from lambda_function.app import App
from lambda_function.aws.command_poller import PAGES, POLL_SECONDS
from lambda_function.aws.run_command import LAST_SEND_SECONDS, RunCommand
from lambda_function.aws.send_pace import SendPace
from lambda_function.deadline import Deadline
from lambda_function.errors import AwsError, HookError, RequestRejectedError, RunFailedError, ThrottledError
from lambda_function.hooks.command import FreezePlan, check_parameters
from lambda_function.inputs.settings import Settings
from lambda_function.model.period import Period
from lambda_function.model.request import RunRequest
from lambda_function.output.summary import failure_message, whole_report
from lambda_function.ports import Silent
from tests.support.endpoint import ACCOUNT, REGION, Account, Rules, ec2_backend, endpoint
from tests.support.run_command_endpoint import Agents, Reply

NAME = "auto-snapshots-test-filesystem"
EXECUTION = "00000000-0000-4000-8000-000000000000"
POLICY = f'{{"hour": 2, "hook_document": "{NAME}", "hook_timeout_seconds": 10}}'
LENIENT = POLICY.replace("}", ', "hook_on_failure": "continue"}')


@pytest.fixture(scope="module")
def whole():
    """One endpoint, account and client for all tests here: building them takes longer than any test."""
    with endpoint() as (_, rules):
        handler.clients.cache_clear()
        yield rules, Account(), handler.clients()
        handler.clients.cache_clear()


class Time:
    """Passes while somebody waits, and otherwise stands: what a look costs on this machine is not in it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._lock = threading.Lock()

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.now += seconds


@pytest.fixture
def time(monkeypatch):
    """The clock of the edge, of runs and of the agents."""
    made = Time()
    monkeypatch.setattr("lambda_function.app.time", made)
    return made


@pytest.fixture
def rules(whole, time):
    rules: Rules = whole[0]
    fresh = Agents(elapsed=time.monotonic)
    for each in fields(Agents):
        setattr(rules.agents, each.name, getattr(fresh, each.name))
    get_backend("ssm")[ACCOUNT][REGION]._documents.clear()
    ec2_backend().tags.clear()  # so that nothing of the tests before is selected
    object.__setattr__(whole[2], "send_pace", SendPace(time.monotonic, time.sleep))
    return rules


@pytest.fixture
def account(whole, rules):
    return whole[1]


@pytest.fixture
def agents(rules):
    return rules.agents


@pytest.fixture
def edge(whole, rules, time):
    deadline = Deadline(lambda: 900.0, time.sleep, time.monotonic, lambda: datetime.now(UTC))
    return RunCommand(whole[2], deadline)


@pytest.fixture
def document(account, edge):
    account.document(NAME)
    return edge.describe_document(NAME)


def parameters(stage="pre-script", **more):
    return {"command": [stage], "executionId": [EXECUTION], **{name: [value] for name, value in more.items()}}


@pytest.fixture
def soon(time):
    """A moment so many seconds ahead."""
    return lambda seconds=5.0: time.monotonic() + seconds


# Documents


def test_a_document_is_described_with_version_and_parameters(document):
    """The version is resolved; the parameters are those it declares."""
    assert (document.name, document.version) == (NAME, "1")
    assert document.parameters >= {"command", "executionId", "volumeIds", "snapshotIds", "notAfter", "timeoutSeconds"}


def test_the_version_sent_is_the_one_that_was_checked(account, edge, document, agents):
    account.ssm.update_document(
        Name=NAME, Content='{"schemaVersion": "2.2", "mainSteps": []}', DocumentVersion="$LATEST", DocumentFormat="JSON"
    )
    account.ssm.update_document_default_version(Name=NAME, DocumentVersion="2")
    edge.send(document, account.instance(), parameters())
    assert agents.sent[0].version == "1"
    assert edge.describe_document(NAME).version == "2"


def test_a_missing_document_is_a_finding(edge):
    with pytest.raises(HookError, match=r"document nowhere: DescribeDocument: InvalidDocument"):
        edge.describe_document("nowhere")


def test_a_document_of_another_type_is_a_finding(account, edge):
    content = {"schemaVersion": "0.3", "mainSteps": []}
    account.document("an-automation", content, kind="Automation")
    with pytest.raises(HookError, match="is of type Automation, not Command"):
        edge.describe_document("an-automation")


def test_a_document_without_contract_parameters_is_a_finding(account, edge):
    account.document("plain", {"schemaVersion": "2.2", "parameters": {"command": {"type": "String"}}, "mainSteps": []})
    plan = FreezePlan(edge.describe_document("plain"), ("i-1",), ("vol-1",), "P", "hour", 60)
    with pytest.raises(HookError, match="document plain does not declare the parameter executionId"):
        check_parameters(plan)


def test_throttled_checks_are_retried_by_botocore(account, edge, document, agents):
    agents.throttled["describe_document"] = 2
    assert edge.describe_document(NAME) == document
    assert agents.calls["describe_document"] == 4


# Instances


def test_instances_are_looked_up_in_pages_of_fifty(account, edge, agents):
    made = account.ec2.run_instances(ImageId=account._image, MinCount=120, MaxCount=120)["Instances"]
    ids = [each["InstanceId"] for each in made]
    agents.offline.add(ids[7])
    account.ec2.stop_instances(InstanceIds=[ids[60]])
    found = edge.unreachable(ids)
    assert found.keys() == {ids[7], ids[60]}
    assert "is not managed by SSM" in found[ids[7]]
    assert agents.calls["describe_instance_information"] == 3


def test_an_unknown_instance_is_found_by_halving(account, edge, agents):
    """It does not hide the others."""
    made = account.ec2.run_instances(ImageId=account._image, MinCount=60, MaxCount=60)["Instances"]
    ids = sorted(each["InstanceId"] for each in made)
    agents.unknown.add(ids[20])
    agents.offline.add(ids[55])
    found = edge.unreachable(ids)
    assert found.keys() == {ids[20], ids[55]}
    assert "InvalidInstanceId" in found[ids[20]]
    # 50, then down to one by halves, both of each; and the second page.
    assert agents.calls["describe_instance_information"] <= 1 + 2 * 6 + 1


# Commands


def test_a_command_is_sent_waited_for_and_read(account, edge, document, agents, time, soon):
    agents.round_trip = 0.4
    instance = account.instance()
    began = time.monotonic()
    command = edge.send(document, instance, parameters(volumeIds="vol-0123456789abcdef0"))
    outcome = edge.wait(command, instance, soon())
    assert outcome.succeeded
    assert outcome.exit_code == 0
    assert outcome.output == "auto-snapshots: frozen vol-0123456789abcdef0\n"
    assert 0.4 <= time.monotonic() - began < 0.4 + POLL_SECONDS
    assert agents.calls["get_command_invocation"] == 0


def test_an_exit_code_is_a_verdict_with_its_output(account, edge, document, agents, soon):
    instance = account.instance()
    agents.scripts[instance] = lambda _: Reply(201, "before\n", "auto-snapshots: nothing to freeze\n")
    outcome = edge.wait(edge.send(document, instance, parameters()), instance, soon())
    assert (outcome.status, outcome.exit_code, outcome.is_verdict) == ("Failed", 201, True)
    assert "nothing to freeze" in outcome.output


def test_a_command_that_was_not_delivered_has_no_verdict(account, edge, document, agents, soon):
    instance = account.instance()
    agents.scripts[instance] = lambda _: Reply(status="Undeliverable")
    outcome = edge.wait(edge.send(document, instance, parameters()), instance, soon())
    assert (outcome.status, outcome.succeeded, outcome.is_verdict) == ("Undeliverable", False, False)


def test_the_whole_invocation_is_read_if_the_list_has_no_plugins(account, edge, document, agents, soon):
    agents.with_plugins = False
    instance = account.instance()
    agents.scripts[instance] = lambda _: Reply(203, "auto-snapshots: held no\n", "late\n")
    outcome = edge.wait(edge.send(document, instance, parameters("post-script")), instance, soon())
    assert (outcome.exit_code, outcome.output) == (203, "auto-snapshots: held no\n")
    assert outcome.error.startswith("late\n")
    assert agents.calls["get_command_invocation"] == 1


@pytest.mark.parametrize("letter", ["x", "\N{CYRILLIC SMALL LETTER ZHE}", "\N{SNOWMAN}", "\N{GRINNING FACE}"])
@pytest.mark.parametrize("length", [2_490, 2_496, 2_497, 2_499, 2_500, 2_501, 2_600])
def test_an_output_is_read_whole_in_any_script(account, edge, document, agents, soon, letter, length):
    """A listing is cut at a number of bytes, which may be far fewer characters."""
    instance = account.instance()
    words = "\nauto-snapshots: frozen vol-1\n"
    output = letter * ((length - len(words)) // len(letter.encode())) + words
    agents.scripts[instance] = lambda _: Reply(output=output)
    command_id = edge.send(document, instance, parameters())
    assert edge.wait(command_id, instance, soon()).output == output


def test_a_slow_command_has_no_outcome_and_can_be_cancelled(account, edge, document, agents, soon):
    instance = account.instance()
    agents.scripts[instance] = lambda _: Reply(seconds=60)
    command = edge.send(document, instance, parameters())
    assert edge.wait(command, instance, soon(0.2)) is None
    edge.cancel(command, instance)
    outcome = edge.wait(command, instance, soon(2))
    assert (outcome.status, outcome.succeeded, outcome.is_verdict) == ("Cancelled", False, False)


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (parameters("reboot"), "InvalidParameters"),
        (parameters(colour="red"), "InvalidParameters"),
        (parameters(volumeIds="vol-1; rm"), "InvalidParameters"),
    ],
)
def test_a_value_the_document_forbids_is_refused_by_ssm(account, edge, document, agents, given, code):
    """No agent sees it."""
    with pytest.raises(RequestRejectedError, match=code):
        edge.send(document, account.instance(), given)
    assert agents.sent == []


def test_sending_to_a_stopped_instance_is_refused(account, edge, document):
    instance = account.instance()
    account.ec2.stop_instances(InstanceIds=[instance])
    with pytest.raises(RequestRejectedError, match="InvalidInstanceId"):
        edge.send(document, instance, parameters())


def test_throttling_is_survived_when_sending_and_when_waiting(account, edge, document, agents, soon):
    instance = account.instance()
    agents.throttled.update({"send_command": 1, "list_command_invocations": 1})
    outcome = edge.wait(edge.send(document, instance, parameters()), instance, soon())
    assert outcome.succeeded
    assert (agents.calls["send_command"], agents.calls["list_command_invocations"]) == (2, 2)


def test_an_admitted_command_that_is_throttled_is_sent_once(account, edge, document, agents):
    """What it needs, its thaw included, has to be there first."""
    agents.throttled["send_command"] = 100
    with pytest.raises(ThrottledError, match="ThrottlingException"):
        edge.send(document, account.instance(), parameters(), admitted=True)
    assert agents.calls["send_command"] == 1


def test_a_thaw_is_sent_as_long_as_there_is_time(account, edge, document, agents):
    agents.throttled["send_command"] = 3
    edge.send(document, account.instance(), parameters("post-script"))
    assert agents.calls["send_command"] == 4
    agents.throttled["send_command"] = 3
    edge.deadline = replace(edge.deadline, time_left=lambda: LAST_SEND_SECONDS - 1)
    with pytest.raises(ThrottledError):
        edge.send(document, account.instance(), parameters("post-script"))
    assert agents.calls["send_command"] == 5


@pytest.mark.parametrize("instances", [2, 20])
def test_one_list_call_covers_all_instances(account, edge, document, agents, instances, time, soon):
    agents.round_trip = 1.0
    asleep, all_asleep = threading.local(), threading.Barrier(instances, timeout=120)

    def sleep(seconds):
        """Time passes once all of them wait."""
        if not hasattr(asleep, "was"):
            asleep.was = True
            all_asleep.wait()
        time.sleep(seconds)

    edge = RunCommand(edge.clients, Deadline(lambda: 900.0, sleep, time.monotonic, lambda: datetime.now(UTC)))
    made = account.ec2.run_instances(ImageId=account._image, MinCount=instances, MaxCount=instances)["Instances"]
    commands = {each["InstanceId"]: edge.send(document, each["InstanceId"], parameters()) for each in made}
    outcomes, until = {}, soon(1000)

    def wait(instance, command):
        outcomes[instance] = edge.wait(command, instance, until)

    threads = [threading.Thread(target=wait, args=item) for item in commands.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == instances
    assert all(outcome.succeeded for outcome in outcomes.values())
    assert agents.calls["list_command_invocations"] <= agents.round_trip / POLL_SECONDS + 2


def test_a_slow_read_of_one_output_delays_no_other_thaw(account, edge, document, agents, soon):
    """The read of one instance's long output lasts until the other instance is thawed, or the test gives up."""
    slow, quick = account.instance(), account.instance()
    agents.scripts[slow] = lambda _: Reply(output="x" * 3_000)
    is_reading, is_over = threading.Event(), threading.Event()

    def hang(**_):
        is_reading.set()
        is_over.wait()

    def thaw():
        return edge.wait(edge.send(document, quick, parameters("post-script")), quick, soon(60))

    edge.clients.for_hooks.commands.meta.events.register("before-call.ssm.GetCommandInvocation", hang)
    with ThreadPoolExecutor() as pool:
        try:
            pre = edge.send(document, slow, parameters())
            read = pool.submit(edge.wait, pre, slow, soon(60))
            assert is_reading.wait(30)
            assert pool.submit(thaw).result(30).exit_code == 205  # nothing was frozen
            assert not read.done()
        finally:
            is_over.set()
            edge.clients.for_hooks.commands.meta.events.unregister("before-call.ssm.GetCommandInvocation", hang)
    assert read.result().output == "x" * 3_000


def test_commands_beyond_one_page_are_found(account, edge, document, agents, soon):
    instance = account.instance()
    first = edge.send(document, instance, parameters())
    for _ in range(60):
        edge.send(document, instance, parameters())
    # Somebody waits for the newest; the oldest stands on the second page.
    edge._pollers[NAME]._waiting.append((agents.sent[-1].id, instance))
    assert edge.wait(first, instance, soon()).succeeded
    assert agents.calls["list_command_invocations"] == 2


@pytest.mark.parametrize("document_name", ["AWS-RunPatchBaseline", NAME])
def test_others_commands_cost_no_page(account, edge, document, agents, soon, document_name):
    """Not even if they run our document, once ours were found."""
    made = [account.instance() for _ in range(2)]
    commands = [edge.send(document, instance, parameters()) for instance in made]
    edge._pollers[NAME]._waiting.append((commands[1], made[1]))
    agents.busy(120 if document_name == NAME else 3_000, datetime.now(UTC), document_name)
    assert edge.wait(commands[0], made[0], soon()).succeeded
    assert agents.calls["list_command_invocations"] == (3 if document_name == NAME else 1)


@pytest.mark.parametrize(("page_seconds", "is_found"), [(1.0, True), (2.0, False)])
def test_a_walk_ends_soon_however_many_run_our_document(account, edge, document, agents, time, page_seconds, is_found):
    """After some pages ours are asked for by id, unless the time of whoever walks is over."""
    made = [account.instance() for _ in range(2)]
    commands = [edge.send(document, instance, parameters()) for instance in made]
    edge._pollers[NAME]._waiting.append((commands[1], made[1]))
    agents.busy(3_000, datetime.now(UTC), NAME)
    emitter = edge.clients.for_hooks.commands.meta.events
    emitter.register("before-call.ssm.ListCommandInvocations", passing := lambda **_: time.sleep(page_seconds))
    try:
        outcome = edge.wait(commands[0], made[0], time.monotonic() + 7)
    finally:
        emitter.unregister("before-call.ssm.ListCommandInvocations", passing)
    assert (outcome is not None) is is_found
    assert agents.calls["list_command_invocations"] <= PAGES + 2


def test_a_command_not_listed_by_its_document_is_asked_for_by_id(account, edge, document, agents, time, soon):
    """As if SSM knew the document by another name there."""
    agents.round_trip = 4.0
    made = [account.instance() for _ in range(2)]
    commands = [edge.send(document, instance, parameters()) for instance in made]
    edge._pollers[NAME].document = "arn:aws:ssm:eu-west-1:111122223333:document/shared"
    edge._pollers[NAME]._waiting.append((commands[1], made[1]))
    assert edge.wait(commands[0], made[0], soon(30)).succeeded


# The handler, end to end


def invoke(rules):
    """The hourly run over the handler's own clients; its whole report, or the error the handler would raise."""
    rules.agents.calls.clear()
    app = App.build(
        Settings.from_env({}),
        handler.clients(),
        Targets(lambda target, own: own),
        clock=handler.utc_now,
        time_left=lambda: 900.0,
        observer=Silent(),
    )
    report = app.run(RunRequest(Period.HOUR, handler.utc_now()))
    if report.failures:
        raise RunFailedError(failure_message(report))
    return whole_report(report)


def hooked(account, value=POLICY):
    account.policy("P", value)
    account.document(NAME)
    instance = account.instance()
    return instance, [account.volume({"AUTO-SNAPSHOT": "P"}, instance) for _ in range(2)]


def words(account):
    key = "AUTO-SNAPSHOT-CONSISTENCY"
    return {each["VolumeId"]: each["Tags"][key] for each in account.snapshots() if key in each["Tags"]}


def test_a_hooked_policy_s_snapshots_are_application_consistent(rules, account):
    """The journal is in the answer."""
    instance, volumes = hooked(account)
    report = invoke(rules)
    assert {line["volume_id"]: line["consistency"] for line in report["volumes"]} == dict.fromkeys(
        volumes, "application"
    )
    tags = [each["Tags"] for each in account.snapshots() if each["VolumeId"] in volumes]
    assert [each["AUTO-SNAPSHOT-CONSISTENCY"] for each in tags] == ["application"] * 2
    (hook,) = report["hooks"]
    assert hook["instance_ids"] == [instance]
    assert "problem" not in hook
    steps = [step.split(" s ", 1)[1].split(": ")[0] for step in hook["steps"]]
    assert steps == [
        f"pre-script {instance}",
        f"pre-script {instance}",
        "create snapshots",
        f"post-script {instance}",
        f"post-script {instance}",
    ]
    assert rules.agents.stages() == ["pre-script", "post-script"]
    pre, post = rules.agents.sent
    assert set(pre.parameters["volumeIds"].split(",")) == set(volumes)
    assert pre.parameters["executionId"] == post.parameters["executionId"]
    assert set(post.parameters["snapshotIds"].split(",")) == {line["snapshot_id"] for line in report["volumes"]}
    assert rules.agents.frozen == set()
    assert report["summary"]["hooks_failed"] == 0


@pytest.mark.parametrize(("value", "expected"), [(POLICY, "failed"), (LENIENT, "created")])
def test_a_failing_pre_is_thawed_and_reported(rules, account, value, expected):
    """Its snapshot is never called application-consistent."""
    instance, volumes = hooked(account, value)
    rules.agents.scripts[instance] = lambda command: (
        Reply(201, error="auto-snapshots: thawed what was frozen\n") if command.stage == "pre-script" else Reply(205)
    )
    if expected == "failed":
        with pytest.raises(RunFailedError, match="exit 201"):
            invoke(rules)
        assert [each for each in account.snapshots() if each["VolumeId"] in volumes] == []
    else:
        report = invoke(rules)
        assert [line["outcome"] for line in report["volumes"]] == ["created", "created"]
        assert set(words(account).values()) == {"crash"}
        assert report["summary"]["hooks_failed"] == 1
    assert rules.agents.stages() == ["pre-script", "post-script"]


def test_an_instance_whose_agent_is_offline_is_sent_nothing(rules, account):
    instance, _ = hooked(account, LENIENT)
    rules.agents.offline.add(instance)
    report = invoke(rules)
    assert rules.agents.sent == []
    assert "not managed by SSM" in report["hooks"][0]["problem"]
    assert set(words(account).values()) == {"crash"}


def test_a_windows_instance_is_not_sent_a_linux_document(rules, account):
    """It would skip every step."""
    instance, _ = hooked(account, LENIENT)
    rules.agents.platforms[instance] = "Windows"
    report = invoke(rules)
    assert rules.agents.sent == []
    assert "runs Windows" in report["hooks"][0]["problem"]
    assert set(words(account).values()) == {"crash"}


def test_a_freeze_that_covers_one_volume_proves_that_one_only(rules, account):
    instance, volumes = hooked(account)

    def half(command):
        reply = rules.agents.well_behaved(command)
        return Reply(output=f"auto-snapshots: frozen {volumes[0]}\n") if command.stage == "pre-script" else reply

    rules.agents.scripts[instance] = half
    invoke(rules)
    assert words(account) == {volumes[0]: "application", volumes[1]: "crash"}


def test_a_command_of_an_earlier_run_is_not_listed(rules, account, edge, document, soon):
    stale = account.instance()
    edge.send(document, stale, parameters())
    rules.agents.sent[0].requested -= timedelta(hours=1)
    fresh = edge.send(document, account.instance(), parameters())
    another = "another, so that the list is asked for by time"
    edge._pollers[NAME].sent(another, datetime.now(UTC), datetime.now(UTC))
    edge._pollers[NAME]._waiting.append((another, stale))
    assert edge.wait(fresh, rules.agents.sent[1].instance_id, soon()).succeeded
    answer = account.ssm.list_command_invocations(
        Filters=[
            {"key": "InvokedAfter", "value": (datetime.now(UTC) - timedelta(minutes=5)).strftime("%Y-%m-%dT%H:%M:%SZ")}
        ]
    )
    assert [each["CommandId"] for each in answer["CommandInvocations"]] == [fresh]


def test_commands_are_listed_from_just_before_the_oldest_awaited(rules, account, edge, document, agents, soon):
    """A busy run has hundreds; a look lists those since then, fifty a page, and instances stay frozen meanwhile."""
    asked: list[Any] = []
    edge.clients.for_hooks.commands.meta.events.register(
        "provide-client-params.ssm.ListCommandInvocations", lambda params, **_: asked.append(params.get("Filters"))
    )
    for _ in range(2):
        instance = account.instance()
        command_id = edge.send(document, instance, parameters())
        edge._pollers[NAME]._waiting.append((command_id, instance))
    edge._pollers[NAME]._poll(soon())
    ((narrowed, wanted),) = asked
    assert narrowed == {"key": "DocumentName", "value": NAME}
    assert wanted["key"] == "InvokedAfter"
    after = datetime.strptime(wanted["value"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert timedelta(seconds=1) <= agents.sent[0].requested - after <= timedelta(seconds=3)


def test_a_refused_poll_is_not_retried_at_once(account, edge, document, agents, soon):
    """Frozen instances wait for it."""
    instance = account.instance()
    command_id = edge.send(document, instance, parameters())
    edge._pollers[NAME]._waiting.append((command_id, instance))
    agents.throttled["list_command_invocations"] = 2
    for looks in (1, 2):
        with pytest.raises(AwsError, match="ThrottlingException"):
            edge._pollers[NAME]._poll(soon())
        assert agents.calls["list_command_invocations"] == looks
    edge._pollers[NAME]._poll(soon())
