"""What every run promises, said once and worked out beside the code under test.

A promise is a function that yields what breaks it: of a write when it takes effect (`ON_WRITE`), of a run that lived
to report (`ON_REPORT`), or of a slot when all of its events are over (`ON_SLOT`). Crashes, two runs at once, two years
and the demonstration each show their account as an `Account`; what one of them tolerates stands in its adapter or in
its `Run`, with the reason.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from lambda_function.inputs.policy import Parameter
from lambda_function.model.ec2 import SnapshotState, Volume
from lambda_function.model.result import Change, ChangeOutcome, Outcome, RunReport
from tests.support.cloud import KEYS, Stored, Write
from tests.support.instance import Freeze, Instances

SLOT: dict[str, Callable[[datetime], Any]] = {
    "hour": lambda at: (at.year, at.month, at.day, at.hour),
    "day": lambda at: (at.year, at.month, at.day),
    "week": lambda at: at.isocalendar()[:2],
    "month": lambda at: (at.year, at.month),
    "year": lambda at: at.year,
}
PERIODS = tuple(SLOT)
PENDING, COMPLETED, ERROR = SnapshotState.PENDING, SnapshotState.COMPLETED, SnapshotState.ERROR
JOINED_WITHIN = timedelta(minutes=59)
SERVED = (Outcome.CREATED, Outcome.SHARED, Outcome.ALREADY_DONE)
GONE = (ChangeOutcome.DONE, ChangeOutcome.GONE)
FREEZE_LIMIT = timedelta(minutes=2)
"""Twice the `hook_timeout_seconds` of every policy here, after which the documents thaw by themselves."""


def age(stored: Stored) -> tuple[datetime, str]:
    return stored.start_time, stored.id


class Account:
    """An account as its adapter shows it: what it holds, what its people want, and what a run could know of it."""

    @property
    def snapshots(self) -> Mapping[str, Stored]:
        raise NotImplementedError

    def state_of(self, stored: Stored) -> SnapshotState:
        raise NotImplementedError

    def count(self, volume_id: str, period: str) -> int | None:
        """The policy's N, or None where the period is not its business."""
        raise NotImplementedError

    def policy_of(self, volume_id: str) -> str | None:
        raise NotImplementedError

    def due(self, period: str) -> Iterable[str]:
        """The volumes whose policy wants a snapshot for the period."""
        raise NotImplementedError

    def is_foreign(self, stored: Stored) -> bool:
        raise NotImplementedError

    def freezes(self) -> Collection[Freeze]:
        raise NotImplementedError

    def instances_of(self, volume_id: str) -> Collection[str]:
        raise NotImplementedError

    def is_hooked(self, policy: str | None) -> bool:
        """Whether the policy has its snapshots made under a hook."""
        raise NotImplementedError

    def is_at_rest(self, volume_id: str) -> bool:
        """Whether nothing can be writing to it now."""
        raise NotImplementedError

    # What follows has an answer that suits most.

    def bearing(self, volume_id: str, period: str) -> Collection[Stored]:
        """The volume's snapshots with the period's word."""
        return [s for s in self.snapshots.values() if s.volume_id == volume_id and period in s.words]

    def failed(self) -> Iterable[Stored]:
        return [s for s in self.snapshots.values() if self.state_of(s) is ERROR]

    def misspelt(self) -> Iterable[str]:
        """Volumes whose tag names no policy, or only resembles the key."""
        return ()

    def turned_during(self, run: Run, stored: Stored) -> bool:
        """Whether it was completed, or failed, while the run went on."""
        return False

    def knew(self, run: Run, stored: Stored) -> bool:
        """Whether the run's listing could show it."""
        return stored.start_time < run.began

    def counts(self, volume_id: str, period: str) -> Collection[int]:
        """N by each setting that a run under way may go by; none where the period is no policy's business."""
        count = self.count(volume_id, period)
        return () if count is None else (count,)

    def names(self, volume_id: str) -> Collection[str | None]:
        """The policies by which one may be made."""
        return (self.policy_of(volume_id),)

    def could_share(self, run: Run, volume_id: str) -> bool:
        """False where what was to be shared was taken away meanwhile."""
        return True

    def could_hook(self, policy: str | None) -> bool:
        """As `is_hooked`, by any setting that a run under way may go by."""
        return self.is_hooked(policy)

    def knew_proof(self, run: Run, stored: Stored) -> bool:
        """Whether a proved one was proved already when the run listed it."""
        return True

    def had_borne(self, stored: Stored, word: str) -> bool:
        """Whether another run took the word away after this one had read it: writing it again is no join."""
        return False

    def accepts_loss(self, run: Run, stored: Stored, word: str) -> bool:
        """Whether it is the one loss that decision 7 accepts."""
        return False

    # Worked out of these

    def is_proved(self, stored: Stored) -> bool:
        """Whether nothing was writing, or a freeze was held around all of its set."""
        words = {stored.tags.get(KEYS.consistency)}
        if words == {"crash"} and KEYS.set in stored.tags:
            same_set = (s for s in self.snapshots.values() if s.start_time >= stored.start_time - FREEZE_LIMIT)
            words |= {s.tags.get(KEYS.consistency) for s in same_set if s.tags.get(KEYS.set) == stored.tags[KEYS.set]}
        return bool(words & {"application", "offline"})

    def good(self, run: Run, stored: Stored) -> bool:
        """Whether it is usable, or was when the run began."""
        return self.state_of(stored) in (PENDING, COMPLETED) or self.turned_during(run, stored)

    def state_at_first(self, run: Run, stored: Stored) -> SnapshotState:
        return PENDING if self.turned_during(run, stored) else self.state_of(stored)

    def serving(self, run: Run, volume_id: str, word: str) -> list[Stored]:
        """The good ones of the slot in which the run began."""
        slot, now = SLOT[word], SLOT[word](run.began)
        return [s for s in self.bearing(volume_id, word) if slot(s.start_time) == now and self.good(run, s)]


