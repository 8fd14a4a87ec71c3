"""Runs in other accounts and Regions: the real handler, STS and several accounts of moto's server, over HTTP."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from lambda_function import handler
from lambda_function.aws.clients import build_clients_for
from lambda_function.errors import AwsError, ConfigurationError, RunFailedError
from lambda_function.model.period import Period
from lambda_function.model.request import RunRequest
from lambda_function.model.result import Outcome, RunReport, VolumeResult
from lambda_function.output.metrics import publish_metrics
from tests.support.endpoint import ACCOUNT, REGION, Account, Rules, ec2_of, endpoint, selected_volume

MEMBER, OTHER = "222222222222", "333333333333"
FAR = "us-east-1"
OWN = f"{ACCOUNT}/{REGION}"
PATH = "/auto-snapshots/targets/"
ARN = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:auto-snapshots"


@pytest.fixture
def home(now):
    with endpoint(Rules(clock=now)):
        handler.clients.cache_clear()
        account = Account()
        account.policy("P", '{"hour": 1}')
        yield account
        handler.clients.cache_clear()


@pytest.fixture
def self_invoker(monkeypatch):
    """What the function gives itself to do."""
    events: list[dict[str, str]] = []
    monkeypatch.setattr(handler, "invoke_self", lambda client, arn, event: events.append(event))
    return events


@pytest.fixture(autouse=True)
def targets_path(monkeypatch):
    monkeypatch.setenv("TARGETS_PATH", PATH)


def list_targets(home, *targets, name="all"):
    home.ssm.put_parameter(Name=PATH + name, Value=json.dumps(list(targets)), Type="String", Overwrite=True)


def member(account=MEMBER, *regions, **more):
    return {"account": account, "regions": list(regions or [REGION]), **more}


def volume_in(ec2):
    return selected_volume(ec2, "P")


def of(volume, ec2):
    """Hours at which the volume's snapshots were started, oldest first."""
    found = ec2.describe_snapshots(OwnerIds=["self"], Filters=[{"Name": "volume-id", "Values": [volume]}])["Snapshots"]
    return sorted(each["StartTime"].hour for each in found)


def invoke(event, seconds=900):
    context = SimpleNamespace(
        aws_request_id="request", get_remaining_time_in_millis=lambda: seconds * 1000, invoked_function_arn=ARN
    )
    return handler.lambda_handler(event, context)  # type: ignore[arg-type]  # all of it that is used


def run_all(event, self_invoker):
    """The event, and then what it put into the queue; the answers."""
    answers = [invoke(event)]
    while self_invoker:
        answers.append(invoke(self_invoker.pop(0)))
    return answers


def test_every_target_is_served_and_pruned_by_home_policies(home, self_invoker, now):
    """This covers every account and Region."""
    list_targets(home, member(MEMBER, REGION, FAR), member(OTHER, FAR))
    places = [home.ec2, ec2_of(MEMBER), ec2_of(MEMBER, FAR), ec2_of(OTHER, FAR)]
    volumes = [(volume_in(ec2), ec2) for ec2 in places]
    for _ in range(3):
        answers = run_all({"period": "hour"}, self_invoker)
        now.moment += timedelta(hours=1)
    assert [of(*each) for each in volumes] == [[2]] * 4
    names = [OWN, f"{MEMBER}/{REGION}", f"{MEMBER}/{FAR}", f"{OTHER}/{FAR}"]
    done = "1 created, 0 shared, 0 already done, 1 deleted"
    assert answers[0] == {
        "message": "hour: 4 runs started, one for each account and Region",
        "time": "2026-03-02T02:05:00+00:00",
        "targets_started": names[:1] + sorted(names[1:]),
    }
    assert sorted(answer["message"] for answer in answers[1:]) == sorted(f"hour in {name}: {done}" for name in names)


def test_nothing_is_started_without_the_path(home, self_invoker, monkeypatch, capsys):
    """No further metric is written."""
    list_targets(home, member())
    monkeypatch.delenv("TARGETS_PATH")
    assert "targets_started" not in invoke({"period": "hour"})
    assert self_invoker == []
    assert "Account" not in capsys.readouterr().out


def by_target(self_invoker):
    return {event["target"]: event for event in self_invoker}


def test_a_target_without_the_role_fails_alone(home, self_invoker, monkeypatch):
    """It says what to check."""
    list_targets(home, member(MEMBER), member(OTHER))
    volume, ec2 = volume_in(home.ec2), ec2_of(OTHER)
    theirs = volume_in(ec2)

    def refuse(target, own):
        if target.account == MEMBER:
            raise AwsError("AssumeRole", "AccessDenied", "not authorized to perform: sts:AssumeRole")
        return build_clients_for(target, own)

    monkeypatch.setattr(handler, "build_clients_for", refuse)
    invoke({"period": "hour"})
    events = by_target(self_invoker)
    with pytest.raises(RunFailedError, match=rf"{MEMBER}/{REGION}: AssumeRole: .*is the member template deployed"):
        invoke(events[f"{MEMBER}/{REGION}"])
    invoke(events[f"{OTHER}/{REGION}"])
    invoke(events[OWN])
    assert of(volume, home.ec2) == of(theirs, ec2) == [0]


