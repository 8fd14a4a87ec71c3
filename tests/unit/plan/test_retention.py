from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_function.model.ec2 import Snapshot, SnapshotState
from lambda_function.model.period import Period, RetentionRule
from lambda_function.model.result import Change
from lambda_function.plan.retention import apply_retention, change_for, ordinal

LETTERS = {
    "c": SnapshotState.COMPLETED,
    "p": SnapshotState.PENDING,
    "e": SnapshotState.ERROR,
    "r": SnapshotState.RECOVERING,
    "b": SnapshotState.RECOVERABLE,
    "o": SnapshotState.OTHER,
}
NOW = datetime(2026, 3, 2, tzinfo=UTC)


def of(states, periods=("hour",)):
    """Snapshots from newest to oldest, one letter each."""
    return [
        Snapshot(f"snap-{position}", "vol-1", NOW - timedelta(hours=position), LETTERS[letter], periods)
        for position, letter in enumerate(states)
    ]


@pytest.mark.parametrize(
    ("count", "states", "kept"),
    [
        pytest.param(2, "ccc", "cc.", id="the newest two stay and the third goes"),
        pytest.param(2, "cc", "cc", id="nothing goes while there are only as many as are kept"),
        pytest.param(2, "", "", id="an empty history is in order"),
        pytest.param(52, "c" * 60, "c" * 52 + "." * 8, id="52 of 60 stay"),
        pytest.param(0, "ccc", "...", id="none stay where the policy keeps none"),
        pytest.param(0, "pce", "p..", id="a pending one waits for its completion even where none are kept"),
        pytest.param(1, "pc", "pc", id="a pending one never displaces the newest completed one"),
        pytest.param(1, "pcc", "pc.", id="with N 1 two exist while the new one is pending"),
        pytest.param(1, "ppcc", "ppc.", id="pending ones beyond N are untouched"),
        pytest.param(2, "pcc", "pc.", id="a pending one counts"),
        pytest.param(3, "pppcc", "pppc.", id="the newest completed one stays behind N pending ones"),
        pytest.param(2, "ecc", "ecc", id="a failed one does not count"),
        pytest.param(2, "cec", "c.c", id="a failed one goes once a newer completed one exists"),
        pytest.param(2, "pec", "pec", id="a failed one stays while the newer one is only pending"),
        pytest.param(1, "eee", "eee", id="failed ones without any good one stay, as evidence"),
        pytest.param(0, "e", ".", id="a failed one goes at once where none are kept"),
        pytest.param(1, "bcc", "bc.", id="one in the Recycle Bin is neither counted nor touched"),
        pytest.param(1, "occ", "oc.", id="one in an unknown state is neither counted nor touched"),
        pytest.param(1, "rcc", "rc.", id="one coming back from the Recycle Bin is treated as pending"),
    ],
)
def test_retention(count, states, kept):
    verdicts = apply_retention(RetentionRule(Period.HOUR, count), of(states))
    assert "".join(v.snapshot.state[0] if v.keep else "." for v in verdicts) == "".join(
        LETTERS[s][0] if s != "." else "." for s in kept
    )
    assert all(verdict.reason for verdict in verdicts)


@pytest.mark.parametrize(
    ("count", "states", "expected"),
    [
        pytest.param(
            1,
            "cc",
            [
                (True, "1st newest hourly snapshot; the policy keeps 1"),
                (False, "2nd newest hourly snapshot; the policy keeps 1"),
            ],
            id="by its number",
        ),
        pytest.param(
            0,
            "ce",
            [(False, "the policy keeps no hourly snapshots"), (False, "failed, and the policy keeps none")],
            id="where none are kept",
        ),
        pytest.param(
            1,
            "pcpe",
            [
                (True, "1st newest hourly snapshot; the policy keeps 1"),
                (True, "the newest completed one: those before it are not completed yet"),
                (True, "pending: untouched until it is completed"),
                (False, "failed, and a newer completed one exists"),
            ],
            id="by its state",
        ),
        pytest.param(
            2,
            "eb",
            [
                (True, "failed: goes once a newer completed one exists"),
                (True, "in state recoverable: not counted, not touched"),
            ],
            id="without any good one",
        ),
    ],
)
def test_every_snapshot_kept_or_released_has_a_reason(count, states, expected):
    assert [
        (verdict.keep, verdict.reason) for verdict in apply_retention(RetentionRule(Period.HOUR, count), of(states))
    ] == expected