class Cloud(Protocol):
    """The fake cloud, or an endpoint's account in its shape."""

    clock: Any
    policies: dict[str, str | Parameter]
    volumes: dict[str, Volume]
    pending_for: timedelta
    hidden_for: timedelta

    @property
    def snapshots(self) -> Mapping[str, Stored]: ...
    @property
    def work(self) -> Instances: ...
    def state_of(self, stored: Stored) -> SnapshotState: ...
    def is_at_rest(self, volume_id: str) -> bool: ...


@functools.cache
def hooked(policy: str | Parameter | None) -> bool:
    """Whether the policy's text names a hook document."""
    try:
        return bool((json.loads(str(policy)) or {}).get("hook_document"))
    except (ValueError, AttributeError):
        return False


@functools.cache
def promised(policy: str | Parameter | None) -> Mapping[str, int]:
    """By period the N of a policy's text; of a faulty one none."""
    try:
        fields = json.loads(str(policy))
    except ValueError:
        return {}
    return {period: fields[period] for period in PERIODS if isinstance((fields or {}).get(period), int)}


class CloudAccount(Account):
    """A fake cloud's account; what its people want is read from its policies and tags. `foreign` is not ours."""

    def __init__(self, cloud: Cloud, foreign: Collection[str] = ()) -> None:
        self._cloud = cloud
        self.foreign = foreign

    @property
    def snapshots(self) -> Mapping[str, Stored]:
        return self._cloud.snapshots

    def state_of(self, stored: Stored) -> SnapshotState:
        return self._cloud.state_of(stored)

    def policy_of(self, volume_id: str) -> str | None:
        volume = self._cloud.volumes.get(volume_id)
        return volume.tags.get(KEYS.selection) if volume else None

    def count(self, volume_id: str, period: str) -> int | None:
        return promised(self._cloud.policies.get(self.policy_of(volume_id) or "")).get(period)

    def is_hooked(self, policy: str | None) -> bool:
        return hooked(self._cloud.policies.get(policy or ""))

    def due(self, period: str) -> Iterable[str]:
        return [volume_id for volume_id in self._cloud.volumes if self.count(volume_id, period)]

    def is_foreign(self, stored: Stored) -> bool:
        return stored.id in self.foreign

    def freezes(self) -> Collection[Freeze]:
        self._cloud.work.frozen()
        return self._cloud.work.freezes

    def instances_of(self, volume_id: str) -> Collection[str]:
        volume = self._cloud.volumes.get(volume_id)
        return volume.instance_ids if volume else ()

    def is_at_rest(self, volume_id: str) -> bool:
        return self._cloud.is_at_rest(volume_id)

    def turned_during(self, run: Run, stored: Stored) -> bool:
        turned = stored.start_time + self._cloud.pending_for
        return stored.state is None and run.began <= turned <= self._cloud.clock.now

    def knew(self, run: Run, stored: Stored) -> bool:
        return stored.start_time + self._cloud.hidden_for <= run.began


