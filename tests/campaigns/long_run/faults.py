"""Faults at a share of all calls, of every kind, in an order that a seed decides."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from random import Random

from lambda_function.errors import (
    AccessRefusedError,
    AwsError,
    CreationTooSoonError,
    NoAnswerError,
    SnapshotProtectedError,
    ThrottledError,
    TooManyPendingError,
    VolumePendingError,
)
from tests.campaigns.long_run.cloud import LongCloud
from tests.support.instance import Instances

CALL_SECONDS = 0.1

ANY = ("refused", "throttled", "no answer", "dies before", "dies after", "time runs out")
WRITE = (*ANY, "answer lost")
CREATE = (*WRITE, "too soon", "no room", "volume full", "volume gone", "turns error")
KINDS = {
    "CreateSnapshot": CREATE,
    "CreateSnapshots": CREATE,
    "CreateTags": (*WRITE, "snapshot gone"),
    "DeleteSnapshot": (*WRITE, "snapshot gone", "in use"),
    "SendCommand pre-script": (*WRITE, "script fails", "script hangs", "thaws early"),
    "SendCommand post-script": (*WRITE, "script fails", "script hangs"),
    "Invoke": WRITE,
}

WEIGHTS = {"dies before": 0.2, "dies after": 0.2, "time runs out": 0.2}
"""A midnight's run makes some six hundred calls: were these as frequent as the others, hardly one would live."""

REFUSALS: dict[str, tuple[type[AwsError], str]] = {
    "refused": (AccessRefusedError, "UnauthorizedOperation"),
    "throttled": (ThrottledError, "ThrottlingException"),
    "no answer": (NoAnswerError, "ReadTimeoutError"),
    "too soon": (CreationTooSoonError, "SnapshotCreationPerVolumeRateExceeded"),
    "no room": (TooManyPendingError, "PendingSnapshotLimitExceeded"),
    "volume full": (VolumePendingError, "ConcurrentSnapshotLimitExceeded"),
    "in use": (SnapshotProtectedError, "InvalidSnapshot.InUse"),
}


class Died(BaseException):
    """The process is gone: no code of the run may go on, not even what catches every Exception."""


class Faults:
    """`lose_volume` deletes a volume, of a set the first."""

    def __init__(
        self, random: Random, rate: float, cloud: LongCloud, instances: Instances, lose_volume: Callable[[str], None]
    ) -> None:
        self._random = random
        self.rate = rate
        self._cloud = cloud
        self._instances = instances
        self._lose_volume = lose_volume
        self._after: dict[int, str] = {}
        self.dead = False
        self.calls: Counter[str] = Counter()
        self.injected: Counter[str] = Counter()
        self.of_this_run: list[str] = []
        cloud.before = cloud.ssm.before = self.before
        cloud.after = cloud.ssm.after = self.after

    def begin(self) -> None:
        """A new process, or a thawed one."""
        self.dead = False
        self._after.clear()
        self.of_this_run = []

    def before(self, operation: str, target: str) -> None:
        cloud = self._cloud
        if self.dead:
            raise Died
        cloud.clock.sleep(CALL_SECONDS)
        if cloud.clock.now >= cloud.ends:
            self._die("Lambda's time is over")
        self.calls[operation] += 1
        if self._random.random() < self.rate:
            kinds = KINDS.get(operation, ANY)
            self._inject(self._random.choices(kinds, [WEIGHTS.get(kind, 1.0) for kind in kinds])[0], operation, target)

    def after(self, operation: str, target: str) -> None:
        if not self._after:
            return
        kind = self._after.pop(threading.get_ident(), None)
        if kind == "dies after":
            self._die(kind)
        if kind == "answer lost":
            raise NoAnswerError(operation, "ReadTimeoutError", "injected")

    def _die(self, why: str) -> None:
        self.dead = True
        self.of_this_run.append(why)
        raise Died(why)

    def _inject(self, kind: str, operation: str, target: str) -> None:
        self.injected[kind] += 1
        self.of_this_run.append(f"{kind} at {operation} {target}")
        cloud = self._cloud
        if kind in REFUSALS:
            error, code = REFUSALS[kind]
            raise error(operation, code, "injected")
        if kind == "dies before":
            self._die(kind)
        if kind in ("dies after", "answer lost"):
            self._after[threading.get_ident()] = kind
        elif kind == "time runs out":
            left = timedelta(seconds=self._random.choice((5, 40, 60, 120)))
            cloud.ends = min(cloud.ends, cloud.clock.now + left)
        elif kind == "turns error":
            cloud.turns_bad = True
        elif kind == "volume gone":
            self._lose_volume(target)
        elif kind == "snapshot gone":
            # Not one that this run has just made: nobody deletes those within a second.
            stored = cloud.snapshots.get(target)
            if stored is not None and stored.start_time < cloud.clock.now - timedelta(minutes=5):
                cloud.remove(stored)
        else:
            self._instances.fault = kind
