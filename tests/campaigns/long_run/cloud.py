"""The fake cloud for a long time: indexed, with snapshots that turn complete or failed, telling of every write."""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta

from lambda_function.model.ec2 import Snapshot, SnapshotState, Volume
from lambda_function.model.period import Period
from tests.support.cloud import KEYS, FakeCloud, Stored


class LongCloud(FakeCloud):
    """`pends` is how long the next snapshots stay pending; `turns_bad` makes the next create call's end in `error`.

    `taken_away` tells when somebody deleted a snapshot, `spoiled` of which moment the latest failed ones are, which the
    next run deletes, by volume.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self.pends = timedelta(minutes=5)
        self.turns_bad = False
        self.taken_away: dict[str, datetime] = {}
        self.spoiled: dict[str, deque[datetime]] = defaultdict(lambda: deque(maxlen=5))
        self.turned: dict[str, datetime] = {}
        self.failed: dict[str, Stored] = {}
        self._of: dict[str, dict[str, Stored]] = defaultdict(dict)
        self._words: dict[str, dict[str, Stored]] = defaultdict(dict)
        self._held: dict[tuple[str, str], dict[str, Stored]] = defaultdict(dict)
        self._views: dict[str, Snapshot] = {}
        self._coming: list[tuple[datetime, str, bool]] = []
        self.pending_of_others = 0
        self._count_pending = 0

    # What time does

    def settle(self) -> None:
        """Those whose time has come are complete, or failed."""
        if not self._coming or self._coming[0][0] > self.clock.now:
            return
        with self._lock:
            while self._coming and self._coming[0][0] <= self.clock.now:
                at, snapshot_id, bad = heapq.heappop(self._coming)
                self._count_pending -= 1
                stored = self.snapshots.get(snapshot_id)
                if stored is not None:
                    stored.state = SnapshotState.ERROR if bad else SnapshotState.COMPLETED
                    self.turned[snapshot_id] = at
                    self._views.pop(snapshot_id, None)
                    if bad:
                        self.failed[snapshot_id] = stored
                        self.spoiled[stored.volume_id].append(stored.start_time)

    def _call(self, operation: str, target: str):
        self.settle()
        return super()._call(operation, target)

    # What a person sees and does

    def held(self, volume_id: str, word: str) -> Collection[Stored]:
        """A volume's snapshots that bear the word."""
        return self._held[volume_id, word].values() if (volume_id, word) in self._held else ()

    def remove(self, stored: Stored) -> None:
        """Somebody deletes a snapshot."""
        self.taken_away[stored.volume_id] = self.clock.now
        self._drop(stored)

    def untag(self, stored: Stored, key: str) -> None:
        """Somebody takes a tag from a snapshot."""
        self._unindex(stored)
        del stored.tags[key]
        self._index(stored)
        self._views.pop(stored.id, None)

    # Behind the ports

    def create_snapshot(self, *args, **kwargs) -> Snapshot:
        try:
            return super().create_snapshot(*args, **kwargs)
        finally:
            self.turns_bad = False

    def create_snapshots(self, *args, **kwargs) -> list[Snapshot]:
        try:
            return super().create_snapshots(*args, **kwargs)
        finally:
            self.turns_bad = False

    def _add(self, stored: Stored) -> None:
        super()._add(stored)
        if stored.state is None:
            stored.state = SnapshotState.PENDING
            heapq.heappush(self._coming, (self.clock.now + self.pends, stored.id, self.turns_bad or stored.failed))
            self._count_pending += 1
        self._of[stored.volume_id][stored.id] = stored
        self._index(stored)

    def _index(self, stored: Stored) -> None:
        for word in stored.words:
            self._words[word][stored.id] = stored
            self._held[stored.volume_id, word][stored.id] = stored

    def _unindex(self, stored: Stored) -> None:
        for word in stored.words:
            self._words[word].pop(stored.id, None)
            held = self._held[stored.volume_id, word]
            held.pop(stored.id, None)
            if not held:
                del self._held[stored.volume_id, word]

    def _retag(self, stored: Stored, key: str, value: str) -> None:
        self._unindex(stored)
        super()._retag(stored, key, value)
        self._index(stored)
        self._views.pop(stored.id, None)

    def _drop(self, stored: Stored) -> None:
        self._forget(stored)
        super()._drop(stored)

    def _forget(self, stored: Stored) -> None:
        self._unindex(stored)
        of_volume = self._of[stored.volume_id]
        of_volume.pop(stored.id)
        if not of_volume:
            del self._of[stored.volume_id]
        for known in (self._views, self.turned, self.failed):
            known.pop(stored.id, None)

    def _of_volume(self, volume_id: str) -> Iterable[Stored]:
        return list(self._of[volume_id].values()) if volume_id in self._of else ()

    def _bearing(self, periods: Collection[Period]) -> Iterable[Stored]:
        found: dict[str, Stored] = {}
        for period in periods:
            found.update(self._words[period.value])
        return found.values()

    def _failed(self) -> Iterable[Stored]:
        return [stored for stored in self.failed.values() if KEYS.period in stored.tags]

    def _pending(self) -> int:
        return self._count_pending + self.pending_of_others

    def _visible(self, stored: Stored) -> bool:
        return not self.hidden_for or super()._visible(stored)

    def _seen(self, stored: Stored) -> Snapshot:
        seen = self._views.get(stored.id)
        if seen is None:
            seen = self._views[stored.id] = super()._seen(stored)
        return seen


def of_policy(volume: Volume) -> str | None:
    """The policy that the volume's tags name, read without the code under test."""
    return volume.tags.get("AUTO-SNAPSHOT")
