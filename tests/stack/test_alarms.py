"""What the stack tells a person, and when: alarms, the topic, retries, the dashboard."""

from __future__ import annotations

import itertools
import json
import re
from datetime import timedelta
from pathlib import Path

import pytest

from lambda_function.model.period import Period
from lambda_function.output.metrics import (
    COUNTS,
    COUNTS_BY_PLACE,
    FREEZE_TIME,
    METRICS,
    NEWEST_SNAPSHOT_AGE,
    RUNS_COMPLETED,
)
from tests.stack.alarm_evaluator import is_ringing, rings_at, watched_metric
from tests.support.clock import START
from tests.support.template import defaults, load, resources
from tools.demo.template import read_template

ROOT = Path(__file__).parents[2]
TEMPLATE = load()
FUNCTION = TEMPLATE["Resources"]["AutoSnapshotsFunction"]["Properties"]
ALARMS = {name: each["Properties"] for name, each in resources("AWS::CloudWatch::Alarm").items()}
NAMESPACE = FUNCTION["Environment"]["Variables"]["METRICS_NAMESPACE"]
TOPIC = {"Ref": "NotificationTopic"}
WEEK = 7 * 24 * 3600
PERIODS = list(Period)


def name_of(alarm):
    return alarm["AlarmName"]["Fn::Sub"].removeprefix("${AWS::StackName}-")


@pytest.mark.parametrize("alarm", ALARMS.values(), ids=ALARMS)
def test_every_alarm_speaks_to_the_topic_and_leads_to_what_to_do(alarm):
    assert alarm["AlarmActions"] == [TOPIC]
    (anchor,) = re.findall(r" See ([\w-]+) in docs/operations\.md\.$", alarm["AlarmDescription"])
    operations = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    assert f"\n### {anchor}\n" in operations
    assert name_of(alarm) == anchor or f"`{name_of(alarm)}`" in operations


@pytest.mark.parametrize("alarm", ALARMS.values(), ids=ALARMS)
def test_every_alarm_watches_a_metric_that_somebody_sends(alarm):
    metric = watched_metric(alarm)["Metric"]
    if metric["Namespace"] == NAMESPACE:
        dimensions = {each["Name"]: each["Value"] for each in metric.get("Dimensions", [])}
        if metric["MetricName"] in COUNTS:
            assert dimensions == {}
        else:
            assert metric["MetricName"] == RUNS_COMPLETED
            assert dimensions.keys() == {"Period"}
            assert dimensions["Period"] in PERIODS
    else:
        assert metric["Namespace"] == "AWS/Lambda"
        assert metric["MetricName"] in ("Errors", "Duration")
        assert metric["Dimensions"] == [{"Name": "FunctionName", "Value": {"Ref": "AutoSnapshotsFunction"}}]


@pytest.mark.parametrize("metric", ["VolumesFailed", "SnapshotsInError", "HooksFailed", "VolumesWithoutPolicy"])
def test_a_single_one_raises_the_alarm_and_silence_does_not(metric):
    (alarm,) = [each for each in ALARMS.values() if each.get("MetricName") == metric]
    assert (alarm["Statistic"], alarm["Threshold"]) == ("Sum", 1)
    assert alarm["ComparisonOperator"] == "GreaterThanOrEqualToThreshold"
    assert alarm["TreatMissingData"] == "notBreaching"


@pytest.mark.parametrize("period", PERIODS)
def test_a_period_without_a_completed_run_raises_an_alarm(period):
    """It does so only while its rule is on."""
    word = period.name.title()
    resource = TEMPLATE["Resources"][f"No{word}RunAlarm"]
    alarm = resource["Properties"]
    watched = watched_metric(alarm)
    assert watched["Metric"]["Dimensions"] == [{"Name": "Period", "Value": period.value}]
    assert watched["Period"] * alarm["EvaluationPeriods"] <= WEEK
    assert (watched["Stat"], alarm["ComparisonOperator"], alarm["Threshold"]) == ("Sum", "LessThanThreshold", 1)
    is_on = resource["Condition"]
    assert TEMPLATE["Conditions"][is_on] == {"Fn::Not": [{"Fn::Equals": [{"Ref": f"{word}Schedule"}, ""]}]}
    assert FUNCTION["Events"][word]["Properties"]["State"] == {"Fn::If": [is_on, "ENABLED", "DISABLED"]}


MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
WINDOWS = {period: 3 * HOUR if period is Period.HOUR else 2 * DAY for period in PERIODS}
LATENESS = {period: MINUTE if period is Period.HOUR else HOUR for period in PERIODS}
"""How often the alarm is evaluated: a window of more than a day only once an hour."""


