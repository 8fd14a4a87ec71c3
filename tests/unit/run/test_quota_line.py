"""Who is admitted under a cap on pending snapshots: what a refusal teaches, the line, and whole runs in simulated time.

Everything happens in one thread, at moments that the simulation sets.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from lambda_function.run.quota_line import (
    FEW_REFUSALS,
    KEPT_SECONDS,
    PASSED_SECONDS,
    REFUSED_SECONDS,
    TRY_AGAIN_SECONDS,
    Claim,
    QuotaLine,
)


def waiting(line, snapshots, now=0.0):
    claim = Claim(snapshots)
    line.join(claim, now)
    return claim


def refuse(line, snapshots, pending, now=0.0):
    """A create call for so many is refused; then so many are counted, if a count would teach anything."""
    claim = Claim(snapshots, tried=snapshots)
    line.refused(claim, None if line.is_cap_known else pending, now)
    return claim


def count(line, pending, now=0.0):
    line.counted(pending, line.begin_count(), now)


def admitted(line, snapshots, pending, now=0.0):
    """Whether a call for so many would be admitted when so many are pending."""
    claim = waiting(line, snapshots, now)
    count(line, pending, now)
    line.leave(claim)
    is_admitted = claim.granted == snapshots
    line.release(claim)
    return is_admitted


def most_pending(line, snapshots):
    """With how many pending a call for so many is still admitted, at most."""
    return max((pending for pending in range(1, 200) if admitted(line, snapshots, pending)), default=0)


@pytest.mark.parametrize(
    ("refusals", "pending", "single", "set_of_40"),
    [
        pytest.param([(1, 100)], 90, 1, 10, id="a single at 100: the cap is 100"),
        pytest.param([(1, 100)], 100, 0, 0, id="a single at 100: the cap is not higher"),
        pytest.param([(40, 65)], 65, 1, 20, id="a set of 40 at 65: below 105, so a set tries half of that"),
        pytest.param([(40, 65)], 103, 1, 1, id="a set of 40 at 65: a single tries up to 104"),
        pytest.param([(40, 65)], 104, 0, 0, id="a set of 40 at 65: and no more"),
        pytest.param([(40, 65), (1, 100)], 65, 1, 35, id="then a single at 100: the cap is 100"),
        pytest.param([(1, 100), (40, 65)], 65, 1, 35, id="a set after a single teaches nothing"),
        pytest.param([(40, 65), (40, 70)], 70, 1, 17, id="a second set, at 70: it is not lower than 70"),
        pytest.param([(40, 65), (10, 80)], 80, 1, 5, id="a smaller set, at 80: below 90"),
        pytest.param([(40, 0)], 5, 1, 18, id="a set with nothing pending: no lower than that set"),
        pytest.param([(1, 0)], 1, 0, 0, id="a single with nothing pending: no lower than one"),
    ],
)
def test_what_a_refusal_teaches(refusals, pending, single, set_of_40):
    """For how many there is room now: for a single, and for a part of a set that has waited for a minute."""

    def room(claim):
        line = QuotaLine()
        for number, (snapshots, counted) in enumerate(refusals):
            refuse(line, snapshots, counted, number * REFUSED_SECONDS / 2)
        line.join(claim, REFUSED_SECONDS)
        count(line, pending, REFUSED_SECONDS)
        return claim.granted

    assert (room(Claim(1)), room(Claim(40, since=-60.0, short_since=-60.0))) == (single, set_of_40)


def test_nothing_waits_before_the_first_refusal():
    line = QuotaLine()
    assert [waiting(line, snapshots).granted for snapshots in (1, 40, 300)] == [1, 40, 300]


def test_a_refusal_of_what_was_known_to_fit_lowers_it_by_one():
    """Many at once count as one refusal, since they were admitted by one count."""
    line = QuotaLine()
    refuse(line, 1, 100)
    for _ in range(16):
        refuse(line, 1, 100, REFUSED_SECONDS)
    assert most_pending(line, 1) == 98


def test_a_set_of_more_than_the_cap_teaches_nothing_by_a_refusal():
    line = QuotaLine()
    refuse(line, 1, 30)
    refuse(line, 40, 0, REFUSED_SECONDS)
    assert most_pending(line, 1) == 29


def test_a_higher_cap_is_tried_by_a_single_while_a_set_waits():
    """A set that room is kept for keeps none that is only a guess."""
    line = QuotaLine()
    refuse(line, 1, 100)
    large = waiting(line, 40)
    now = max(TRY_AGAIN_SECONDS, PASSED_SECONDS)
    single = waiting(line, 1, now)
    count(line, 100, now)
    assert (large.granted, single.granted) == (0, 1)


def known(cap):
    line = QuotaLine()
    refuse(line, 1, cap)
    return line


@pytest.mark.parametrize(
    ("waited", "pending", "granted"),
    [
        pytest.param(0.0, 65, [0, 1, 1], id="what fits passes what does not"),
        pytest.param(0.0, 60, [40, 0, 0], id="but who came first is served first"),
        pytest.param(0.0, 59, [40, 1, 0], id="and then the others, as far as there is room"),
        pytest.param(PASSED_SECONDS, 65, [0, 0, 0], id="later room is kept for it"),
        pytest.param(PASSED_SECONDS, 60, [40, 0, 0], id="so that it may fit"),
        pytest.param(PASSED_SECONDS, 100, [0, 1, 0], id="in a full account a single tries a higher cap"),
    ],
)
def test_a_set_in_line_before_two_singles(waited, pending, granted):
    line = known(100)
    claims = [waiting(line, snapshots, now) for snapshots, now in ((40, 0.0), (1, 0.1), (1, 0.2))]
    count(line, pending, waited)
    assert [claim.granted for claim in claims] == granted


def test_a_set_takes_a_part_after_a_minute_then_what_comes():
    line = known(100)
    large, single = waiting(line, 40), waiting(line, 1, 0.1)
    count(line, 65, PASSED_SECONDS)
    count(line, 65, PASSED_SECONDS + KEPT_SECONDS - 1)
    assert (large.granted, single.granted) == (0, 0)
    count(line, 65, PASSED_SECONDS + KEPT_SECONDS)
    assert (large.granted, single.granted) == (35, 0)
    line.leave(large)
    line.release(large)
    rest = large.rest(5)
    line.join(rest, 61)
    count(line, 98, 62)
    assert rest.granted == 2, "what there is, without waiting for another minute"


def test_the_minute_of_a_set_does_not_run_out_in_a_full_account():
    """Where nothing has become free, a wait may yet end with room for all of it."""
    line = known(100)
    large = waiting(line, 40)
    for now in range(0, 600, 20):
        count(line, 100, now)
    count(line, 99, 600)
    count(line, 80, 610)
    assert large.granted == 0
    count(line, 60, 615)
    assert large.granted == 40


def test_a_set_refused_though_nothing_is_pending_goes_in_parts():
    """EC2 counts something that is not listed."""
    line, claim, now, granted = QuotaLine(), Claim(40), 0.0, []
    while now < 200:
        line.join(claim, now)
        if claim.granted == 0:
            count(line, 0, now)
        granted.append(claim.granted)
        line.leave(claim)
        line.release(claim)
        if 0 < granted[-1] < 40:
            break
        if granted[-1] == 40:
            line.refused(claim, None if line.is_cap_known else 0, now)
        now += REFUSED_SECONDS
    assert granted.count(40) == FEW_REFUSALS
    assert granted[-1] == 20


@dataclass
class Simulation:
    """An account that allows `cap` pending, of which others hold `foreign`, and `claims` that workers bring one by one.

    A claim is a call, made as a run makes it: a refused one waits and comes again, and so does what is left of one
    that was taken in part.
    """

    claims: list[int]
    cap: int = 100
    foreign: int = 0
    pending_for: float = 60.0
    workers: int = 16
    line: QuotaLine = field(default_factory=QuotaLine)
    now: float = 0.0
    refusals: int = 0
    counts: int = 0
    parts: list[tuple[int, list[int], float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.waiting = [(index, snapshots, Claim(snapshots)) for index, snapshots in enumerate(self.claims)]
        self.in_line: list[tuple[int, int, Claim]] = []
        self.refused: list[tuple[float, int, tuple[int, int, Claim]]] = []
        self.ends: list[float] = []
        self.is_capped = False

    @property
    def pending(self) -> int:
        while self.ends and self.ends[0] <= self.now:
            heapq.heappop(self.ends)
        return self.foreign + len(self.ends)

    def run(self, seconds: float) -> float:
        """Until all are created, or for so long; when that was."""
        self.taken: dict[int, list[int]] = {index: [] for index, _, _ in self.waiting}
        while self.now < seconds:
            self._fill()
            if not (self.in_line or self.refused or self.waiting):
                break
            self._answer()
            if self.in_line:
                self.counts += 1
                count(self.line, self.pending, self.now)
                self._answer()
            self.now += max(0.5, self.pending_for / 20)
        return self.now

    def _fill(self) -> None:
        while self.refused and self.refused[0][0] <= self.now:
            self._join(heapq.heappop(self.refused)[2])
        while self.waiting and len(self.in_line) + len(self.refused) < self.workers:
            self._join(self.waiting.pop(0))
            self._answer()

    def _join(self, job: tuple[int, int, Claim]) -> None:
        self.line.join(job[2], self.now)
        self.in_line.append(job)

    def _answer(self) -> None:
        for job in [each for each in self.in_line if each[2].granted]:
            index, left, claim = job
            self.in_line.remove(job)
            self.line.leave(claim)
            granted, is_accepted = claim.granted, self.pending + claim.granted <= self.cap
            self.line.release(claim)
            if not is_accepted:
                self.refusals += 1
                self.line.refused(claim, None if self.line.is_cap_known else self.pending, self.now)
                heapq.heappush(self.refused, (self.now + REFUSED_SECONDS, index, job))
                continue
            for _ in range(granted):
                heapq.heappush(self.ends, self.now + self.pending_for)
            self.taken[index].append(granted)
            self.parts.append((index, list(self.taken[index]), self.now))
            if granted < left:
                self._join((index, left - granted, claim.rest(left - granted)))


def test_a_set_among_300_singles_beside_another_tool_s_snapshots():
    """65 of another tool stay pending: today's cap leaves 35, and the set of 40 never fits."""
    account = Simulation([40] + [1] * 300, foreign=65)
    ends = account.run(855)
    assert sum(map(sum, account.taken.values())) == 340
    assert account.taken[0] == [35, 5]
    assert min(now for index, _, now in account.parts if index) < 1, "singles pass it at once"
    first = next(now for index, _, now in account.parts if index == 0)
    assert PASSED_SECONDS + KEPT_SECONDS <= first < 90
    assert ends < 660, "at most one round of 35 more than the ten that all of them need"
    assert account.refusals < 25