def test_a_region_that_is_not_enabled_is_asked_about(home, self_invoker, monkeypatch):
    list_targets(home, member(MEMBER))
    invoke({"period": "hour"})

    def refuse(request, context):
        raise AwsError("DescribeVolumes", "AuthFailure", "AWS was not able to validate the provided access credentials")

    monkeypatch.setattr("lambda_function.app.run", refuse)
    with pytest.raises(RunFailedError, match=r"AuthFailure.*is the Region enabled in that account\?"):
        invoke(self_invoker[0])


def test_a_faulty_target_fails_the_home_run_after_its_work(home, self_invoker, log):
    """The repetition starts no other run."""
    list_targets(home, member(MEMBER), {"account": "1", "regions": [REGION]})
    volume = volume_in(home.ec2)
    answer = invoke({"period": "hour"})
    assert answer["message"] == (
        "hour: 2 runs started, one for each account and Region, 1 NOT, as the own one's run will tell"
    )
    assert next(line["message"] for line in log() if line["level"] == "ERROR").startswith(f"{PATH}all: target 2")
    events = by_target(self_invoker)
    self_invoker.clear()
    for _ in range(2):
        with pytest.raises(RunFailedError, match=r'targets/all: target 2: field "account": "1"'):
            invoke(events[OWN])
    assert of(volume, home.ec2) == [0]
    assert self_invoker == []


def test_a_faulty_target_does_not_keep_home_from_continuing(home, self_invoker, monkeypatch):
    list_targets(home, {"account": "1", "regions": [REGION]})
    invoke({"period": "hour"})
    event = self_invoker.pop()
    done = VolumeResult("vol-1", "P", Outcome.CREATED, "why", "snap-1")

    def leave(request, context):
        return RunReport(request, volumes=(done,), deferred=("vol-2: no time",), failures=request.target_faults)

    monkeypatch.setattr("lambda_function.app.run", leave)
    invoke(event)
    (continued,) = self_invoker
    assert continued == {**event, "continuation": 1}
    assert continued["target_faults"]


def test_unreadable_targets_fail_the_home_run_after_its_work(home, self_invoker):
    volume = volume_in(home.ec2)

    def refuse(params, **_):
        if params["Path"] == PATH.rstrip("/"):
            raise AwsError("GetParametersByPath", "AccessDeniedException", "no")

    handler.clients().ssm.meta.events.register("before-parameter-build.ssm.GetParametersByPath", refuse)
    invoke({"period": "hour"})
    with pytest.raises(RunFailedError, match=rf"no target is served: {PATH} could not be read: .*AccessDenied"):
        invoke(self_invoker[0])
    assert of(volume, home.ec2) == [0]


def test_our_own_fault_in_reading_targets_costs_home_nothing(home, self_invoker, monkeypatch):
    def stumble(parameters, path):
        raise RuntimeError("ours")

    monkeypatch.setattr("lambda_function.accounts.targets.parse_targets", stumble)
    invoke({"period": "hour"})
    assert [event["target"] for event in self_invoker] == [OWN]


@pytest.mark.parametrize("event", [{"period": "hour", "policies": ["TYPO"]}, {"period": "hourly"}])
def test_an_event_that_every_run_would_refuse_starts_none(home, self_invoker, event):
    list_targets(home, member(MEMBER))
    with pytest.raises(ConfigurationError):
        invoke(event)
    assert self_invoker == []


def test_named_volumes_and_continuations_start_no_targets(home, self_invoker, now):
    list_targets(home, member(MEMBER))
    invoke({"period": "hour", "volumes": [volume_in(home.ec2)]})
    invoke({"period": "hour", "time": now.moment.isoformat(), "continuation": 1})
    invoke({"check_hooks": True})
    assert invoke({"period": "hour", "dry_run": True})["message"].startswith("hour: ")
    assert self_invoker == []


def test_a_target_s_run_is_continued_for_the_same_target(home, self_invoker, monkeypatch):
    """It ran out of time."""
    list_targets(home, member(MEMBER))
    invoke({"period": "hour"})
    event = by_target(self_invoker)[f"{MEMBER}/{REGION}"]
    self_invoker.clear()
    done = VolumeResult("vol-1", "P", Outcome.CREATED, "why", "snap-1")
    monkeypatch.setattr(
        "lambda_function.app.run",
        lambda request, context: RunReport(request, volumes=(done,), deferred=("vol-2: no time",)),
    )
    answer = invoke(event)
    assert answer["continued"] == ["vol-2: no time"]
    assert self_invoker == [{**event, "continuation": 1}]


def test_a_forced_event_delivered_twice_adds_nothing_in_a_target(home, self_invoker, now):
    list_targets(home, member(MEMBER))
    ec2 = ec2_of(MEMBER)
    volume = volume_in(ec2)
    invoke({"period": "hour", "force": True})
    event = by_target(self_invoker)[f"{MEMBER}/{REGION}"]
    now.moment += timedelta(minutes=1)
    invoke(event)
    now.moment += timedelta(minutes=1)
    assert invoke(event)["message"].endswith("1 already done, 0 deleted")
    assert of(volume, ec2) == [0]