@dataclass
class Run:
    """A run as it is judged.

    `makes_anyway`: it was forced. `was_disturbed`: an answer may have been lost, so that it cannot tell all that it
    did; then it has to name the volume among its failures, or warn.
    """

    account: Account
    period: str
    began: datetime
    name: str = ""
    makes_anyway: bool = False
    was_disturbed: bool = False
    writes: list[Write] = field(default_factory=list)

    def made(self) -> set[str]:
        return {write.stored.id for write in self.writes if write.is_create}


# On each write


def a_snapshot_is_made_only_where_one_is_due(run: Run, write: Write) -> Iterator[str]:
    """A snapshot is made only of a volume whose policy wants one, and bears the run's period and the policy's name."""
    if write.is_create:
        volume_id = write.stored.volume_id
        if write.after != (run.period,):
            yield f"{write.stored.id} bears {write.after}"
        if not any(run.account.counts(volume_id, run.period)):
            yield f"{write.stored.id} of {volume_id} was made, but none is due"
        elif write.stored.policy not in run.account.names(volume_id):
            yield f"{write.stored.id} does not bear its policy's name"


def a_slot_gets_one_snapshot(run: Run, write: Write) -> Iterator[str]:
    """No snapshot is made where one that the run could know of serves the slot, unless the run was forced."""
    if write.is_create:
        own = () if run.was_disturbed else run.made()
        for other in run.account.serving(run, write.stored.volume_id, run.period):
            is_known = other.id in own or (run.account.knew(run, other) and not run.makes_anyway)
            if other.id != write.stored.id and is_known:
                yield f"{write.stored.id} is one too many: {other.id} serves the slot of {other.volume_id}"


def a_fresh_snapshot_of_a_shorter_period_is_shared(run: Run, write: Write) -> Iterator[str]:
    """No snapshot is made where one of the same policy, slot and hour exists for a shorter period.

    Where the policy has a hook, only if that one is proved.
    """
    stored = write.stored
    if not write.is_create or run.makes_anyway or not run.account.could_share(run, stored.volume_id):
        return
    for word in PERIODS[: PERIODS.index(run.period)]:
        for other in run.account.bearing(stored.volume_id, word):
            if (
                run.account.state_of(other) in (PENDING, COMPLETED)
                and other.id != stored.id
                and run.account.knew(run, other)
                and other.policy == stored.policy is not None
                and other.start_time >= run.began - JOINED_WITHIN
                and SLOT[run.period](other.start_time) == SLOT[run.period](run.began)
                and (not run.account.could_hook(other.policy) or _was_proved(run, other))
            ):
                yield f"{stored.id} of {stored.volume_id} was made, though {other.id} could be shared"


def _was_proved(run: Run, stored: Stored) -> bool:
    return run.account.is_proved(stored) and run.account.knew_proof(run, stored)


def a_hooked_policy_joins_only_what_is_proved(run: Run, write: Write) -> Iterator[str]:
    """A word is added to a snapshot of a policy with a hook only if the hook, or rest, made its set good."""
    stored, account = write.stored, run.account
    added = () if write.is_create else set(write.after) - set(write.before)
    is_joined = not all(account.had_borne(stored, word) for word in added)
    if is_joined and account.is_hooked(stored.policy) and not account.is_proved(stored):
        yield f"{stored.id} of {stored.volume_id} was joined by the {run.period}, and nothing proves its set"


def a_snapshot_is_shared_only_where_it_serves(run: Run, write: Write) -> Iterator[str]:
    """A word is added only to a snapshot of the same policy and slot, for a period that is due and has none."""
    stored, volume_id = write.stored, write.stored.volume_id
    for word in () if write.is_create else set(write.after) - set(write.before):
        others = [s for s in run.account.serving(run, volume_id, word) if s.id != stored.id]
        if run.account.had_borne(stored, word):
            continue
        if word not in PERIODS[: PERIODS.index(run.period) + 1] or not any(run.account.counts(volume_id, word)):
            yield f"{stored.id} of {volume_id} was joined for the {word}, which is not due"
        elif SLOT[word](stored.start_time) != SLOT[word](run.began):
            yield f"{stored.id} of {volume_id} was joined for a {word} that is not its own"
        elif stored.policy not in run.account.names(volume_id):
            yield f"{stored.id} of {volume_id} was joined, but another policy had it made"
        elif any(run.account.knew(run, other) for other in others):
            yield f"{stored.id} of {volume_id} was joined for the {word}, which was served"


