"""Whatever tags EC2 holds: they are read, nothing that is not ours is touched, and what is written EC2 takes."""

from __future__ import annotations

import io
import json
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from lambda_function.cli.run import print_report
from lambda_function.cli.terminal import Terminal
from lambda_function.escapes import is_visible
from lambda_function.model.description import MAX_DESCRIPTION
from lambda_function.model.ec2 import Consistency, SnapshotState
from lambda_function.model.period import Period
from lambda_function.model.result import Outcome
from lambda_function.model.tags import (
    MAX_TAG_VALUE,
    MAX_TAGS,
    copied_tags,
    format_periods,
    near_miss,
    own_tags,
    parse_periods,
    policy_named_by,
    set_can_copy,
    snapshot_tags,
)
from lambda_function.output.answer import console_answer
from lambda_function.output.summary import failure_message
from tests.campaigns.fuzzing import cases
from tests.support.cloud import KEYS, FakeCloud

MAX_KEY = 127
PERIODS = {period.value for period in Period}

# EC2 speaks XML: no half surrogate pairs. It admits few control characters; this cloud admits all.
characters = st.characters(exclude_categories=["Cs"])
hostile = st.lists(
    st.sampled_from(["\x1b[2J", "\x9b31m", "\x7f", "\u202e", "\u200b", "\u2028", "\nFAILED: forged", "\t", "P"]),
    min_size=1,
    max_size=6,
).map("".join)
words = st.sampled_from([*PERIODS, "hourly", "HOUR", "day,week", "h", "keep"]) | st.text(
    characters, min_size=1, max_size=12
)
MISSES = [
    "auto-snapshot",
    "Auto_Snapshot",
    "AUTO-SNAPSHOT ",
    "AUTO\u2013SNAPSHOT",
    "\u200bAUTO-SNAPSHOTS",
    "AUTO-SNAP\u202eSHOT",
]
period_values = st.one_of(
    st.lists(words, max_size=6).map(" ".join),
    st.lists(words, max_size=6).map("\u2003 ".join),
    hostile.map("hour ".__add__),
    st.text(characters, max_size=MAX_TAG_VALUE),
    st.sampled_from(["hour", "hour day", "day week hour", "  hour  ", "x" * 250 + " hour", "x" * 256]),
).map(lambda text: text[:MAX_TAG_VALUE])
our_keys = st.sampled_from([KEYS.selection, KEYS.plural, *KEYS.written, *MISSES, KEYS.period.lower(), "Name"])
keys = (
    our_keys
    | hostile
    | st.text(characters, min_size=1, max_size=MAX_KEY)
    | st.text(characters, max_size=100).map("aws:".__add__)
    | st.integers(0, 60).map(lambda number: f"{number:03}".ljust(MAX_KEY, "k"))
)
values = (
    st.sampled_from(["P", "ZERO", "WEEKLY", "typo", "", "crash", "p"])
    | st.text(characters, max_size=MAX_TAG_VALUE)
    | hostile
    | st.just("v" * 256)
)
tags = st.dictionaries(keys, values, max_size=8) | st.integers(40, MAX_TAGS).map(
    lambda count: {f"key {number}": "v" * 256 for number in range(count - 1)}
)
volume_tags = st.tuples(tags, st.sampled_from([{}, {KEYS.selection: "P"}, {KEYS.plural: "WEEKLY"}])).map(
    lambda pair: dict([*pair[1].items(), *((k, v) for k, v in pair[0].items() if k not in pair[1])][:MAX_TAGS])
)


@cases(7_000)
@given(period_values)
def test_words_of_a_period_tag_survive_being_read_and_written(value):
    periods = parse_periods(value)
    written = format_periods(periods)
    assert parse_periods(written) == periods
    assert set(periods) == set(value.split())
    assert len(written) <= len(value)
    known = [word for word in periods if word in PERIODS]
    assert list(periods[: len(known)]) == known == [each for each in map(str, Period) if each in known]


@cases(7_000)
@given(volume_tags, st.sampled_from(Period), st.sampled_from(Consistency), st.integers(0, 16))
def test_ec2_accepts_the_tags_of_a_new_snapshot(of_volume, period, consistency, count):
    """Nothing is left out silently."""
    own = own_tags(KEYS, period, consistency, tuple(f"i-{number:017x}" for number in range(count)))
    given_tags, left_out = snapshot_tags(of_volume, own, KEYS)
    check_accepted(given_tags)
    assert own.items() <= given_tags.items()
    copied = copied_tags(of_volume, KEYS)
    assert {**given_tags, **{key: copied[key] for key in left_out}} == {**copied, **own}
    assert not left_out or len(given_tags) == MAX_TAGS
    assert policy_named_by(given_tags, KEYS) == policy_named_by(of_volume, KEYS) or KEYS.selection in left_out
    if set_can_copy(of_volume, own, KEYS):
        check_accepted({**copied, **own})