def run_ends(period):
    """When the runs of a week end: some at once, some just before their time-out, some after both retries of Lambda."""
    (rule,) = [rule for rule in read_template().rules if rule.period == period]
    fired = [START + minute * MINUTE for minute in range(7 * 24 * 60) if rule.fires(START + minute * MINUTE)]
    durations = itertools.cycle([2 * MINUTE, 15 * MINUTE, 48 * MINUTE])
    return sorted(moment + duration for moment, duration in zip(fired, durations, strict=False))


@pytest.mark.parametrize("period", PERIODS)
def test_an_alarm_for_absence_rings_when_its_window_ends(period):
    """It is silent while runs complete."""
    alarm = TEMPLATE["Resources"][f"No{period.name.title()}RunAlarm"]["Properties"]
    ends = run_ends(period)
    assert rings_at(alarm, ends, until=ends[-1]) is None
    rang = rings_at(alarm, ends, until=ends[-1] + 7 * DAY)
    assert WINDOWS[period] <= rang - ends[-1] <= WINDOWS[period] + LATENESS[period]


def without_expression(alarm):
    """The same alarm on the metric itself: missing data is breaching, and nothing is filled."""
    (stat,) = [query["MetricStat"] for query in alarm["Metrics"] if "MetricStat" in query]
    rest = {name: value for name, value in alarm.items() if name != "Metrics"}
    return {**rest, **stat["Metric"], "Statistic": stat["Stat"], "Period": stat["Period"]}


@pytest.mark.parametrize(
    ("period", "late"),
    [pytest.param(Period.HOUR, 5 * HOUR, id="five hours"), pytest.param(Period.DAY, 4 * DAY, id="four days")],
)
def test_an_alarm_that_fills_nothing_rings_late(period, late):
    alarm = without_expression(TEMPLATE["Resources"][f"No{period.name.title()}RunAlarm"]["Properties"])
    ends = run_ends(period)
    rang = rings_at(alarm, ends, until=ends[-1] + 7 * DAY)
    assert late <= rang - ends[-1] <= late + LATENESS[period]


def test_without_any_run_the_alarms_ring_all_the_same():
    """Of a metric without data an expression has no value, and missing values are breaching."""
    for period in PERIODS:
        alarm = TEMPLATE["Resources"][f"No{period.name.title()}RunAlarm"]["Properties"]
        assert is_ringing(alarm, [None] * 5)


# Both tables of the CloudWatch User Guide, "How alarm state is evaluated when data is missing": three evaluation
# periods, five points looked at, the newest last.
@pytest.mark.parametrize(("to_alarm", "points", "breaching", "not_breaching"), [
    (3, "0-X-X", False, False),
    (3, "0----", False, False),
    (3, "-----", True, False),
    (3, "0XX-X", True, True),
    (3, "--X--", True, False),
    (2, "0-X-X", True, True),
    (2, "00X0X", True, True),
    (2, "0-X--", True, False),
    (2, "----0", True, False),
    (2, "---X-", True, False),
])  # fmt: skip
def test_missing_data_counts_as_in_the_user_guide_s_tables(to_alarm, points, breaching, not_breaching):
    alarm = {"EvaluationPeriods": 3, "DatapointsToAlarm": to_alarm, "Threshold": 1}
    alarm["ComparisonOperator"] = "GreaterThanOrEqualToThreshold"
    values = [{"0": 0.0, "X": 1.0, "-": None}[point] for point in points]
    assert is_ringing({**alarm, "TreatMissingData": "breaching"}, values) is breaching
    assert is_ringing({**alarm, "TreatMissingData": "notBreaching"}, values) is not_breaching


def test_a_run_at_80_per_cent_of_its_time_raises_an_alarm():
    """The alarm follows the configured limit."""
    share = ALARMS["NearTimeLimitAlarm"]["Metrics"][0]
    limit = defaults()["Timeout"]
    expression = share["Expression"]["Fn::Sub"].replace("${Timeout}", str(limit))
    longest_ms = 0.8 * limit * 1000
    assert eval(expression, {"duration": longest_ms}) == ALARMS["NearTimeLimitAlarm"]["Threshold"]


