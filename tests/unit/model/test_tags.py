from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_function.aws.ec2 import FILTER_VALUES
from lambda_function.inputs.settings import _TAG_KEY
from lambda_function.model.ec2 import Consistency
from lambda_function.model.period import Period
from lambda_function.model.tags import (
    TagKeys,
    copied_tags,
    format_periods,
    near_miss,
    own_tags,
    parse_periods,
    policy_named_by,
    set_can_copy,
    snapshot_tags,
)
from lambda_function.run.offline import MOST_AT_ONCE
from tests.support.filters import matches_filter

KEYS = TagKeys("AUTO-SNAPSHOT")


@pytest.mark.parametrize(
    ("tags", "policy"),
    [
        ({"AUTO-SNAPSHOT": "A"}, "A"),
        ({"AUTO-SNAPSHOTS": "B"}, "B"),
        ({"AUTO-SNAPSHOTS": "B", "AUTO-SNAPSHOT": "A"}, "A"),
        ({"AUTO-SNAPSHOTS": "B", "AUTO-SNAPSHOT": ""}, ""),
        ({"auto-snapshot": "A"}, None),
        ({"AUTO-SNAPSHOT-PERIOD": "hour"}, None),
        ({}, None),
    ],
)
def test_the_exact_key_selects_and_wins_over_the_one_with_an_s(tags, policy):
    assert policy_named_by(tags, KEYS) == policy


@pytest.mark.parametrize(
    "key",
    ["auto-snapshot", "Auto-Snapshot", "Auto-snapshot", "auto-snapshots", "AUTO_SNAPSHOT", "auto_snapshot",
     "AutoSnapshot", "autoSnapshot", "AUTOSNAPSHOT", "Auto-Snapshots", "AUTO-Snapshot", "AUTO.SNAPSHOT",
     "AUTO SNAPSHOT", "AUTO - SNAPSHOT", "AUTO\u2013SNAPSHOT", "AUTO\u2014SNAPSHOT", "AUTO\u2011SNAPSHOT",
     "AUTO\u00a0SNAPSHOT", "AUTO-\u200bSNAPSHOT", "AUTO-SNAPSHOT ", " AUTO-SNAPSHOT", " AUTO-SNAPSHOT ",
     "AUTO-SNAPSHOT\u00a0", "AUTO-SNAPSHOTS ", "AUTO-SNAPSHOT\u200b", "\ufeffAUTO-SNAPSHOT", "AUTO-SNAP\u00adSHOT",
     "AU\u200bTO-SNAPSHOT", "AUTO-SNAPSHO\ufe0fT", "auto-snapshot ", "AUTO-SNAPSHOT-", "_AUTO-SNAPSHOT",
     "auto-snapshots ", "\u200bAutoSnapshots", " auto-snapshot ", "AUTO-SNAP SHOTS", "A\u200bUTO-SNAPSHOTS"],
)  # fmt: skip
def test_another_spelling_of_the_key_is_a_near_miss(key):
    """It is searched for."""
    assert near_miss({key: "A"}, KEYS) == key
    assert matches_filter(key, KEYS.searched())


@pytest.mark.parametrize(
    "key",
    [*sorted(KEYS.written), "AUTO-SNAPSHOT-OLD", "AUTO-SNAPSHOT-TEST", "MY-AUTO-SNAPSHOT", "SNAPSHOT", "AUTO",
     "Name", "AUTO-SNAPSHO", "aws:backup:source-resource"],
)  # fmt: skip
def test_another_key_is_no_near_miss_and_not_searched_for(key):
    """A second stack's volumes (`AUTO-SNAPSHOT-TEST`) are not listed."""
    assert near_miss({key: "A"}, KEYS) is None
    assert not matches_filter(key, KEYS.searched())


tag_keys = st.from_regex(_TAG_KEY, fullmatch=True).filter(lambda key: not key.lower().startswith("aws:"))
signs_too_many = st.sampled_from([" ", "\u00a0", "\u200b", "\u200d", "\u2060", "\ufeff", "\u00ad", "\u202e", "_", "-"])


@given(tag_keys, signs_too_many, st.data())
def test_one_sign_too_many_is_a_near_miss_of_any_key(key, sign, data):
    """It is searched for, and so are the key, its plural and its other cases."""
    keys = TagKeys(key)
    searched = keys.searched()
    assert len(searched) + MOST_AT_ONCE <= FILTER_VALUES
    assert max(map(len, searched)) <= 255
    for known in (key, keys.plural, key.lower(), key.upper()):
        assert matches_filter(known, searched)
    at = data.draw(st.integers(0, len(key)))
    spelling = key[:at] + sign + key[at:]
    assert matches_filter(spelling, searched)
    has_letters = any(letter not in " -_." for letter in key)
    assert near_miss({spelling: "P"}, keys) == (spelling if has_letters and spelling != keys.plural else None)


