"""Post on every instance to which pre was sent: first in line, sent again while time lasts, until it has ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lambda_function.errors import AccessRefusedError, NoAnswerError, ThrottledError
from lambda_function.hooks.command import Stage
from lambda_function.hooks.stages import Stages
from lambda_function.ports import CommandOutcome

ATTEMPTS = 3
"""How often at least a document that does not come to an end is run."""

FOREIGN_SECONDS = 900.0
"""How long at least a document that may not thaw by itself is tried: a Lambda's whole life."""

PAUSES = (0.5, 1.0, 2.0, 5.0)
"""Seconds between attempts; the last one again and again."""

CONCLUDE_SECONDS = 10.0
"""Nothing is waited for with less time left, so that the run can report."""


@dataclass(frozen=True)
class Thawed:
    """How post ended on an instance, or why it could not be sent; `ended` on the deadline's elapsed clock."""

    outcome: CommandOutcome
    ended: float


@dataclass
class _Post:
    """One instance's post: to be sent at `again_at` while it has no command, else waited for until `until`."""

    command_id: str | None = None
    until: float = 0.0
    again_at: float = 0.0
    failures: int = 0
    """Attempts to send it that failed, and times that it did not come to an end."""
    ends: int = 0


class Thaw:
    """The thaw of one freeze. No instance's waits for another one's."""

    def __init__(self, stages: Stages, snapshot_ids: Sequence[str]) -> None:
        self._stages = stages
        self._deadline = stages.deadline
        self._snapshot_ids = snapshot_ids
        self._results: dict[str, Thawed] = {}
        # Our documents take `notAfter`, and thaw by themselves at most twice the stages' time-out after they froze.
        twice = 2.0 * stages.plan.timeout_seconds
        is_ours = "notAfter" in stages.plan.document.parameters
        self._gives_up_at = stages.began + (twice if is_ours else max(twice, FOREIGN_SECONDS))

    def run(self, instance_ids: Sequence[str]) -> dict[str, Thawed]:
        """The last result of each instance."""
        posts = {instance_id: _Post() for instance_id in instance_ids}
        while posts:
            for instance_id, post in tuple(posts.items()):
                if post.command_id is None and not self._send(instance_id, post):
                    del posts[instance_id]
            unsent = [post.again_at for post in posts.values() if post.command_id is None]
            if len(unsent) == len(posts) and unsent:
                self._deadline.sleep(max(min(unsent) - self._deadline.elapsed(), 0.0))
            for instance_id, post in tuple(posts.items()):
                if post.command_id is not None and not self._await(instance_id, post, post.command_id, unsent):
                    del posts[instance_id]
        return self._results

    def _send(self, instance_id: str, post: _Post) -> bool:
        """Send it if it is time; False if SSM will never take it, or time is over."""
        if self._deadline.elapsed() < post.again_at:
            return True
        try:
            post.command_id = self._stages.send_post(instance_id, self._snapshot_ids)
        except Exception as error:
            outcome = CommandOutcome("not sent", None, error=str(error))
            before = self._results.get(instance_id)
            if before is None or before.outcome != outcome:  # once, though it may be tried for minutes
                self._stages.note(Stage.POST, instance_id, "not sent", str(error))
            self._record(instance_id, outcome)
            return not self._is_final(error) and self._is_put_off(post)
        self._stages.note(Stage.POST, instance_id, "sent")
        seconds = min(self._stages.plan.timeout_seconds, self._deadline.time_left() - CONCLUDE_SECONDS)
        post.until = self._deadline.elapsed() + seconds
        return True

    def _await(self, instance_id: str, post: _Post, command_id: str, unsent: Sequence[float]) -> bool:
        """Wait for its end, but not while another one's is to be sent; False if that was all."""
        outcome = self._stages.wait_for_post(instance_id, command_id, min((post.until, *unsent)))
        if outcome is None and self._deadline.elapsed() < post.until:
            return True
        outcome = outcome or CommandOutcome("timed out", None, error="not seen to end; it may run later")
        self._stages.conclude(Stage.POST, instance_id, outcome)
        self._record(instance_id, outcome)
        post.command_id = None
        post.ends += 1
        is_over = post.ends >= ATTEMPTS and self._deadline.elapsed() >= self._gives_up_at
        if outcome.is_verdict or is_over or not self._stages.can_be_seen(instance_id):
            return False
        return self._is_put_off(post)

    def _is_put_off(self, post: _Post) -> bool:
        """Whether there is time for another attempt, which is then due after a pause."""
        post.again_at = self._deadline.elapsed() + PAUSES[min(post.failures, len(PAUSES) - 1)]
        post.failures += 1
        return self._deadline.time_left() > CONCLUDE_SECONDS + PAUSES[-1]

    def _record(self, instance_id: str, outcome: CommandOutcome) -> None:
        self._results[instance_id] = Thawed(outcome, self._deadline.elapsed())

    def _is_final(self, error: Exception) -> bool:
        """Whether to give up sending.

        At once if it is denied. What SSM refuses otherwise, such as an instance that it does not know, may pass for a
        while; that it is busy or does not answer, at any time.
        """
        if isinstance(error, AccessRefusedError):
            return True
        is_passing = isinstance(error, NoAnswerError | ThrottledError)
        return not is_passing and self._deadline.elapsed() >= self._gives_up_at
