"""What the two years' account is to the promises, and what becomes of each slot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from lambda_function.model.result import RunReport
from tests.campaigns.long_run.cloud import LongCloud
from tests.campaigns.long_run.fleet import Fleet
from tests.support.cloud import Stored, Write
from tests.support.promises import ERROR, SLOT, CloudAccount, Run, broken_by_report, broken_by_write

LONG_AGO = datetime.min.replace(tzinfo=UTC)


class LongAccount(CloudAccount):
    """The account as the fleet's own model has it, by the cloud's indexes."""

    def __init__(self, cloud: LongCloud, fleet: Fleet) -> None:
        super().__init__(cloud)
        self._cloud: LongCloud = cloud
        self._fleet = fleet
        self._at_first: dict[str, int | None] = {}

    def begin(self, period: str) -> None:
        self._at_first = {each: self._fleet.count(each, period) for each in self._cloud.volumes}

    def bearing(self, volume_id: str, period: str) -> Collection[Stored]:
        held = self._cloud.held(volume_id, period)
        return [stored for stored in held if stored.id not in self._fleet.foreign]

    def failed(self) -> Iterable[Stored]:
        return list(self._cloud.failed.values())

    def misspelt(self) -> Iterable[str]:
        return [volume_id for volume_id, _ in self._fleet.astray()]

    def count(self, volume_id: str, period: str) -> int | None:
        return self._fleet.count(volume_id, period)

    def counts(self, volume_id: str, period: str) -> Collection[int]:
        # One lost on the way, if it was there when the run began, is pruned by what was listed.
        count = self._at_first.get(volume_id) if volume_id not in self._cloud.volumes else self.count(volume_id, period)
        return () if count is None else (count,)

    def is_hooked(self, policy: str | None) -> bool:
        promise = self._fleet.promises.get(policy or "")
        return promise is not None and promise.hooked

    def due(self, period: str) -> Iterable[str]:
        return [volume_id for volume_id, count in self._fleet.due(period) if count]

    def is_foreign(self, stored: Stored) -> bool:
        return stored.id in self._fleet.foreign

    def turned_during(self, run: Run, stored: Stored) -> bool:
        turned = self._cloud.turned.get(stored.id)
        return turned is not None and turned >= run.began

    def could_share(self, run: Run, volume_id: str) -> bool:
        return self._cloud.taken_away.get(volume_id, LONG_AGO) < run.began


class Oracle:
    """`violations` is empty as long as every promise is kept."""

    def __init__(self, cloud: LongCloud, fleet: Fleet) -> None:
        self._cloud = cloud
        self._fleet = fleet
        self._account = LongAccount(cloud, fleet)
        cloud.on_write = self._judge
        self.violations: list[str] = []
        self.counts: Counter[str] = Counter()
        self._expected: dict[str, tuple[Any, list[tuple[str, str | None]]]] = {}
        self._told: dict[str, Any] = {}

    # A run

    def begin(self, period: str, *, makes_anyway: bool) -> None:
        self._account.begin(period)
        now = self._cloud.clock.now
        self._run = Run(self._account, period, now, makes_anyway=makes_anyway, was_disturbed=True)

    def nothing_was_done(self) -> None:
        """The run could not begin."""
        if self._run.writes:
            self._wrong(["a run that could not read wrote something"])

    def _wrong(self, faults: Iterable[str]) -> None:
        run = self._run
        self.violations += [f"{run.began:%Y-%m-%d %H:%M:%S} {run.period}: {fault}" for fault in faults]

    def _judge(self, write: Write) -> None:
        self._wrong(broken_by_write(self._run, write))
        self.counts["created"] += write.is_create
        self.counts["deleted"] += write.is_delete
        self.counts["application-consistent"] += write.raised
        if not write.is_create and not write.is_delete:
            self.counts["joined"] += len(set(write.after) - set(write.before))
            self.counts["released"] += len(set(write.before) - set(write.after))

    def end(self, report: RunReport | None, *, is_failed: bool, faults: Sequence[str]) -> None:
        """A run is over; None where it died or could not begin, so that it has told nothing but that it failed."""
        known = len(self.violations)
        self._run.was_disturbed = bool(faults)
        if is_failed:
            self._told[self._run.period] = SLOT[self._run.period](self._run.began)
        if report is not None:
            self._wrong(broken_by_report(self._run, report))
        if len(self.violations) > known and faults:
            self.violations.append(f"    faults of that run: {', '.join(faults)}")

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
                held = self._account.bearing(volume_id, period)
                if any(each.state is not ERROR and SLOT[period](each.start_time) == slot for each in held):
                    self.counts["slots served"] += 1
                elif any(SLOT[period](moment) == slot for moment in self._cloud.spoiled.get(volume_id, ())):
                    self.counts["slots whose snapshot failed later"] += 1
                elif volume_id in self._cloud.taken_away:
                    self.counts["slots whose snapshot somebody deleted"] += 1
                elif self._told.get(period) == slot:
                    self.counts["slots left and told"] += 1
                else:
                    self._wrong([f"{volume_id} is without its snapshot for the {period}, and no run failed"])
        self._expected.clear()
        self._cloud.taken_away.clear()
