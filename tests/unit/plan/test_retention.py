from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_function.model.ec2 import Consistency, Snapshot, SnapshotState
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
        pytest.param(0, "pc", "p.", id="a pending one waits for its completion even where none are kept"),
        pytest.param(1, "pc", "pc", id="a pending one never displaces the newest completed one"),
        pytest.param(1, "pcc", "pc.", id="with N 1 two exist while the new one is pending"),
        pytest.param(1, "ppcc", "ppc.", id="pending ones beyond N are untouched"),
        pytest.param(2, "pcc", "pc.", id="a pending one counts"),
        pytest.param(3, "pppcc", "pppc.", id="the newest completed one stays behind N pending ones"),
        pytest.param(2, "eccc", "ecc.", id="a failed one is neither counted nor touched"),
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
                (True, "in the newest hour; the policy keeps 1"),
                (False, "in the 2nd newest hour; the policy keeps 1"),
            ],
            id="by its number",
        ),
        pytest.param(
            0,
            "c",
            [(False, "the policy keeps no hourly snapshots")],
            id="where none are kept",
        ),
        pytest.param(
            1,
            "pcp",
            [
                (True, "in the newest hour; the policy keeps 1"),
                (True, "the newest completed one: those before it are not completed yet"),
                (True, "pending: untouched until it is completed"),
            ],
            id="by its state",
        ),
        pytest.param(
            2,
            "eb",
            [
                (True, "in state error: not counted, not touched"),
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


def test_the_slot_snapshot_ranks_first_whatever_the_clocks_say():
    one, two, three = of("ccc")
    verdicts = apply_retention(RetentionRule(Period.HOUR, 2), [one, two, three], slot_snapshot_id=three.id)
    assert {v.snapshot.id for v in verdicts if v.keep} == {one.id, three.id}


PROOFS = {"a": Consistency.APPLICATION, "c": Consistency.CRASH, "o": Consistency.OFFLINE}


def days(text, state=SnapshotState.COMPLETED):
    """Snapshots from newest to oldest: a word for each day, in it a letter for each snapshot's consistency."""
    made = []
    for day, word in enumerate(text.split()):
        for position, letter in enumerate(word if word != "-" else ""):
            moment = NOW + timedelta(hours=12) - timedelta(days=day, minutes=position)
            name = f"snap-{day}-{position}"
            made.append(Snapshot(name, "vol-1", moment, state, ("day",), consistency=PROOFS[letter]))
    return made


def kept_days(rule, snapshots):
    """A word for each day of the snapshots, with a dot in place of each one that goes."""
    words: dict[int, str] = {}
    for retention in apply_retention(rule, snapshots):
        day = (NOW.date() - retention.snapshot.start_time.date()).days
        words[day] = words.get(day, "") + (str(retention.snapshot.consistency)[0] if retention.keep else ".")
    return " ".join(words.get(day, "-") for day in range(max(words, default=-1) + 1))


@pytest.mark.parametrize(
    ("count", "hooked", "text", "kept"),
    [
        pytest.param(3, False, "c c c c", "c c c .", id="the newest three days stay"),
        pytest.param(3, False, "cccccc c c c", "cccccc c c .", id="six of one day push no other day out"),
        pytest.param(2, False, "c cc cc", "c cc ..", id="a day that goes goes whole"),
        pytest.param(2, False, "c - - c - c", "c - - c - .", id="days without a snapshot do not count"),
        pytest.param(2, True, "c c a c", "c c a .", id="the last that a hook proved stays while none newer is"),
        pytest.param(2, False, "c c a c", "c c . .", id="without a hook it goes in its turn"),
        pytest.param(2, True, "a c a", "a c .", id="a newer proved one takes its place"),
        pytest.param(2, True, "c c o a a", "c c o a .", id="the newest at rest stays, and the newest proved"),
        pytest.param(2, True, "c c a o", "c c a .", id="one at rest that is older goes"),
        pytest.param(0, True, "c a", ". .", id="where none are kept the last proved one goes as well"),
    ],
)
def test_slots_are_kept(count, hooked, text, kept):
    assert kept_days(RetentionRule(Period.DAY, count, hooked), days(text)) == kept


def test_a_pending_proof_is_no_floor():
    """It may fail yet."""
    newest, pending, completed = days("c a a")
    pending = replace(pending, state=SnapshotState.PENDING)
    assert kept_days(RetentionRule(Period.DAY, 1, True), [newest, pending, completed]) == "c a a"


@pytest.mark.parametrize(
    ("period", "moments"),
    [
        (Period.WEEK, ("2026-02-23T00:00", "2026-03-01T23:59")),
        (Period.MONTH, ("2026-02-01T00:00", "2026-02-28T23:59")),
        (Period.YEAR, ("2026-01-01T00:00", "2026-12-31T23:59")),
    ],
)
def test_a_slot_is_a_calendar_s(period, moments):
    """In UTC; a week begins on Monday."""
    first, last = (datetime.fromisoformat(f"{moment}+00:00") for moment in moments)

    def snapshots(*times):
        return [Snapshot(f"snap-{t:%Y%j%H%M}", "vol-1", t, SnapshotState.COMPLETED, (period,)) for t in times]

    rule = RetentionRule(period, 1)
    assert all(retention.keep for retention in apply_retention(rule, snapshots(first, last)))
    before = apply_retention(rule, snapshots(first - timedelta(minutes=1), last))
    assert [retention.keep for retention in before] == [True, False]


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
def test_only_completed_snapshots_are_ever_released(count, letters):
    for verdict in apply_retention(RetentionRule(Period.HOUR, count), of(letters)):
        assert verdict.keep or verdict.snapshot.state is SnapshotState.COMPLETED


@given(counts, st.lists(st.just("c"), max_size=12))
def test_once_everything_is_completed_exactly_n_remain(count, letters):
    kept = [v for v in apply_retention(RetentionRule(Period.HOUR, count), of(letters)) if v.keep]
    assert len(kept) == min(count, len(letters))


words = st.lists(st.text("aco", max_size=3).map(lambda word: word or "-"), max_size=8)


@given(st.integers(1, 5), st.booleans(), words)
def test_n_slots_and_the_newest_proof_always_stay(count, hooked, words):
    snapshots = days(" ".join(words))
    kept = {r.snapshot.id for r in apply_retention(RetentionRule(Period.DAY, count, hooked), snapshots) if r.keep}
    filled = [index for index, word in enumerate(words) if word != "-"]
    of_n_days = {s.id for s in snapshots if int(s.id.split("-")[1]) in filled[:count]}
    proofs = [s.id for s in snapshots if s.consistency is Consistency.APPLICATION][:1] if hooked else []
    rest = [s.id for s in snapshots if s.consistency is not Consistency.CRASH][:1] if hooked else []
    assert kept == of_n_days.union(proofs, rest)


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