def check_accepted(given_tags):
    """What EC2 demands of the tags in a create call."""
    assert len(given_tags) <= MAX_TAGS
    for key, value in given_tags.items():
        assert 1 <= len(key) <= MAX_KEY
        assert len(value) <= MAX_TAG_VALUE
        assert not key.lower().startswith("aws:")


snapshot_tags_there = st.tuples(tags, st.none() | period_values).map(
    lambda pair: dict(
        [*([(KEYS.period, pair[1])] if pair[1] is not None else []), *((k, v) for k, v in pair[0].items())][:MAX_TAGS]
    )
)


@st.composite
def clouds(draw):
    """A few volumes with whatever tags, on an instance or on none, and snapshots of them and of others."""
    cloud = FakeCloud(
        policies={"P": '{"hour": 1, "day": 2}', "ZERO": '{"hour": 0}', "WEEKLY": '{"week": 1, "day": 1}', "BAD": "{"}
    )
    for number in range(draw(st.integers(1, 4))):
        cloud.volume(number, None, draw(st.sampled_from([None, "i-1"])), **draw(volume_tags))
    for _ in range(draw(st.integers(0, 6))):
        volume = draw(st.sampled_from([*cloud.volumes, "vol-0000000f"]))
        age = timedelta(minutes=draw(st.sampled_from([0, 2, 4, 20, 61, 3000, 90_000])))
        state = draw(st.none() | st.sampled_from(SnapshotState))
        made = cloud.snapshot(volume, "", age, policy=None, state=state)
        made.tags = draw(snapshot_tags_there)
    return cloud


@cases(7_000)
@given(clouds(), st.permutations(["hour", "day", "week"]))
def test_runs_touch_only_what_is_ours_and_only_for_their_period(cloud, periods):
    for period in periods[:2]:
        before = {
            each.id: (dict(each.tags), each.volume_id, cloud.state_of(each) is SnapshotState.ERROR)
            for each in cloud.snapshots.values()
        }
        report = cloud.run(period)
        check_changes(before, cloud, period)
        for each in [stored for stored in cloud.snapshots.values() if stored.id not in before]:
            check_created(each, cloud, period)
        assert [text for text in report.failures if "policies/BAD" not in text] == []
        named = {result.volume_id: result.outcome for result in report.volumes}
        for volume in cloud.volumes.values():
            if policy_named_by(volume.tags, KEYS) is None:
                assert volume.id not in named
                assert near_miss(volume.tags, KEYS) is None or any(volume.id in text for text in report.warnings)
            elif policy_named_by(volume.tags, KEYS) not in (*cloud.policies,):
                assert named[volume.id] is Outcome.UNKNOWN_POLICY
                assert any(volume.id in text for text in report.warnings)
        for text in (*report.failures, *report.warnings, *(result.reason for result in report.volumes)):
            text.encode()
            assert len(text) < 2_000
        check_shown(report)
        cloud.clock.sleep(600)


def check_shown(report):
    """In a shell and in Lambda: no sign that acts on a terminal, and no line that the report does not have."""
    file = io.StringIO()
    print_report(report, Terminal(Console(file=file, width=240)))
    answer = json.dumps(console_answer(report), ensure_ascii=False)
    for text in (file.getvalue(), failure_message(report), *json.loads(answer).get("warnings", ())):
        assert {sign for sign in text if not is_visible(sign)} <= {"\n"}
    printed = file.getvalue().splitlines()
    assert sum(line.startswith("FAILED: ") for line in printed) == len(report.failures)
    assert sum(line.startswith("warning: ") for line in printed) == len(report.warnings)


def check_changes(before, cloud, period):
    for each, (tags_before, volume_id, is_failed) in before.items():
        ours = period in parse_periods(tags_before.get(KEYS.period, ""))
        selected = volume_id in cloud.volumes and policy_named_by(cloud.volumes[volume_id].tags, KEYS) in cloud.policies
        if each not in cloud.snapshots:
            words = {*parse_periods(tags_before[KEYS.period])}
            assert words <= PERIODS if is_failed else words == {period}
            assert selected
            continue
        tags_now = cloud.snapshots[each].tags
        if tags_now == tags_before:
            continue
        assert selected
        assert tags_before.keys() == tags_now.keys()
        assert all(tags_now[key] == value for key, value in tags_before.items() if key != KEYS.period)
        lost = {*parse_periods(tags_before[KEYS.period])} - {*parse_periods(tags_now[KEYS.period])}
        gained = {*parse_periods(tags_now[KEYS.period])} - {*parse_periods(tags_before[KEYS.period])}
        assert (lost == {period} and ours) or (not lost and period in gained and gained <= PERIODS)


def check_created(stored, cloud, period):
    check_accepted(stored.tags)
    of_volume = cloud.volumes[stored.volume_id].tags
    assert policy_named_by(stored.tags, KEYS) == policy_named_by(of_volume, KEYS)
    assert parse_periods(stored.tags[KEYS.period]) == (period,)
    assert stored.tags[KEYS.consistency] in [*Consistency]
    assert len(stored.description) <= MAX_DESCRIPTION