def test_cloudwatch_may_publish_to_the_topic():
    """The topic has no key that would prevent it."""
    (topic,) = resources("AWS::SNS::Topic").values()
    assert "KmsMasterKeyId" not in topic["Properties"]
    (policy,) = resources("AWS::SNS::TopicPolicy").values()
    allowed = [each for each in policy["Properties"]["PolicyDocument"]["Statement"] if each["Effect"] == "Allow"]
    assert [(each["Principal"], each["Action"]) for each in allowed] == [
        ({"Service": "cloudwatch.amazonaws.com"}, "sns:Publish")
    ]
    assert allowed[0]["Condition"]["ArnLike"]["aws:SourceArn"]["Fn::Sub"].endswith(":alarm:${AWS::StackName}-*")


def test_every_alarm_s_name_is_one_the_topic_listens_to():
    assert all(each["AlarmName"]["Fn::Sub"].startswith("${AWS::StackName}-") for each in ALARMS.values())


def test_an_event_that_fails_or_grows_old_goes_to_the_topic():
    """Three attempts are made."""
    config = FUNCTION["EventInvokeConfig"]
    assert config["DestinationConfig"]["OnFailure"] == {"Type": "SNS", "Destination": TOPIC}
    assert config["MaximumRetryAttempts"] == 2
    assert config["MaximumEventAgeInSeconds"] == 6 * 3600


def test_nothing_reserves_concurrency_unless_asked_for():
    assert defaults()["ReservedConcurrency"] == ""
    condition, asked, otherwise = FUNCTION["ReservedConcurrentExecutions"]["Fn::If"]
    assert TEMPLATE["Conditions"][condition] == {"Fn::Not": [{"Fn::Equals": [{"Ref": "ReservedConcurrency"}, ""]}]}
    assert (asked, otherwise) == ({"Ref": "ReservedConcurrency"}, {"Ref": "AWS::NoValue"})


def dashboard(no_run_alarms="", places=True):
    body, values = TEMPLATE["Resources"]["OverviewDashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    assert set(values) == {"NoRunAlarms", "Places"}
    condition, of_places, none = values["Places"]["Fn::If"]
    assert condition == "WithTargets"
    body = body.replace("${Places}", of_places["Fn::Sub"] if places else none)
    body = body.replace("${NoRunAlarms}", no_run_alarms).replace("${Timeout}", "900")
    return json.loads(re.sub(r"\$\{[\w:.]+\}", "x", body))


@pytest.mark.parametrize("places", [True, False])
@pytest.mark.parametrize("no_run_alarms", ["", ', "arn:1", "arn:2"'])
def test_the_dashboard_is_json_whichever_rules_are_on(no_run_alarms, places):
    """Its widgets do not overlap."""
    taken: set[tuple[int, int]] = set()
    for widget in dashboard(no_run_alarms, places)["widgets"]:
        cells = {
            (x, y)
            for x in range(widget["x"], widget["x"] + widget["width"])
            for y in range(widget["y"], widget["y"] + widget["height"])
        }
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_the_dashboard_shows_what_was_promised():
    shown = set()
    searched = []
    for widget in dashboard()["widgets"]:
        metrics = widget["properties"].get("metrics", [])
        searched += [expression["expression"] for metric in metrics for expression in metric[:1] if len(metric) == 1]
        for namespace, metric, *rest in (metric for metric in metrics if len(metric) > 1):
            options = rest[-1] if rest and isinstance(rest[-1], dict) else {}
            dimensions = [each for each in rest if isinstance(each, str)]
            shown.add((metric, options.get("stat"), *dimensions[1:2]))
            assert namespace == "AWS/Lambda" or metric in METRICS
    for name in ("SnapshotsCreated", RUNS_COMPLETED):
        assert f"SEARCH('{{\"AutoSnapshots/x\",Account,Region}} MetricName=\"{name}\"', 'Sum', 3600)" in searched
        assert name in (*COUNTS_BY_PLACE, RUNS_COMPLETED)
    assert {(FREEZE_TIME, "p50"), (FREEZE_TIME, "p99"), ("Duration", "Maximum", "x")} <= shown
    assert {(NEWEST_SNAPSHOT_AGE, None, period.value) for period in PERIODS} <= shown
    assert {
        (name, None) for name in ("SnapshotsCreated", "SnapshotsDeleted", "VolumesFailed", "SnapshotsShared")
    } <= shown


def test_dashboard_trace_and_subscription_are_opt_in():
    assert (defaults()["Dashboard"], defaults()["Tracing"], defaults()["NotificationEmail"]) == (
        "false",
        "PassThrough",
        "",
    )
    assert TEMPLATE["Resources"]["OverviewDashboard"]["Condition"] == "WithDashboard"
    assert TEMPLATE["Resources"]["NotificationSubscription"]["Condition"] == "WithEmail"