def nothing_is_let_go_that_is_kept(run: Run, write: Write) -> Iterator[str]:
    """What goes is the run's own word, of a served volume, not pending, with N newer slots and a completed one.

    Where the policy has a hook, never the newest that is completed and `application`, unless it keeps none.
    """
    stored, account = write.stored, run.account
    if write.is_delete and account.state_of(stored) is ERROR:
        return
    for word in set(write.before) - set(write.after):
        what = f"{stored.id} of {stored.volume_id}"
        if account.accepts_loss(run, stored, word):
            continue
        counts = account.counts(stored.volume_id, word)
        if word != run.period or not counts:
            yield f"{what} lost the word {word}, which was not this run's to take"
            continue
        if account.state_of(stored) is PENDING:
            yield f"{what} was let go while pending"
        if (count := min(counts)) == 0:
            continue
        held = [s for s in account.bearing(stored.volume_id, word) if s.id != stored.id]
        newer = [s for s in held if account.good(run, s) and age(s) > age(stored)]
        if not any(account.state_of(s) is COMPLETED for s in newer):
            yield f"{what}, the newest completed one of the {word}, was let go"
        slots = {SLOT[word](s.start_time) for s in newer} - {SLOT[word](stored.start_time)}
        if account.state_of(stored) is not ERROR and len(slots) < count:
            yield f"{what} was let go: of slot {len(slots) + 1} of {count} for the {word}"
        is_floor = is_proof(stored) and account.is_hooked(account.policy_of(stored.volume_id))
        if is_floor and not any(is_proof(s) and account.state_of(s) is COMPLETED for s in newer):
            yield f"{what}, the newest that the hook proved for the {word}, was let go"
        if not account.serving(run, stored.volume_id, word):
            yield f"{what} was let go, though the {word} is not served"
    if not write.is_delete and not write.after:
        yield f"{stored.id} was left without a word"


def is_proof(stored: Stored) -> bool:
    return stored.tags.get(KEYS.consistency) == "application"


def a_failed_snapshot_goes_for_a_reason(run: Run, write: Write) -> Iterator[str]:
    """One in `error` is deleted before its volume's next one is made, or after one is completed, or where N is 0."""
    stored, account = write.stored, run.account
    if not write.is_delete or account.state_of(stored) is not ERROR:
        return
    what = f"{stored.id} of {stored.volume_id}, which failed, was deleted"
    counts = account.counts(stored.volume_id, run.period)
    others = account.bearing(stored.volume_id, run.period)
    is_replaced = any(account.state_of(s) is COMPLETED and age(s) > age(stored) for s in others)
    made = any(each.is_create and each.stored.volume_id == stored.volume_id for each in run.writes)
    serving = account.serving(run, stored.volume_id, run.period)
    is_for_next = made or run.makes_anyway or not any(account.knew(run, other) for other in serving)
    if not counts or not set(stored.words) <= set(PERIODS):
        yield f"{what}, which was not this run's to do"
    elif not (is_replaced or is_for_next or (0 in counts and stored.words == (run.period,))):
        yield f"{what}, and neither is one made nor completed"


def what_is_not_ours_is_left_alone(run: Run, write: Write) -> Iterator[str]:
    """Nothing is changed that lacks our key, is another's, or is of a volume that is not selected."""
    if not write.is_create and (run.account.is_foreign(write.stored) or not write.before):
        yield f"{write.stored.id} of {write.stored.volume_id}, which is not ours, was changed"


def application_is_said_only_on_proof(run: Run, write: Write) -> Iterator[str]:
    """`application` is written only of a snapshot within a freeze of each of its instances, confirmed by post."""
    stored = write.stored
    if write.raised:
        freezes = run.account.freezes()
        proved = {f.instance_id for f in freezes if f.proves(stored.volume_id, stored.start_time)}
        if not proved or not set(run.account.instances_of(stored.volume_id)) <= proved:
            yield f"{stored.id} of {stored.volume_id} is called application-consistent, and no freeze proves it"


def offline_is_said_only_at_rest(run: Run, write: Write) -> Iterator[str]:
    """`offline` is written only of a volume that nothing can be writing to."""
    stored = write.stored
    if (
        write.is_create
        and stored.tags.get(KEYS.consistency) == "offline"
        and not run.account.is_at_rest(stored.volume_id)
    ):
        yield f"{stored.id} of {stored.volume_id} is called offline, and something may be writing"


