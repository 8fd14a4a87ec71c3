"""The listings in docs/retention.md, run through the code that decides."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lambda_function.inputs.policy import Parameter, parse_policies, parse_policy
from lambda_function.model.ec2 import Consistency, Snapshot, SnapshotState, Volume
from lambda_function.model.period import Period, RetentionRule
from lambda_function.model.request import RunRequest
from lambda_function.model.result import Change, Outcome
from lambda_function.model.tags import TagKeys, parse_periods
from lambda_function.plan.due import plan_run
from lambda_function.plan.failed import plan_before_create, plan_failed
from lambda_function.plan.retention import apply_retention, kept_for, plan_prune

DOCS = Path(__file__).parents[2] / "docs"
KEYS = TagKeys("AUTO-SNAPSHOT")
LISTING = re.compile(r"<!-- example: (retention[\w ]*) -->\n```text\n(.*?)\n```", re.DOTALL)
HEAD = re.compile(r"(?P<period>\w+), (?P<time>[\d-]+ [\d:]+) UTC, policy (?P<policy>\w+) (?P<value>\{.*\})")
LISTINGS = dict(LISTING.findall((DOCS / "retention.md").read_text(encoding="utf-8")))


def moment(text):
    return datetime.strptime(text, "%Y-%m-%d %H:%M").replace(tzinfo=UTC)


def rows_of(listing):
    """The listing's snapshots, and what it says the run does with each."""
    head, titles, *lines = listing.splitlines()
    names = re.split(r"\s{2,}", titles)
    said = HEAD.fullmatch(head)
    assert said, head
    return said.groupdict(), [
        dict(zip(names, re.split(r"\s{2,}", line, maxsplit=len(names) - 1), strict=True)) for line in lines
    ]


def snapshot_of(row):
    return Snapshot(
        row["snapshot"],
        "vol-1",
        moment(row["started"]),
        SnapshotState(row["state"]),
        parse_periods(row["kept for"]),
        None if row["policy"] == "-" else row["policy"],
        Consistency(row["consistency"]) if "consistency" in row else None,
        has_our_description=True,
    )


def decided(head, rows):
    """What the code does with each snapshot of the listing: (change, reason) by id."""
    policies = parse_policies([Parameter("/p/" + head["policy"], head["value"])])
    assert not policies.faulty
    period = Period(head["period"])
    request = RunRequest(period, moment(head["time"]))
    volume = Volume("vol-1", "in-use", {KEYS.selection: head["policy"]}, ("i-1",))
    (plan,) = plan_run(request, policies, [volume], [snapshot_of(row) for row in rows], KEYS).volumes
    assert plan.rule is not None
    known = {snapshot.id: snapshot for snapshot in plan.snapshots}
    result = {}
    slot_snapshot = plan.slot_snapshot
    if plan.outcome is Outcome.WOULD_CREATE:
        slot_snapshot = Snapshot("new", "vol-1", request.time, SnapshotState.PENDING, (period.value,), head["policy"])
    if slot_snapshot is not None:
        known[slot_snapshot.id] = kept_for(slot_snapshot, period)
    slot_snapshot_id = slot_snapshot.id if slot_snapshot else None
    changes = plan_prune(plan.rule, list(known.values()), slot_snapshot_id, with_kept=True)
    if plan.outcome is Outcome.WOULD_CREATE:
        changes += plan_before_create(volume, plan.failed, plan.last_failed, with_kept=True)
    else:
        changes += plan_failed(plan.rule, plan.failed, list(known.values()), with_kept=True)
    for planned in changes:
        result[planned.snapshot.id] = (planned.change.value, planned.reason)
    if plan.outcome is Outcome.WOULD_SHARE and slot_snapshot_id:
        result[slot_snapshot_id] = (Change.JOIN.value, result[slot_snapshot_id][1])
    return plan, result


def test_there_are_listings_to_check():
    assert len(LISTINGS) == 6


@pytest.mark.parametrize("name", LISTINGS)
def test_the_documented_listing_is_what_the_code_decides(name):
    head, rows = rows_of(LISTINGS[name])
    _, result = decided(head, rows)
    said = {row["snapshot"]: (row["run does"], row["why"]) for row in rows if row["run does"] != "-"}
    assert said == {snapshot_id: each for snapshot_id, each in result.items() if snapshot_id != "new"}


@pytest.mark.parametrize("name", LISTINGS)
def test_an_untouched_documented_snapshot_has_only_other_periods(name):
    """The run leaves it alone for that reason."""
    head, rows = rows_of(LISTINGS[name])
    alone = [row for row in rows if row["run does"] == "-"]
    assert all(head["period"] not in row["kept for"].split() for row in alone)


def test_the_documented_daily_run_shares_the_hourly_snapshot():
    """It keeps three."""
    head, rows = rows_of(LISTINGS["retention"])
    plan, result = decided(head, rows)
    assert plan.outcome is Outcome.WOULD_SHARE
    kept = [name for name, (change, _) in result.items() if change in ("keep", "join")]
    assert len(kept) == plan.rule.retain_count == 3
    bearing = [kept_for(plan.slot_snapshot, Period.DAY), *plan.snapshots]
    assert [
        verdict.snapshot.id
        for verdict in apply_retention(RetentionRule(Period.DAY, 3), bearing, plan.slot_snapshot.id)
        if verdict.keep
    ] == kept


def faults(name, value):
    outcome = parse_policy(Parameter(name, value))
    assert isinstance(outcome, tuple)
    return [str(fault) for fault in outcome]


def test_the_code_reports_the_faults_in_the_policy_reference():
    text = (DOCS / "policies.md").read_text(encoding="utf-8")
    (value,) = re.findall(r"This value\n\n```json\n(.*?)\n```", text, re.DOTALL)
    (listed,) = re.findall(r"<!-- example: faults -->\n```text\n(.*?)\n```", text, re.DOTALL)
    assert faults("/auto-snapshots/policies/CRITICAL", value) == listed.splitlines()
    table = text.split("<!-- example: values and faults -->")[1].split("\n\n")[0]
    rows = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \|$", table, re.MULTILINE)
    assert len(rows) >= 5
    for value, fault in rows:
        assert faults("/auto-snapshots/policies/MEH", value) == [fault]


def test_every_json_object_in_the_policy_reference_is_json():
    text = (DOCS / "policies.md").read_text(encoding="utf-8")
    for block in re.findall(r"```json\n(.*?)\n```", text, re.DOTALL):
        assert isinstance(json.loads(block), dict)