def test_a_target_s_run_in_the_next_slot_says_what_is_missing(home, self_invoker, now):
    """It began too late."""
    list_targets(home, member(MEMBER))
    invoke({"period": "hour"})
    now.moment += timedelta(hours=1)
    with pytest.raises(ConfigurationError, match=rf"target {MEMBER}/{REGION}: the hour of 2026-03-02T00:05.* is over"):
        invoke(self_invoker[0])


def test_a_target_can_be_run_by_hand(home, monkeypatch):
    """One that is not listed is an error that names those that are."""
    list_targets(home, member(MEMBER))
    ec2 = ec2_of(MEMBER)
    volume = volume_in(ec2)
    answer = invoke({"period": "hour", "dry_run": True, "target": f"{MEMBER}/{REGION}"})
    assert answer["done"] == [f"{volume}: would create (offline): none started in this hour yet"]
    with pytest.raises(
        ConfigurationError, match=rf"target {OTHER}/{FAR} does not exist \(there is {MEMBER}/{REGION}\)"
    ):
        invoke({"period": "hour", "target": f"{OTHER}/{FAR}"})
    monkeypatch.delenv("TARGETS_PATH")
    with pytest.raises(ConfigurationError, match="no targets are set up; see TARGETS_PATH"):
        invoke({"period": "hour", "target": f"{MEMBER}/{REGION}"})


def test_metrics_are_written_by_account_and_region_too(home, self_invoker, capsys):
    """A target's run does not count as the period's."""
    list_targets(home, member(MEMBER))
    volume_in(home.ec2)
    volume_in(ec2_of(MEMBER))
    invoke({"period": "hour"})
    assert told(capsys.readouterr().out) == []
    events = by_target(self_invoker)
    invoke(events[OWN])
    own = told(capsys.readouterr().out)
    invoke(events[f"{MEMBER}/{REGION}"])
    theirs = told(capsys.readouterr().out)
    place = {"Account": ACCOUNT, "Region": REGION}
    assert ({**place}, {"SnapshotsCreated": [1], "RunsCompleted": [1]}) in own
    assert ({}, {"SnapshotsCreated": [1]}) in own
    assert ({"Period": "hour"}, {"RunsCompleted": [1], "NewestSnapshotAge": [0]}) in own
    assert ({"Account": MEMBER, "Region": REGION}, {"SnapshotsCreated": [1], "RunsCompleted": [1]}) in theirs
    assert ({"Period": "hour"}, {"NewestSnapshotAge": [0]}) in theirs


def test_an_empty_set_of_metrics_leaves_no_dimensions_behind(capsys, home):
    """Powertools keeps them in the class; a count with a stranger's dimension is one that no alarm sees."""
    request = RunRequest(Period.HOUR, datetime(2026, 3, 2, tzinfo=UTC), target=f"{MEMBER}/{REGION}", policies=("P",))
    publish_metrics(RunReport(request), "N", OWN)
    publish_metrics(RunReport(replace(request, policies=())), "N", OWN)
    failed = VolumeResult("vol-1", "P", Outcome.FAILED, "why")
    publish_metrics(RunReport(RunRequest(Period.HOUR, request.time), volumes=(failed,)), "N")
    found = told(capsys.readouterr().out)
    assert [dimensions for dimensions, values in found if "VolumesFailed" in values] == [{}]


def told(text):
    """Dimensions and values of each set of metrics in what was printed."""
    found = []
    for line in filter(lambda line: '"_aws"' in line, text.splitlines()):
        values = json.loads(line)
        (metrics,) = values.pop("_aws")["CloudWatchMetrics"]
        (dimensions,) = metrics["Dimensions"]
        found.append(({name: values.pop(name) for name in dimensions}, values))
    return found


def test_every_line_of_a_target_s_run_says_whose_it_is(home, self_invoker, log):
    list_targets(home, member(MEMBER))
    volume_in(ec2_of(MEMBER))
    invoke({"period": "hour"})
    assert {line.get("target") for line in log()} == {None}
    before = len(log())
    invoke(self_invoker[0])
    assert {line.get("target") for line in log()[before:]} == {f"{MEMBER}/{REGION}"}


def test_sts_is_asked_with_the_listed_role_and_external_id(home, self_invoker, monkeypatch):
    list_targets(home, member(MEMBER, role="team/backup", external_id="an-external-id"))
    asked: list[Any] = []
    events = handler.clients().session.events
    events.register("provide-client-params.sts.AssumeRole", lambda params, **_: asked.append(params))
    invoke({"period": "hour"})
    invoke(self_invoker[0])
    assert asked == [
        {
            "RoleArn": f"arn:aws:iam::{MEMBER}:role/team/backup",
            "RoleSessionName": f"auto-snapshots-{REGION}",
            "ExternalId": "an-external-id",
        }
    ]