@pytest.mark.parametrize(("size", "pending_for"), [(3, 60.0), (3, 180.0), (10, 60.0)])
def test_sets_stay_whole_in_an_account_that_is_only_busy(size, pending_for):
    """Small sets among singles, for hours of a full account: room comes, and they are not split for having waited."""
    account = Simulation(([size] + [1] * size) * 40, pending_for=pending_for)
    account.run(4000)
    split = [taken for taken in account.taken.values() if len(taken) > 1]
    assert sum(map(sum, account.taken.values())) == 80 * size
    assert len(split) <= 2
    assert account.refusals < 40


@settings(phases=(Phase.explicit, Phase.reuse, Phase.generate))  # a failure's simulation is long, and shrinking longer
@given(
    claims=st.lists(st.one_of(st.just(1), st.integers(1, 30)), min_size=1, max_size=10),
    cap=st.integers(2, 40),
    foreign=st.integers(0, 39),
    pending_for=st.floats(5, 100),
    workers=st.integers(1, 5),
)
def test_everyone_is_admitted_in_the_end_and_few_are_refused(claims, cap, foreign, pending_for, workers):
    """Where there is any room at all; and what is taken of a claim is the claim, no more and no less."""
    account = Simulation(claims, cap, min(foreign, cap - 1), pending_for, workers)
    ends = account.run(20_000)
    assert {index: sum(taken) for index, taken in account.taken.items()} == dict(enumerate(claims))
    rounds = ends / REFUSED_SECONDS
    assert account.refusals <= workers * (FEW_REFUSALS + 3) + 45 + 2 * rounds / (TRY_AGAIN_SECONDS / REFUSED_SECONDS)


@given(
    claims=st.lists(st.integers(1, 45), min_size=1, max_size=30),
    cap=st.integers(1, 120),
    counts=st.lists(st.tuples(st.integers(0, 120), st.floats(0, 100)), max_size=30),
)
def test_no_more_are_admitted_than_a_known_cap_leaves(claims, cap, counts):
    """However long they wait; a call that is as large as what is free may pass, and all that pass it fit as well."""
    line = known(cap)
    for position, snapshots in enumerate(claims):
        waiting(line, snapshots, position)
    now = 0.0
    for pending, seconds in counts:
        now = min(now + seconds, TRY_AGAIN_SECONDS - 1)  # before a higher cap is tried
        held = sum(claim.granted for claim in line._line)
        count(line, min(pending, cap), now)
        admitted_now = sum(claim.granted for claim in line._line) - held
        assert admitted_now <= max(cap - min(pending, cap) - held, 0)
