"""What must hold however two runs met: of snapshots, of freezes, of what the runs report, and of later runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from lambda_function.model.ec2 import Consistency
from lambda_function.model.period import Period, in_slot
from lambda_function.model.request import RunRequest
from lambda_function.model.result import Change, ChangeOutcome, Outcome, RunReport
from tests.campaigns.interleaving.meeting import DAY, TIMEOUT_SECONDS, WEEK, Meeting
from tests.support.clock import START
from tests.support.cloud import KEYS, Stored

THAW = "wait post-script"
MINUTE = timedelta(minutes=1)
Counts = Mapping[str, Mapping[str, int]]
Words = set[tuple[str, str]]
"""Snapshots and words."""


class Trace(NamedTuple):
    """What became of period tags.

    `ever` are all words that a snapshot has borne. `lost` are a longer period's, overwritten or deleted by a shorter
    one's run that had looked before they were written: the one loss that is accepted. `back` are words that a run
    had taken away, and another that had looked before wrote again: they stay until the next run of their period.
    """

    ever: Mapping[str, set[str]]
    lost: Words
    back: Words


def words(stored: Stored) -> set[str]:
    return set(stored.tags.get(KEYS.period, "").split())


def check_meeting(
    meeting: Meeting, periods: Mapping[str, str], counts: Counts, makes_anyway: Collection[str] = ()
) -> Trace:
    """Right after both runs; `periods` are the runs' own, `counts` what every policy in force wants kept at least."""
    trace = follow(meeting, periods)
    _nothing_foreign_is_touched(meeting, periods)
    _the_newest_n_are_there(meeting, counts, trace)
    _a_volume_has_at_most_one_more(meeting, periods, makes_anyway)
    _nothing_is_frozen(meeting)
    return trace


def follow(meeting: Meeting, periods: Mapping[str, str]) -> Trace:
    """Follow the period tags through all writes; any loss but the accepted one fails."""
    now = {each: words(stored) for each, stored in meeting.at_first.items()}
    now |= {each: {periods[run]} for each, run in meeting.made.items()}
    ever = {each: set(found) for each, found in now.items()}
    looked: dict[str, int] = {}
    written: dict[tuple[str, str], int] = {}
    lost: Words = set()
    back: Words = set()
    for moment, event in enumerate(meeting.events):
        if event.operation == "DescribeSnapshots" and event.target != "pending":
            looked[event.run] = moment
        taken: set[str] = set()
        if event.words:
            taken = now[event.target] - set(event.words)
            added = {(event.target, word) for word in set(event.words) - now[event.target]}
            written |= dict.fromkeys(added, moment)
            back |= {(each, word) for each, word in added if word in ever[each]}
            now[event.target] = set(event.words)
            ever[event.target] |= now[event.target]
        elif event.operation == "DeleteSnapshot" and meeting.deleted.get(event.target) == event.run:
            taken, now[event.target] = now[event.target], set()
        for word in taken - {periods[event.run]}:
            is_longer = Period(word).rank > Period(periods[event.run]).rank
            was_unseen = written.get((event.target, word), -1) > looked[event.run]
            assert is_longer, f"the {periods[event.run]} took the {word} from {event.target}"
            assert was_unseen, f"{event.run} had seen the {word} on {event.target}, and took it"
            lost.add((event.target, word))
    return Trace(ever, lost, back)


def _nothing_foreign_is_touched(meeting: Meeting, periods: Mapping[str, str]) -> None:
    for each, before in meeting.at_first.items():
        now = meeting.snapshots.get(each)
        is_ours = KEYS.period in before.tags and KEYS.selection in meeting.volumes_at_first.get(before.volume_id, ())
        if not is_ours:
            assert now == before, f"{each} is not ours and was changed"
        elif now is None:
            assert words(before) <= set(periods.values()), f"{each} was deleted, kept for {words(before)}"
        else:
            assert words(before) - words(now) <= set(periods.values()), f"{each} lost a word of neither run"
    for each, maker in meeting.made.items():
        names_policy = KEYS.selection in meeting.ever[each].tags
        assert names_policy or words(meeting.ever[each]) == {periods[maker]}, f"{each} names no policy and was joined"


def _the_newest_n_are_there(meeting: Meeting, counts: Counts, trace: Trace) -> None:
    for volume_id, of_volume in counts.items():
        for period, count in of_volume.items():
            bearing = [s for s in meeting.ever.values() if s.volume_id == volume_id and period in trace.ever[s.id]]
            good = [s for s in bearing if meeting.state_of(s).is_good]
            for each in sorted(good, key=lambda s: (s.start_time, s.id))[len(good) - min(count, len(good)) :]:
                is_kept = each.id in meeting.snapshots and period in words(each)
                assert is_kept or (each.id, period) in trace.lost, f"{each.id} was to be kept for the {period}"


def _a_volume_has_at_most_one_more(meeting: Meeting, periods: Mapping[str, str], makes_anyway: Collection[str]) -> None:
    """A run makes one of a volume, and a second run one more only where it could not know of the first one's."""
    for volume_id in {meeting.ever[each].volume_id for each in meeting.made}:
        made = [each for each in meeting.made if meeting.ever[each].volume_id == volume_id]
        makers = [meeting.made[each] for each in made]
        assert len(makers) == len(set(makers)), f"one run made two of {volume_id}"
        if len(made) == 2 and makers[1] not in makes_anyway and not meeting.hidden_for:
            one, more = (meeting.ever[each] for each in made)
            could_use_it = _serves(one, more, Period(periods[makers[0]]), Period(periods[makers[1]]))
            assert not could_use_it or meeting.saw_at[more.id] < meeting.made_at[one.id], f"{more.id} was not needed"


