"""Settings that a person changes while runs are under way: a run goes by what it read, the next one by what stands."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.campaigns.interleaving.campaign import Campaign, Edit, Pair
from tests.campaigns.interleaving.fleets import TWO_OF_EACH, two_volumes
from tests.campaigns.interleaving.meeting import SKIP
from tests.campaigns.interleaving.scheduler import put_under_the_scheduler
from tests.campaigns.interleaving.schedules import around
from tests.support.campaign import NIGHTLY, sized
from tests.support.cloud import KEYS

pytestmark = pytest.mark.campaign

PERIODS = (("hour", "hour"), ("hour", "day"), ("day", "hour"))
FAULTS = ("/auto-snapshots/policies/P",)


@pytest.fixture(autouse=True)
def scheduled(monkeypatch):
    put_under_the_scheduler(monkeypatch)


def policy(**fields):
    """Policy P with other values; None takes a field away."""

    def change(meeting):
        after = {name: value for name, value in {**TWO_OF_EACH, **fields}.items() if value is not None}
        meeting.policies["P"] = json.dumps(after)

    return change


def tag(meeting, number, name):
    """Another policy's name on a volume; None takes the tag away."""
    volume = meeting.volumes[f"vol-{number:08x}"]
    others = {key: value for key, value in volume.tags.items() if key != KEYS.selection}
    meeting.volumes[volume.id] = replace(volume, tags={**others, **({KEYS.selection: name} if name else {})})


def renamed_and_not_tagged(meeting):
    meeting.policies["Q"] = meeting.policies.pop("P")


def volumes_renamed(meeting):
    for number in (1, 2):
        tag(meeting, number, "Q")


def renamed(meeting):
    renamed_and_not_tagged(meeting)
    volumes_renamed(meeting)


def tagged_anew(meeting):
    meeting.policies["Q"] = json.dumps({"hour": 3, "day": 1})
    tag(meeting, 1, "Q")


def broken(meeting):
    meeting.policies["P"] = '{"hour": "2"}'
    meeting.policies["Q"] = '{"hour": 2}'


def deleted(meeting):
    meeting.policies.clear()


def volume_gone(meeting):
    del meeting.volumes["vol-00000001"]


EDITS = {
    "N is lowered": Edit(policy(hour=1, day=1)),
    "N is raised": Edit(policy(hour=3, day=3)),
    "the hour is set to 0": Edit(policy(hour=0)),
    "the hour is taken out": Edit(policy(hour=None)),
    "the day is taken out": Edit(policy(day=None)),
    "a hook is added": Edit(policy(**SKIP)),
    "the policy is renamed and its volumes tagged with the new name": Edit(renamed),
    "the policy is renamed before its volumes are tagged": Edit(renamed_and_not_tagged, volumes_renamed),
    "a volume is tagged with another policy": Edit(tagged_anew),
    "a volume's tag is taken away": Edit(lambda meeting: tag(meeting, 1, None)),
    "a volume is deleted": Edit(volume_gone),
    "the policy is broken, then mended": Edit(broken, policy()),
    "the only policy is deleted, then put back": Edit(deleted, policy()),
}


@pytest.mark.parametrize("edit", [pytest.param(edit, id=name) for name, edit in EDITS.items()])
@pytest.mark.parametrize("periods", PERIODS if NIGHTLY else PERIODS[:2], ids=" and then ".join)
def test_settings_that_change_between_any_calls_cost_nothing(periods, edit):
    """Nothing is lost that both the old and the new settings keep."""
    first, second = periods
    pair = Pair(
        {"period": first},
        {"period": second},
        two_volumes,
        both_ways=False,
        may_fail=FAULTS,
    )
    campaign = Campaign(pair, edit).over(around("edit"))
    print(campaign.told())
    assert campaign.tried > sized(10, 10, 5)
