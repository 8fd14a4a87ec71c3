"""The oracle: what each policy promises, by a simple model of its own, held against every write and every report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from lambda_function.model.result import Change, ChangeOutcome, Outcome, RunReport
from tests.campaigns.long_run.cloud import LongCloud, of_policy, words_of
from tests.campaigns.long_run.fleet import PERIODS, Fleet
from tests.campaigns.long_run.instances import Instances
from tests.campaigns.long_run.truth import COMPLETED, ERROR, PENDING, SLOT, Truth, age, kept
from tests.support.cloud import KEYS, Stored

LONG_AGO = datetime.min.replace(tzinfo=UTC)
SERVED = (Outcome.CREATED, Outcome.SHARED, Outcome.ALREADY_DONE)


class Oracle(Truth):
    """`violations` is empty as long as every promise is kept.

    It knows what the account holds and what its people did, and nothing of the run but its writes and its report.
    """

    def __init__(self, cloud: LongCloud, fleet: Fleet, instances: Instances) -> None:
        super().__init__(cloud)
        self._fleet = fleet
        self._instances = instances
        cloud.witness = self
        self.violations: list[str] = []
        self.counts: Counter[str] = Counter()
        self._expected: dict[str, tuple[Any, list[tuple[str, str | None]]]] = {}
        self._told: dict[str, Any] = {}

    # A run

    def begin(self, period: str) -> None:
        super().begin(period)
        self._writes = 0
        self._pruned: set[str] = set()
        self._counts = {each: self._fleet.count(each, period) for each in self._cloud.volumes}
        self._instances.failed_posts.clear()

    def nothing_was_done(self) -> None:
        """The run could not begin."""
        if self._writes:
            self._wrong("a run that could not read wrote something")

    def _wrong(self, text: str) -> None:
        self.violations.append(f"{self._began:%Y-%m-%d %H:%M:%S} {self._period}: {text}")

    # Writes

    def created(self, stored: Stored) -> None:
        """A snapshot was started."""
        self._writes += 1
        self.counts["created"] += 1
        volume_id = stored.volume_id
        if words_of(stored) != [self._period]:
            self._wrong(f"{stored.id} bears {words_of(stored)}")
        if not self._fleet.count(volume_id, self._period):
            self._wrong(f"{stored.id} of {volume_id} was made, but none is due")
            return
        name = of_policy(self._cloud.volumes[volume_id])
        if stored.tags.get(KEYS.selection) != name:
            self._wrong(f"{stored.id} does not bear its policy's name")
        listed = [
            each for each in self._serving(volume_id, self._period) if each is not stored and self._was_listed(each)
        ]
        if listed:
            self._wrong(f"{stored.id} is one too many: {listed[0].id} serves the slot of {volume_id}")
        for each in self._to_share(volume_id, name):
            self._wrong(f"{stored.id} of {volume_id} was made, though {each.id} could be shared")

    def _to_share(self, volume_id: str, name: str | None) -> list[Stored]:
        """A shorter period's, of an hour at most, which was there when the run began and still is.

        None where somebody deleted the one that was to be shared: then one is made, whatever else there may be.
        """
        if self._cloud.taken_away.get(volume_id, LONG_AGO) >= self._began:
            return []
        slot = SLOT[self._period]
        return [
            each
            for word in PERIODS[: PERIODS.index(self._period)]
            for each in self._cloud.held(volume_id, word)
            if each.state in (PENDING, COMPLETED)
            and self._was_listed(each)
            and each.tags.get(KEYS.selection) == name
            and each.start_time >= self._began - timedelta(minutes=59)
            and slot(each.start_time) == self._now
        ]

    def retagged(self, stored: Stored, words: Collection[str]) -> None:
        """The period tag is about to be written."""
        self._writes += 1
        if not self._is_ours(stored, "retagged"):
            return
        before = words_of(stored)
        for word in before:
            if word not in words:
                self.counts["released"] += 1
                self._let_go(stored, word)
        for word in words:
            if word not in before:
                self.counts["joined"] += 1
                self._joined(stored, word)
        if not words:
            self._wrong(f"{stored.id} was left without a word")

    def deleted(self, stored: Stored) -> None:
        """A snapshot is about to be deleted."""
        self._writes += 1
        self.counts["deleted"] += 1
        if self._is_ours(stored, "deleted"):
            if words_of(stored) != [self._period]:
                self._wrong(f"{stored.id} was deleted, though it bore {words_of(stored)}")
            self._let_go(stored, self._period)

    def raised(self, stored: Stored) -> None:
        """A snapshot is called application-consistent: it was started within a freeze that a post ended."""
        self._writes += 1
        self.counts["application-consistent"] += 1
        volume = self._cloud.volumes.get(stored.volume_id)
        for instance_id in volume.instance_ids if volume else ():
            if not any(
                freeze.at <= stored.start_time < freeze.until and freeze.ended is not None
                for freeze in self._instances.past.get(instance_id, ())
            ):
                self._wrong(f"{stored.id} is called consistent, but {instance_id} was not frozen")

    def _is_ours(self, stored: Stored, what: str) -> bool:
        if stored.id in self._fleet.foreign or not words_of(stored):
            self._wrong(f"{stored.id}, which is not ours, was {what}")
            return False
        return True

    def _joined(self, stored: Stored, word: str) -> None:
        volume_id = stored.volume_id
        if PERIODS.index(word) > PERIODS.index(self._period) or not self._fleet.count(volume_id, word):
            self._wrong(f"{stored.id} of {volume_id} was joined for the {word}, which is not due")
        elif SLOT[word](stored.start_time) != SLOT[word](self._began):
            self._wrong(f"{stored.id} of {volume_id} was joined for a {word} that is not its own")
        elif stored.tags.get(KEYS.selection) != of_policy(self._cloud.volumes[volume_id]):
            self._wrong(f"{stored.id} of {volume_id} was joined, but another policy had it made")
        elif any(self._was_listed(each) for each in self._serving(volume_id, word)):
            self._wrong(f"{stored.id} of {volume_id} was joined for the {word}, which was served")

    def _let_go(self, stored: Stored, word: str) -> None:
        """Whether the policy no longer keeps what is let go; the dangerous act."""
        volume_id = stored.volume_id
        self._pruned.add(volume_id)
        count = self._fleet.count(volume_id, word)
        if volume_id not in self._cloud.volumes:
            # Lost on the way, if it was there when the run began: pruned by what was listed.
            count = self._counts.get(volume_id)
        if word != self._period or count is None:
            self._wrong(f"{stored.id} of {volume_id} lost the word {word}, which was not this run's to take")
            return
        if stored.state is PENDING:
            self._wrong(f"{stored.id} of {volume_id} was let go while pending")
        if count == 0:
            return
        held = [each for each in self._cloud.held(volume_id, word) if each is not stored]
        newer = [each for each in held if self._was_good(each) and age(each) > age(stored)]
        if not any(each.state is COMPLETED for each in newer):
            self._wrong(f"{stored.id} of {volume_id}, the newest completed one of the {word}, was let go")
        if stored.state is not ERROR and len(newer) < count:
            self._wrong(f"{stored.id} of {volume_id} was let go: number {len(newer) + 1} of {count} for the {word}")
        if not self._is_served(volume_id, word):
            self._wrong(f"{stored.id} of {volume_id} was let go, though the {word} is not served")

    # Reports

    def end(self, report: RunReport | None, *, is_failed: bool, faults: Sequence[str]) -> None:
        """A run is over; None where it died or could not begin, so that it has told nothing but that it failed."""
        known = len(self.violations)
        if is_failed:
            self._told[self._period] = self._now
        if report is not None:
            self._check_volumes(report)
            self._check_changes(report)
            self._check_instances(report)
            if not is_failed and not report.is_continued:
                self._check_errors(report)
            if report.is_continued and report.unrepeatable_failures:
                self._wrong("continued, though there is something that only this run can report")
        if len(self.violations) > known and faults:
            self.violations.append(f"    faults of that run: {', '.join(faults)}")

    def _check_volumes(self, report: RunReport) -> None:
        """Every volume for which the period is due is served, or told to have failed."""
        results = {result.volume_id: result for result in report.volumes}
        for volume_id, count in self._fleet.due(self._period):
            result = results.get(volume_id)
            if result is None:
                self._wrong(f"nothing is said of {volume_id}")
                continue
            if result.outcome in SERVED:
                self._check_claim(volume_id, result.snapshot_id)
                self._check_count(volume_id, count, report)
            elif count == 0:
                self._check_count(volume_id, count, report)
            else:
                told = any(volume_id in line for line in (*report.failures, *report.deferred))
                if result.outcome not in (Outcome.FAILED, Outcome.DEFERRED) or not told:
                    self._wrong(f"{volume_id} is due, but the run says {result.outcome}: {result.reason}")
                if volume_id in self._pruned:
                    self._wrong(f"{volume_id} was pruned in spite of: {result.reason}")
        warnings = " ".join(report.warnings)
        for volume_id, volume in self._fleet.astray():
            if volume_id not in warnings:
                self._wrong(f"no warning names {volume_id}, tagged {volume.tags}")

    def _check_claim(self, volume_id: str, snapshot_id: str | None) -> None:
        stored = self._cloud.snapshots.get(snapshot_id or "")
        if stored is None or stored not in self._serving(volume_id, self._period):
            self._wrong(f"{volume_id} is said to be served by {snapshot_id}, which is not so")

    def _check_count(self, volume_id: str, count: int, report: RunReport) -> None:
        """No more than N, but for what the page on retention names."""
        held = self._cloud.held(volume_id, self._period)
        if len(held) <= count or not all(map(self._was_listed_or_made, held)):
            return
        remaining = {
            each.id for state in (self._state_at_first, lambda each: each.state) for each in kept(held, count, state)
        }
        for stored in held:
            if stored.id not in remaining and not self._is_explained(stored, report):
                self._wrong(f"{stored.id} of {volume_id} is still there: more than {count} for the {self._period}")

    def _was_listed_or_made(self, stored: Stored) -> bool:
        return self._was_listed(stored) or stored.start_time >= self._began

    def _is_explained(self, stored: Stored, report: RunReport) -> bool:
        said = [change for change in report.changes if change.snapshot_id == stored.id]
        outcomes = {change.outcome for change in said}
        if ChangeOutcome.REFUSED in outcomes:
            return True
        if any(
            change.change is Change.JOIN and change.volume_id == stored.volume_id for change in report.changes
        ) and not any(
            change.outcome is ChangeOutcome.DONE for change in report.changes if change.volume_id == stored.volume_id
        ):
            return True  # what was to be shared was gone: one was made instead, and the next run lets go
        if outcomes & {ChangeOutcome.FAILED, ChangeOutcome.DEFERRED}:
            return any(stored.id in line for line in (*report.failures, *report.deferred))
        return False

    def _check_changes(self, report: RunReport) -> None:
        for change in report.changes:
            if change.outcome is not ChangeOutcome.DONE:
                continue
            stored = self._cloud.snapshots.get(change.snapshot_id)
            bears = stored is not None and self._period in words_of(stored)
            if (
                (change.change is Change.DELETE and stored is not None)
                or (change.change is Change.RELEASE and bears)
                or (change.change is Change.JOIN and not bears)
            ):
                self._wrong(f"{change.change} of {change.snapshot_id} is said to be done, and is not")

    def _check_instances(self, report: RunReport) -> None:
        """A run that lived has sent post wherever it froze, and what stays frozen all the same it says."""
        steps = [step for hook in report.hooks for step in hook.steps]
        for instance_id, freezes in self._instances.past.items():
            last = freezes[-1]
            tried = last.has_post or any(f"post-script {instance_id}:" in step for step in steps)
            if last.at >= self._began and not tried:
                self._wrong(f"{instance_id} was frozen, and no post was sent")
        for instance_id, freeze in self._instances.still_frozen().items():
            if freeze.at < self._began:
                continue  # of a run that died: the instance thaws by itself
            if not any(instance_id in line for line in report.failures) or report.is_continued:
                self._wrong(f"{instance_id} is still frozen, and nobody is told")
        for instance_id in self._instances.failed_posts:
            if not any(hook.problem for hook in report.hooks if instance_id in hook.instance_ids):
                self._wrong(f"post failed on {instance_id}, and no hook says so")

    def _check_errors(self, report: RunReport) -> None:
        """After a run that claims success no failed snapshot is left that was replaced before it began."""
        for stored in list(self._cloud.failed.values()):
            if self._period not in words_of(stored) or self._cloud.turned[stored.id] >= self._began:
                continue
            count = self._fleet.count(stored.volume_id, self._period)
            if stored.id not in report.failed_snapshots and self._was_listed(stored):
                self._wrong(f"{stored.id} is in state error, and not named")
            replaced = count == 0 or any(
                self._state_at_first(each) is COMPLETED and each.start_time > stored.start_time
                for each in self._cloud.held(stored.volume_id, self._period)
            )
            if count is not None and replaced and not self._is_explained(stored, report):
                self._wrong(f"{stored.id} of {stored.volume_id} is in state error and replaced, but still there")

    # Slots

    def expect(self, periods: Iterable[str]) -> None:
        """The rules of these periods are about to fire: whose slots are due."""
        for period in periods:
            due = [(each, self._fleet.policy_of(each)) for each, count in self._fleet.due(period) if count]
            self._expected[period] = (SLOT[period](self._cloud.clock.now), due)

    def settle_slots(self) -> None:
        """Everything of the rules' events is over: each due slot is served, or the period's run has told a failure."""
        for period, (slot, due) in self._expected.items():
            self.counts["slots due"] += len(due)
            for volume_id, policy in due:
                if policy != self._fleet.policy_of(volume_id) or not self._fleet.count(volume_id, period):
                    continue  # it became another policy's, or nobody's
                held = self._cloud.held(volume_id, period)
                of_slot = [each for each in held if SLOT[period](each.start_time) == slot]
                if any(each.state is not ERROR for each in of_slot):
                    self.counts["slots served"] += 1
                elif of_slot:
                    self.counts["slots whose snapshot failed later"] += 1
                elif volume_id in self._cloud.taken_away:
                    self.counts["slots whose snapshot somebody deleted"] += 1
                elif self._told.get(period) == slot:
                    self.counts["slots left and told"] += 1
                else:
                    self._period = period
                    self._wrong(f"{volume_id} is without its snapshot, and no run failed")
        self._expected.clear()
        self._cloud.taken_away.clear()