def every_snapshot_made_is_of_a_set(run: Run, write: Write) -> Iterator[str]:
    """Each snapshot has a `-SET`, from its create on, and none that its volume brought along."""
    if write.is_create and not write.stored.tags.get(KEYS.set):
        yield f"{write.stored.id} of {write.stored.volume_id} is of no set"


def a_set_is_of_one_instant_or_one_freeze(run: Run, write: Write) -> Iterator[str]:
    """What has one `-SET` was started at once or under one freeze; one volume twice only where an answer was lost."""
    others = _of_its_set(run, write) if write.is_create else []
    is_resent = run.was_disturbed and any(other.volume_id == write.stored.volume_id for other in others)
    for other in others:
        first, last = sorted((write.stored, other), key=age)
        is_one_instant = last.start_time - first.start_time < timedelta(seconds=1)
        if other.volume_id == write.stored.volume_id and not is_resent:
            yield f"{other.id} and {write.stored.id} of one volume have one set"
        elif not is_one_instant and not is_resent and not any(_covers(f, first, last) for f in run.account.freezes()):
            yield f"{first.id} and {last.id} have one set, but neither one instant nor one freeze"


def _of_its_set(run: Run, write: Write) -> list[Stored]:
    """The others with its `-SET`: an id is one run's, so only that run's need be looked at."""
    set_id, made = write.stored.tags.get(KEYS.set), (each.stored for each in run.writes if each.is_create)
    return [other for other in made if other.id != write.stored.id and other.tags.get(KEYS.set) == set_id]


def _covers(freeze: Freeze, first: Stored, last: Stored) -> bool:
    """Whether both were started under it, or after it had ended without anybody knowing."""
    return freeze.since <= first.start_time and last.start_time - freeze.since < timedelta(minutes=1)


def a_proved_set_comes_from_one_freeze(run: Run, write: Write) -> Iterator[str]:
    """Two snapshots with one `-SET` that are both `application` were taken under the same freeze of an instance."""
    for other in _of_its_set(run, write) if write.raised else []:
        if other.tags.get(KEYS.consistency) == "application":
            one, two = _proving(run, write.stored), _proving(run, other)
            if any(one[instance_id].isdisjoint(two[instance_id]) for instance_id in one.keys() & two.keys()):
                yield f"{write.stored.id} and {other.id} are proved and of one set, but not of one freeze"


def _proving(run: Run, stored: Stored) -> dict[str, set[str]]:
    """By instance the freezes that prove it."""
    found: dict[str, set[str]] = {}
    for freeze in run.account.freezes():
        if freeze.proves(stored.volume_id, stored.start_time):
            found.setdefault(freeze.instance_id, set()).add(freeze.execution_id)
    return found


# On each report


def every_due_volume_is_served_or_named(run: Run, report: RunReport) -> Iterator[str]:
    """Each due volume has its line, and if it got none it is named among the failures or as deferred."""
    results = {result.volume_id: result for result in report.volumes}
    named = "\n".join((*report.failures, *report.deferred))
    for volume_id in run.account.due(run.period):
        result = results.get(volume_id)
        if result is None:
            yield f"nothing is said of {volume_id}"
        elif result.outcome not in (*SERVED, Outcome.FAILED, Outcome.DEFERRED):
            yield f"{volume_id} is due, but the run says {result.outcome}: {result.reason}"
        elif result.outcome not in SERVED and volume_id not in named:
            yield f"{volume_id} is {result.outcome}, and no failure names it"


def what_is_said_to_serve_a_slot_serves_it(run: Run, report: RunReport) -> Iterator[str]:
    """`created`, `shared` and `already done` name a good snapshot of the slot, made by this run or not, as they say."""
    made = run.made()
    for result in report.volumes:
        if result.outcome not in SERVED:
            continue
        serving = {s.id: s for s in run.account.serving(run, result.volume_id, run.period)}
        if run.makes_anyway:  # what it makes after a wait may be of the next slot
            held = run.account.bearing(result.volume_id, run.period)
            serving |= {s.id: s for s in held if s.start_time >= run.began and run.account.good(run, s)}
        stored = serving.get(result.snapshot_id or "")
        if stored is None:
            if 0 not in run.account.counts(result.volume_id, run.period):
                yield f"{result} does not serve the slot"
            continue
        is_adopted = run.was_disturbed and result.outcome is Outcome.ALREADY_DONE
        if (stored.id in made) is not (result.outcome is Outcome.CREATED) and not is_adopted:
            yield f"{result}, but it was{'' if stored.id in made else ' not'} made by this run"
        says = stored.tags.get(KEYS.consistency)
        # Where the answer to raising the tag was lost, the run says `crash` and warns; it never says too much.
        is_modest = says == "application" and bool(result.warnings)
        if result.consistency is not None and says != result.consistency and not is_modest:
            yield f"{result}, but its tag says {says}"
        if says != "crash" and not run.was_disturbed and any("crash-consistent" in text for text in result.warnings):
            yield f"{result}, but it is {says}"


