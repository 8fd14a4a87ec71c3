"""An older version beside this one during a deployment, as far as another run can tell: by the tags.

Not the package as it was at some commit: a release archive has no history, and two runs share nothing but EC2, so all
that a version means to another one is what it makes of tags. What differed, or may have been left out by a version, is
a row here; the cron script, which this software replaces, is one, and the only one that tags after creating. A run of
the version just before this one behaves to the other run as one of the pairs of this version do, as long as
`test_what_a_run_writes_is_what_every_version_reads` stands.
"""

from __future__ import annotations

from dataclasses import dataclass

from lambda_function.errors import CreationTooSoonError, SnapshotNotFoundError
from lambda_function.model.ec2 import Snapshot, Volume
from lambda_function.model.period import Period, in_slot
from lambda_function.model.tags import ordered_periods
from tests.campaigns.interleaving.meeting import HOUR, Meeting
from tests.campaigns.interleaving.scheduler import running
from tests.support.cloud import KEYS, Stored, Write


@dataclass(frozen=True)
class Older:
    """What the version does; by default what this one does as well."""

    once_per_slot: bool = True
    tags_after_creating: bool = False
    names_policy: bool = True
    joins: bool = True
    compares_the_whole_value: bool = False
    looks_before_it_writes: bool = True

    def run(self, meeting: Meeting, period: str) -> None:
        counts = {volume_id: meeting.account.count(volume_id, period) for volume_id in meeting.volumes}
        meeting.older[running()] = period
        volumes = sorted(meeting.list_volumes(), key=lambda volume: volume.id)
        listed = meeting.list_snapshots(Period(period).up_to())
        for volume in volumes:
            count = counts[volume.id]
            if count is not None:
                of_volume = [each for each in listed if each.volume_id == volume.id]
                self._serve(meeting, Period(period), volume, of_volume)
                self._prune(meeting, Period(period), count, of_volume)

    def _bears(self, period: Period, snapshot: Snapshot) -> bool:
        return snapshot.periods == (period,) if self.compares_the_whole_value else period in snapshot.periods

    def _serve(self, meeting: Meeting, period: Period, volume: Volume, listed: list[Snapshot]) -> None:
        now = meeting.clock.now
        in_this_slot = [each for each in listed if in_slot(period, now, each.start_time)]
        if self.once_per_slot and any(self._bears(period, each) for each in in_this_slot):
            return
        candidates = [each for each in in_this_slot if each.policy and each.start_time >= now - HOUR]
        if self.joins and candidates:
            seen = meeting.read_snapshots([candidates[-1].id])
            for each in seen.values():
                meeting.set_periods(each.id, ordered_periods((*each.periods, period.value)))
            return
        try:
            self._create(meeting, period, volume)
        except CreationTooSoonError:
            # Whoever stood in the way has served the volume, or the next slot does.
            return

    def _create(self, meeting: Meeting, period: Period, volume: Volume) -> None:
        tags = {KEYS.period: period.value, **(dict(volume.tags) if self.names_policy else {})}
        said = f"Hourly snapshot of volume {volume.id}, policy P" if self.names_policy else "by the cron script"
        if not self.tags_after_creating:
            meeting.create_snapshot(volume.id, said, tags)
            return
        with meeting._call("CreateSnapshot", volume.id):
            meeting._check_limits("CreateSnapshot", [volume.id])
            made = Stored(meeting._next_id(), volume.id, meeting.clock.now, {}, said)
            meeting.snapshots[made.id] = made
        with meeting._call("CreateTags", made.id):
            made.tags.update(tags)
            meeting.on_write(Write(made, (), made.words, is_create=True))

    def _prune(self, meeting: Meeting, period: Period, count: int, listed: list[Snapshot]) -> None:
        """As it was listed before this run's own was there: that one is kept, so one less of the others is."""
        mine = sorted((s for s in listed if self._bears(period, s)), key=lambda s: s.start_time, reverse=True)
        is_served = any(in_slot(period, meeting.clock.now, each.start_time) for each in mine)
        going = mine[count if is_served else count - 1 :]
        seen = meeting.read_snapshots([each.id for each in going]) if self.looks_before_it_writes else {}
        for each in going:
            if self.looks_before_it_writes and (each.id not in seen or seen[each.id].periods != each.periods):
                continue
            left = [word for word in each.periods if word != period]
            try:
                if left:
                    meeting.set_periods(each.id, left)
                else:
                    meeting.delete_snapshot(each.id)
            except SnapshotNotFoundError:
                continue


VERSIONS = {
    "the cron script": Older(
        once_per_slot=False,
        tags_after_creating=True,
        names_policy=False,
        joins=False,
        compares_the_whole_value=True,
        looks_before_it_writes=False,
    ),
    "one that joins nothing": Older(joins=False),
    "one that joins with its own word only": Older(),
    "one that does not look before it writes": Older(looks_before_it_writes=False),
    "one that names no policy": Older(names_policy=False),
}