@given(tag_keys)
def test_our_own_keys_are_no_near_misses_of_any_key(key):
    keys = TagKeys(key)
    assert near_miss(dict.fromkeys(keys.written, "x"), keys) is None


def test_a_near_miss_beside_a_selecting_key_is_no_miss():
    assert near_miss({"auto-snapshot": "A", "AUTO-SNAPSHOT": "B"}, KEYS) is None


def test_a_key_in_small_letters_takes_a_small_s():
    assert TagKeys("backup").plural == "backups"
    assert KEYS.plural == "AUTO-SNAPSHOTS"


@given(st.lists(st.sampled_from([*Period, "fortnight", "other:tool"]), unique=True))
def test_periods_survive_writing_and_reading_in_any_order(words):
    written = format_periods(words)
    assert set(parse_periods(written)) == set(words)
    assert format_periods(parse_periods(written)) == written


def test_known_periods_stand_first_and_shortest_first():
    assert format_periods(["zebra", "week", "hour", "day"]) == "hour day week zebra"


def test_a_new_snapshot_has_period_consistency_instance_and_set():
    assert own_tags(KEYS, Period.DAY, Consistency.CRASH, ("i-1",)) == {
        "AUTO-SNAPSHOT-PERIOD": "day",
        "AUTO-SNAPSHOT-CONSISTENCY": "crash",
        "AUTO-SNAPSHOT-INSTANCE": "i-1",
        "AUTO-SNAPSHOT-SET": "",
    }


def test_a_detached_volume_s_snapshot_names_no_instance():
    assert "AUTO-SNAPSHOT-INSTANCE" not in own_tags(KEYS, Period.DAY, Consistency.OFFLINE, ())


def test_all_instances_of_a_multi_attached_volume_fit_the_tag():
    value = own_tags(KEYS, Period.DAY, Consistency.CRASH, tuple(f"i-{n:017x}" for n in range(16)))[KEYS.instance]
    assert len(value) <= 256
    assert all(len(word) == 19 for word in value.split())


def test_reserved_and_stale_tags_are_not_copied():
    tags = {"aws:x": "1", "AWS:y": "2", "AUTO-SNAPSHOT-INSTANCE": "i-old", "AUTO-SNAPSHOT": "A", "k": ""}
    tags["AUTO-SNAPSHOT-SET"] = "old"
    assert copied_tags(tags, KEYS) == {"AUTO-SNAPSHOT": "A", "k": ""}


def test_our_tags_selection_and_name_win_at_fifty_tags():
    """The rest is reported."""
    volume = {**{f"k{n:02}": "v" for n in range(48)}, "Name": "db", "AUTO-SNAPSHOT": "A"}
    own = own_tags(KEYS, Period.HOUR, Consistency.CRASH, ("i-1",))
    tags, left_out = snapshot_tags(volume, own, KEYS)
    assert len(tags) == 50
    assert own.items() <= tags.items()
    assert tags["Name"] == "db"
    assert tags["AUTO-SNAPSHOT"] == "A"
    assert left_out == ("k44", "k45", "k46", "k47")


@pytest.mark.parametrize(
    ("volume", "possible"),
    [
        ({f"k{n}": "v" for n in range(46)}, True),
        ({f"k{n}": "v" for n in range(47)}, False),
        ({**{f"k{n}": "v" for n in range(46)}, "aws:cloudformation:stack-name": "s"}, True),
        ({"AUTO-SNAPSHOT-PERIOD": "hour"}, False),
        ({"AUTO-SNAPSHOT-SET": "old"}, False),
    ],
)
def test_ec2_copies_tags_only_without_collision_within_fifty(volume, possible):
    own = own_tags(KEYS, Period.HOUR, Consistency.CRASH, ("i-1",))
    assert set_can_copy(volume, own, KEYS) is possible


def test_the_singular_of_a_plural_key_is_a_near_miss():
    keys = TagKeys("AUTO-SNAPSHOTS")
    assert near_miss({"AUTO-SNAPSHOT": "P"}, keys) == "AUTO-SNAPSHOT"
    assert matches_filter("AUTO-SNAPSHOT", keys.searched())