def what_is_said_to_be_changed_is_changed(run: Run, report: RunReport) -> Iterator[str]:
    """What is said to be deleted is gone, to be released or joined bears its words so; each change has a reason."""
    for change in report.changes:
        stored = run.account.snapshots.get(change.snapshot_id)
        bears = change.snapshot_id in {s.id for s in run.account.bearing(change.volume_id, run.period)}
        if change.change is Change.DELETE:
            is_so = stored is None or change.outcome not in GONE
        elif change.outcome is not ChangeOutcome.DONE:
            is_so = True
        elif change.change is Change.RELEASE:
            is_so = not bears or (stored is not None and run.account.had_borne(stored, run.period))
        else:
            is_so = bears
        if not is_so:
            yield f"{change.change} of {change.snapshot_id} is said to be {change.outcome}, and is not"
        if not change.reason:
            yield f"{change.change} of {change.snapshot_id} has no reason"


def what_was_done_is_said(run: Run, report: RunReport) -> Iterator[str]:
    """Each snapshot made and each one deleted is told of; where an answer was lost its volume is served or named."""
    told = {result.snapshot_id for result in report.volumes}
    outcomes = {change.snapshot_id: change for change in report.changes if change.change is Change.DELETE}
    named = "\n".join((*report.failures, *report.deferred, *report.warnings))
    served = {result.volume_id for result in report.volumes if result.outcome in SERVED}
    for write in run.writes:
        stored = write.stored
        is_named = run.was_disturbed and (stored.volume_id in served or stored.volume_id in named)
        if write.is_create and stored.id not in told and stored.id not in outcomes and not is_named:
            yield f"{stored.id} of {stored.volume_id} was made, and nobody is told"
        if write.is_delete:
            change = outcomes.get(stored.id)
            if change is None or (change.outcome is not ChangeOutcome.DONE and not run.was_disturbed):
                yield f"{stored.id} of {stored.volume_id} was deleted, but the report says {change}"


def no_failure_is_a_false_alarm(run: Run, report: RunReport) -> Iterator[str]:
    """A volume is said to have got none only where the run knew of none in the slot, or was forced."""
    for result in () if run.makes_anyway else report.volumes:
        if result.outcome is Outcome.FAILED and result.snapshot_id is None and not run.was_disturbed:
            for stored in run.account.serving(run, result.volume_id, run.period):
                if run.account.knew(run, stored):
                    yield f"{result}, but {stored.id} serves the slot"


def a_volume_that_failed_is_not_pruned(run: Run, report: RunReport) -> Iterator[str]:
    """A run that leaves a volume without its snapshot takes none away from it."""
    unserved = {r.volume_id: r for r in report.volumes if r.outcome in (Outcome.FAILED, Outcome.DEFERRED)}
    for write in run.writes:
        result = unserved.get(write.stored.volume_id)
        is_failed = run.account.state_of(write.stored) is ERROR
        is_taken = run.period in set(write.before) - set(write.after) and not is_failed
        if result is not None and is_taken and run.account.count(result.volume_id, run.period):
            yield f"{result.volume_id} was pruned in spite of: {result.reason}"


def no_more_than_n_remain(run: Run, report: RunReport) -> Iterator[str]:
    """Of a served volume no more remain than the page on retention says, but for what the report explains."""
    account = run.account
    made = run.made()
    for result in report.volumes:
        volume_id = result.volume_id
        if account.count(volume_id, run.period) is None:
            continue
        count = max(account.counts(volume_id, run.period))
        if count and result.outcome not in SERVED:
            continue
        held = account.bearing(volume_id, run.period)
        if len(held) <= count or not all(account.knew(run, s) or s.id in made for s in held):
            continue
        hooked = account.is_hooked(account.policy_of(volume_id))
        remaining = {s.id for s in _kept(run.period, held, count, hooked, lambda s: account.state_at_first(run, s))}
        remaining |= {s.id for s in _kept(run.period, held, count, hooked, account.state_of)}
        for stored in held:
            is_back = account.had_borne(stored, run.period)
            if stored.id not in remaining and not is_back and not _is_explained(run, stored, report):
                yield f"{stored.id} of {volume_id} is still there: more than {count} for the {run.period}"


