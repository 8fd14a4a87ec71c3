"""Post on every instance to which pre was sent: first in line, sent again while time lasts, until it has ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from lambda_function.errors import AccessRefusedError, RequestRejectedError
from lambda_function.hooks.command import Stage
from lambda_function.hooks.stages import Stages
from lambda_function.ports import CommandOutcome

ATTEMPTS = 3
"""How often at least a document that does not come to an end is run."""

PAUSES = (0.5, 1.0, 2.0, 5.0)
"""Seconds between attempts; the last one again and again."""

CONCLUDE_SECONDS = 10.0
"""Nothing is sent or waited for with less time left, so that the run can report."""


@dataclass(frozen=True)
class Thawed:
    """How post ended on an instance, or why it could not be sent; `ended` on the deadline's elapsed clock."""

    outcome: CommandOutcome
    ended: float


class Thaw:
    """The thaw of one freeze."""

    def __init__(self, stages: Stages, snapshot_ids: Sequence[str]) -> None:
        self._stages = stages
        self._deadline = stages.deadline
        self._snapshot_ids = snapshot_ids
        self._results: dict[str, Thawed] = {}
        # A document thaws by itself at most twice the stages' time-out after it froze.
        self._thaws_itself_at = stages.began + 2 * stages.plan.timeout_seconds

    def run(self, instance_ids: Sequence[str]) -> dict[str, Thawed]:
        """The last result of each instance."""
        waiting = list(instance_ids)
        for attempt in count(1):
            sent = self._send(waiting)
            for instance_id, (command_id, until) in sent.items():
                self._conclude(instance_id, self._stages.wait(Stage.POST, instance_id, command_id, until))
            waiting = [each for each in sent if self._is_worth_repeating(each, attempt)]
            if not waiting or not self._has_time():
                return self._results
            self._pause(attempt)
        raise AssertionError("counting does not end")

    def _send(self, instance_ids: Sequence[str]) -> dict[str, tuple[str, float]]:
        """Send post until SSM takes it, never will, or time is over: commands, and until when to wait for them.

        No instance waits for another one's post to end.
        """
        sent: dict[str, tuple[str, float]] = {}
        unsent = list(instance_ids)
        for attempt in count(1):
            for instance_id in tuple(unsent):
                try:
                    command_id = self._stages.send_post(instance_id, self._snapshot_ids)
                except Exception as error:
                    self._stages.note(Stage.POST, instance_id, "not sent", str(error))
                    self._conclude(instance_id, CommandOutcome("not sent", None, error=str(error)))
                    if self._is_final(error):
                        unsent.remove(instance_id)
                else:
                    self._stages.note(Stage.POST, instance_id, "sent")
                    sent[instance_id] = command_id, self._until()
                    unsent.remove(instance_id)
            if not unsent or not self._has_time():
                return sent
            self._pause(attempt)
        raise AssertionError("counting does not end")

    def _conclude(self, instance_id: str, outcome: CommandOutcome) -> None:
        self._results[instance_id] = Thawed(outcome, self._deadline.elapsed())

    def _is_worth_repeating(self, instance_id: str, attempt: int) -> bool:
        has_ended = self._results[instance_id].outcome.is_verdict or not self._stages.can_be_seen(instance_id)
        return not has_ended and (attempt < ATTEMPTS or self._deadline.elapsed() < self._thaws_itself_at)

    def _is_final(self, error: Exception) -> bool:
        """Whether sending can never succeed; an instance that SSM does not know may come back, so it is waited for."""
        if isinstance(error, RequestRejectedError):
            return self._deadline.elapsed() >= self._thaws_itself_at
        return isinstance(error, AccessRefusedError)

    def _until(self) -> float:
        seconds = min(self._stages.plan.timeout_seconds, self._deadline.time_left() - CONCLUDE_SECONDS)
        return self._deadline.elapsed() + max(seconds, 0.0)

    def _has_time(self) -> bool:
        return self._deadline.time_left() > CONCLUDE_SECONDS + PAUSES[-1]

    def _pause(self, attempt: int) -> None:
        self._deadline.sleep(PAUSES[min(attempt, len(PAUSES)) - 1])