def test_a_failed_one_as_new_as_the_newest_completed_one_stays():
    completed, failed = of("ce")
    verdicts = apply_retention(
        RetentionRule(Period.HOUR, 1), [completed, replace(failed, start_time=completed.start_time)]
    )
    assert all(verdict.keep for verdict in verdicts)


def test_the_slot_snapshot_ranks_first_whatever_the_clocks_say():
    one, two, three = of("ccc")
    verdicts = apply_retention(RetentionRule(Period.HOUR, 2), [one, two, three], slot_snapshot_id=three.id)
    assert {v.snapshot.id for v in verdicts if v.keep} == {one.id, three.id}


def test_a_failed_one_newer_than_every_completed_one_stays():
    """It stays even if the slot is served."""
    failed, serving = of("ec")
    assert all(
        v.keep for v in apply_retention(RetentionRule(Period.HOUR, 2), [failed, serving], slot_snapshot_id=serving.id)
    )


states = st.lists(st.sampled_from(list(LETTERS)), max_size=12)
counts = st.integers(0, 6)


@given(counts, states, st.randoms())
def test_the_result_does_not_depend_on_the_order_of_the_listing(count, letters, random):
    snapshots = of(letters)
    shuffled = list(snapshots)
    random.shuffle(shuffled)
    assert apply_retention(RetentionRule(Period.HOUR, count), snapshots) == apply_retention(
        RetentionRule(Period.HOUR, count), shuffled
    )


@given(counts, states)
def test_every_snapshot_gets_exactly_one_verdict(count, letters):
    snapshots = of(letters)
    assert [v.snapshot for v in apply_retention(RetentionRule(Period.HOUR, count), snapshots)] == snapshots


@given(counts, states)
def test_pruning_twice_is_pruning_once(count, letters):
    kept = [v.snapshot for v in apply_retention(RetentionRule(Period.HOUR, count), of(letters)) if v.keep]
    assert [v.snapshot for v in apply_retention(RetentionRule(Period.HOUR, count), kept) if v.keep] == kept


@given(st.integers(1, 6), states)
def test_the_newest_completed_and_the_newest_n_good_always_stay(count, letters):
    snapshots = of(letters)
    kept = {v.snapshot.id for v in apply_retention(RetentionRule(Period.HOUR, count), snapshots) if v.keep}
    good = [s for s in snapshots if s.state.is_good]
    completed = [s for s in snapshots if s.state is SnapshotState.COMPLETED]
    assert {s.id for s in good[:count]} <= kept
    assert {s.id for s in completed[:1]} <= kept


@given(counts, states)
def test_only_completed_and_failed_snapshots_are_ever_released(count, letters):
    for verdict in apply_retention(RetentionRule(Period.HOUR, count), of(letters)):
        assert verdict.keep or verdict.snapshot.state in (SnapshotState.COMPLETED, SnapshotState.ERROR)


@given(counts, st.lists(st.just("c"), max_size=12))
def test_once_everything_is_completed_exactly_n_remain(count, letters):
    kept = [v for v in apply_retention(RetentionRule(Period.HOUR, count), of(letters)) if v.keep]
    assert len(kept) == min(count, len(letters))


@pytest.mark.parametrize(
    ("periods", "period", "expected"),
    [
        (("hour",), "hour", (Change.DELETE, ())),
        (("hour", "day", "week"), "hour", (Change.RELEASE, ("day", "week"))),
        (("day", "fortnight"), "day", (Change.RELEASE, ("fortnight",))),
    ],
)
def test_the_last_word_released_deletes_the_snapshot(periods, period, expected):
    """Any other release only removes the period's word."""
    (snapshot,) = of("c", periods)
    assert change_for(snapshot, Period(period)) == expected


def test_positions_are_ordinals():
    positions = (1, 2, 3, 4, 10, 11, 12, 13, 14, 21, 22, 23, 24, 101, 111, 112, 113, 122)
    assert " ".join(map(ordinal, positions)) == (
        "1st 2nd 3rd 4th 10th 11th 12th 13th 14th 21st 22nd 23rd 24th 101st 111th 112th 113th 122nd"
    )