def _kept(
    period: str, held: Collection[Stored], count: int, hooked: bool, state: Callable[[Stored], SnapshotState]
) -> Iterable[Stored]:
    """Those of the newest N slots, pending ones, the newest completed, the newest proofs; failed ones are another's."""
    ordered = sorted(held, key=age, reverse=True)
    good = [s for s in ordered if state(s) in (PENDING, COMPLETED)]
    slots = list(dict.fromkeys(SLOT[period](s.start_time) for s in good))[:count]
    completed = [s for s in good if state(s) is COMPLETED]
    proofs = [s for s in completed if is_proof(s)][:1] if hooked else []
    at_rest = [s for s in completed if s.tags.get(KEYS.consistency) in ("application", "offline")][:1] if hooked else []
    floors = [*completed[:1], *proofs, *at_rest] if count else []
    failed = [s for s in ordered if state(s) is ERROR]
    return [
        *(s for s in good if SLOT[period](s.start_time) in slots or state(s) is PENDING),
        *floors,
        *failed,
    ]


def _is_explained(run: Run, stored: Stored, report: RunReport) -> bool:
    outcomes = {change.outcome for change in report.changes if change.snapshot_id == stored.id}
    if outcomes & {ChangeOutcome.REFUSED, ChangeOutcome.CHANGED_SINCE}:
        return True
    of_volume = [change for change in report.changes if change.volume_id == stored.volume_id]
    is_joined = any(change.change is Change.JOIN for change in of_volume)
    if is_joined and not any(change.outcome is ChangeOutcome.DONE for change in of_volume):
        return True  # what was to be shared was gone: one was made instead, and the next run lets go
    if outcomes & {ChangeOutcome.FAILED, ChangeOutcome.DEFERRED}:
        return any(stored.id in line for line in (*report.failures, *report.deferred))
    return False


def every_misspelt_tag_is_named(run: Run, report: RunReport) -> Iterator[str]:
    """A volume whose tag names no policy, or only resembles the key, is named in a warning."""
    warnings = " ".join(report.warnings)
    yield from (f"no warning names {each}" for each in run.account.misspelt() if each not in warnings)


def failed_snapshots_are_named_and_go(run: Run, report: RunReport) -> Iterator[str]:
    """A snapshot in state error is named, and gone after a run that claims success if one was made or completed."""
    account = run.account
    if report.failures or report.deferred:
        return
    made = {write.stored.volume_id for write in run.writes if write.is_create}
    for stored in account.failed():
        count = account.count(stored.volume_id, run.period)
        is_ours = not account.is_foreign(stored) and set(stored.words) <= set(PERIODS)
        if count is None or not is_ours or account.turned_during(run, stored) or not account.knew(run, stored):
            continue
        if stored.id not in report.failed_snapshots:
            yield f"{stored.id} is in state error, and not named"
        is_replaced = (count == 0 and run.period in stored.words) or any(
            account.state_at_first(run, other) is COMPLETED and other.start_time > stored.start_time
            for other in account.bearing(stored.volume_id, run.period)
        )
        known = (s for s in account.failed() if account.knew(run, s) and not account.turned_during(run, s))
        others = [s for s in known if s.volume_id == stored.volume_id]
        is_memory = stored is max(others, key=age)  # of the newest the next run needs to know
        if (is_replaced or (stored.volume_id in made and not is_memory)) and not _is_explained(run, stored, report):
            yield f"{stored.id} of {stored.volume_id} is in state error and replaced, but still there"


def only_what_another_run_can_repeat_is_continued(_: Run, report: RunReport) -> Iterator[str]:
    """A run that another continues fails itself where something is that only it can report."""
    if report.is_continued and report.unrepeatable_failures:
        yield "continued, though there is something that only this run can report"


def every_freeze_gets_its_post(run: Run, report: RunReport) -> Iterator[str]:
    """A run that lives sends post wherever it froze, and where post did not end the freeze a hook says so."""
    steps = [step for hook in report.hooks for step in hook.steps]
    problems = {each for hook in report.hooks if hook.problem for each in hook.instance_ids}
    # Of a freeze that the pending quota made vain, and that another one followed, only the journal tells.
    told = {step.split()[3].rstrip(":") for step in steps if "post-script" in step and ": failed" in step}
    for freeze in _of_run(run):
        where = freeze.instance_id
        if not freeze.has_post and not any(f"post-script {where}:" in step for step in steps):
            yield f"{where} was frozen, and no post was sent"
        elif freeze.ended_by != "post" and where not in problems | told:
            yield f"the freeze of {where} ended by {freeze.ended_by}, and no hook says so"