def _serves(one: Stored, more: Stored, made_for: Period, period: Period) -> bool:
    """Whether one made for a period serves another: the same, or a longer one of the same policy."""
    names = (one.tags.get(KEYS.selection), more.tags.get(KEYS.selection))
    return made_for is period or (made_for.rank < period.rank and names[0] == names[1] is not None)


def _nothing_is_frozen(meeting: Meeting) -> None:
    assert meeting.at_work.frozen() == []
    for freeze in meeting.at_work.freezes:
        assert freeze.until is not None
        assert freeze.until - freeze.since <= 2 * timedelta(seconds=TIMEOUT_SECONDS)
    for each in meeting.ever.values():
        if each.tags.get(KEYS.consistency) == Consistency.APPLICATION:
            assert any(f.is_proof and f.covers(each.volume_id, each.start_time) for f in meeting.at_work.freezes)


def check_report(meeting: Meeting, run: str, report: RunReport, trace: Trace, counts: Counts) -> None:
    """The report says what the run did, all of it, and what is so when both are over (unless none is to be kept)."""
    period = report.request.period
    made = {each for each, maker in meeting.made.items() if maker == run}
    for result in report.volumes:
        if result.outcome in (Outcome.CREATED, Outcome.SHARED, Outcome.ALREADY_DONE):
            assert result.snapshot_id is not None
            stored = meeting.ever[result.snapshot_id]
            assert stored.volume_id == result.volume_id
            assert (stored.id in made) is (result.outcome is Outcome.CREATED)
            assert in_slot(period, report.request.time, stored.start_time)
            keeps_none = counts[result.volume_id].get(period) == 0
            is_there = keeps_none or (stored.id in meeting.snapshots and period.value in words(stored))
            assert is_there or (stored.id, period.value) in trace.lost, f"{run} tells of {stored.id}, which is not so"
            if result.consistency is not None:
                assert stored.tags[KEYS.consistency] == result.consistency
        for warning in result.warnings:
            claims_crash = "crash-consistent" in warning and result.snapshot_id is not None
            assert not claims_crash or meeting.ever[result.snapshot_id or ""].tags[KEYS.consistency] == "crash"
        if result.outcome is Outcome.FAILED:
            assert any(line.startswith(result.volume_id) for line in report.failures)
            _could_not_know_better(meeting, run, result.volume_id, report.request)
    assert made == {r.snapshot_id for r in report.volumes if r.snapshot_id in made}, "made and not told"
    told = {change.snapshot_id for change in report.changes if _is(change, Change.DELETE, ChangeOutcome.DONE)}
    assert told == {each for each, by in meeting.deleted.items() if by == run}
    released = {change.snapshot_id for change in report.changes if _is(change, Change.RELEASE, ChangeOutcome.DONE)}
    for each in released:
        assert period.value not in words(meeting.ever[each]) or (each, period.value) in trace.back
    for change in report.changes:
        assert change.outcome is not ChangeOutcome.FAILED
        assert change.outcome is not ChangeOutcome.GONE or change.snapshot_id not in meeting.snapshots


def _could_not_know_better(meeting: Meeting, run: str, volume_id: str, request: RunRequest) -> None:
    """Whoever fails under a freeze has looked after its thaw, and there was none by then that would have served."""
    thawed = max(n for n, event in enumerate(meeting.events) if (event.run, event.operation) == (run, THAW))
    for each, maker in meeting.made.items():
        stored = meeting.ever[each]
        made_for = Period(stored.tags[KEYS.period].split()[0])
        is_late_enough = not request.force or stored.start_time >= request.time
        is_usable = stored.volume_id == volume_id and made_for.rank <= request.period.rank and is_late_enough
        assert not is_usable or meeting.made_at[each] > thawed, f"{maker} had served {volume_id} when {run} gave up"


def _is(change, kind, outcome):
    return change.change is kind and change.outcome is outcome


def check_served(
    meeting: Meeting,
    period: str,
    time: datetime,
    counts: Counts,
    lost: Words | frozenset[tuple[str, str]] = frozenset(),
) -> None:
    """Every volume whose policy wants one for the slot has one."""
    for volume_id, of_volume in counts.items():
        if of_volume.get(period):
            of_slot = [s for s in meeting.ever.values() if in_slot(Period(period), time, s.start_time)]
            mine = [s for s in of_slot if s.volume_id == volume_id]
            there = [
                s for s in mine if s.id in meeting.snapshots and period in words(s) and meeting.state_of(s).is_good
            ]
            assert there or any((s.id, period) in lost for s in mine), f"{volume_id} has none for the {period}"


def check_later_runs(meeting: Meeting, periods: Mapping[str, str]) -> None:
    """The next day's runs make good what was lost; three weeks on every period has exactly its N."""
    counts = meeting.counts()
    rules = ("hour", "day", "week")
    for slot in (START + DAY, START + 2 * WEEK, START + 3 * WEEK):
        meeting.clock.now = slot
        for period in rules:
            report = meeting.alone(period)
            assert report.failures == ()
            meeting.clock.now += 10 * MINUTE
        if slot == START + DAY:
            for period in {*periods.values(), "week"} & set(rules):
                check_served(meeting, period, slot, counts)
    for volume_id, of_volume in counts.items():
        for period, count in of_volume.items():
            assert len(meeting.of(volume_id, period)) == count, f"{volume_id}: {period}"
    assert meeting.at_work.frozen() == []