def no_instance_stays_frozen(run: Run, report: RunReport) -> Iterator[str]:
    """What a run that lives froze is thawed when it ends, or named among the failures."""
    for freeze in _of_run(run):
        if freeze.until is None and not any(freeze.instance_id in line for line in report.failures):
            yield f"{freeze.instance_id} is still frozen, and nobody is told"


def _of_run(run: Run) -> list[Freeze]:
    return [freeze for freeze in run.account.freezes() if freeze.since >= run.began]


# When a slot's events are over


def each_due_volume_has_its_snapshot(
    account: Account, period: str, moment: datetime, most: int | None = None
) -> Iterator[str]:
    """Each due volume has a good snapshot in the slot, and no more of them than `most`, where that is given."""
    run = Run(account, period, moment)
    for volume_id in account.due(period):
        there = account.serving(run, volume_id, period)
        if not there or (most is not None and len(there) > most):
            yield f"{volume_id} has {[s.id for s in there]} for the {period}"


def no_freeze_lasts_longer_than_promised(account: Account, _period: str, _moment: datetime) -> Iterator[str]:
    """A freeze ends, by itself if need be, at most twice its time-out after it began."""
    for freeze in account.freezes():
        if (freeze.until or freeze.deadline) - freeze.since > FREEZE_LIMIT:
            yield f"{freeze} is too long"


ON_WRITE = (
    a_snapshot_is_made_only_where_one_is_due,
    a_slot_gets_one_snapshot,
    a_fresh_snapshot_of_a_shorter_period_is_shared,
    a_hooked_policy_joins_only_what_is_proved,
    a_snapshot_is_shared_only_where_it_serves,
    nothing_is_let_go_that_is_kept,
    a_failed_snapshot_goes_for_a_reason,
    what_is_not_ours_is_left_alone,
    application_is_said_only_on_proof,
    offline_is_said_only_at_rest,
    every_snapshot_made_is_of_a_set,
    a_set_is_of_one_instant_or_one_freeze,
    a_proved_set_comes_from_one_freeze,
)
ON_REPORT = (
    every_due_volume_is_served_or_named,
    what_is_said_to_serve_a_slot_serves_it,
    what_is_said_to_be_changed_is_changed,
    what_was_done_is_said,
    no_failure_is_a_false_alarm,
    a_volume_that_failed_is_not_pruned,
    no_more_than_n_remain,
    every_misspelt_tag_is_named,
    failed_snapshots_are_named_and_go,
    only_what_another_run_can_repeat_is_continued,
    every_freeze_gets_its_post,
    no_instance_stays_frozen,
)
ON_SLOT = (each_due_volume_has_its_snapshot, no_freeze_lasts_longer_than_promised)


def broken_by_write(run: Run, write: Write) -> list[str]:
    """What the write breaks; it is noted as the run's."""
    run.writes.append(write)
    return [f"{promise.__name__}: {fault}" for promise in ON_WRITE for fault in promise(run, write)]


def broken_by_report(run: Run, report: RunReport) -> list[str]:
    """What the report breaks, with the account as it stands at the run's end."""
    return [f"{promise.__name__}: {fault}" for promise in ON_REPORT for fault in promise(run, report)]


def hold(broken: Iterable[str]) -> None:
    """Fail with all that is broken."""
    faults = list(broken)
    assert not faults, "\n".join(faults)


def writes_between(before: Mapping[str, Stored], after: Mapping[str, Stored]) -> Iterator[Write]:
    """What was written, where only two looks at the account show it."""
    for snapshot_id, stored in after.items():
        was = before.get(snapshot_id)
        words = () if was is None else was.words
        says = [each.tags.get(KEYS.consistency) for each in (was, stored) if each is not None]
        is_raised = says[-1] == "application" and (was is None or says[0] != says[-1])
        if was is None or words != stored.words or is_raised:
            yield Write(stored, words, stored.words, is_create=was is None, raised=is_raised)
    for snapshot_id in before.keys() - after.keys():
        yield Write(before[snapshot_id], before[snapshot_id].words, (), is_delete=True)
