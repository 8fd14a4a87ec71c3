"""One freeze's stages on their instances: parameters, waiting, cancelling, and the journal of all that happened."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from lambda_function.deadline import Deadline
from lambda_function.errors import AccessRefusedError
from lambda_function.hooks.command import FreezePlan, Stage, parameters_for
from lambda_function.ports import CommandOutcome, Commands

CANCEL_SECONDS = 5.0
"""How long to wait for a cancelled command to end before sending post anyway."""


@dataclass(frozen=True)
class Step:
    """One line of the journal. `status` is `sent`, `success`, `failed`, `cancelled` or similar."""

    name: str
    target: str
    status: str
    detail: str = ""
    at_seconds: float = 0.0

    def __str__(self) -> str:
        return f"{self.at_seconds:.1f} s {self.name} {self.target}: {self.status}" + (
            f" ({self.detail})" if self.detail else ""
        )


class Stages:
    """The commands of one freeze; `steps` is its journal."""

    def __init__(self, plan: FreezePlan, commands: Commands, deadline: Deadline) -> None:
        self.plan = plan
        self.deadline = deadline
        self.began = deadline.elapsed()
        self.steps: list[Step] = []
        self._commands = commands
        self._execution_ids = {instance_id: str(uuid.uuid4()) for instance_id in plan.instance_ids}
        self._never_seen: set[str] = set()
        self._not_ended: set[str] = set()

    def send_pre(self, instance_id: str, not_after: int, until: float, *, is_first: bool) -> str:
        """Send pre; `not_after` is the moment (epoch seconds) after which it refuses.

        The first one of a freeze was admitted and is sent once. Once something may be frozen, the others are sent until
        SSM takes them, or until `until`.
        """
        execution_id = self._execution_ids[instance_id]
        parameters = parameters_for(self.plan, Stage.PRE, instance_id, execution_id, not_after=not_after)
        return self._commands.send(self.plan.document, instance_id, parameters, admitted=is_first, until=until)

    def send_post(self, instance_id: str, snapshot_ids: Sequence[str]) -> str:
        """Send post as soon as the rate limit allows."""
        execution_id = self._execution_ids[instance_id]
        parameters = parameters_for(self.plan, Stage.POST, instance_id, execution_id, snapshot_ids)
        return self._commands.send(self.plan.document, instance_id, parameters)

    def can_be_seen(self, instance_id: str) -> bool:
        """Whether waiting for a command on this instance makes sense: False once SSM refused it for good."""
        return instance_id not in self._never_seen

    def may_freeze_later(self, instance_id: str) -> bool:
        """Whether a pre that was not seen to end, cancelled or not, may still freeze the instance after its post.

        Ours refuse by `notAfter` and by what their post left behind.
        """
        return instance_id in self._not_ended and "notAfter" not in self.plan.document.parameters

    def wait_for_pre(self, instance_id: str, command_id: str, until: float) -> CommandOutcome:
        """Its outcome; cancelled if it has not ended by `until`, or if that cannot be known."""
        self._not_ended.add(instance_id)
        try:
            outcome = self._wait(instance_id, command_id, until)
            if outcome is None:
                outcome = self._cancel(instance_id, command_id)
            else:
                self._not_ended.remove(instance_id)
        except Exception as error:
            outcome = _unknown(error)
            self._try_to_cancel(instance_id, command_id)
        self.conclude(Stage.PRE, instance_id, outcome)
        return outcome

    def wait_for_post(self, instance_id: str, command_id: str, until: float) -> CommandOutcome | None:
        """Its outcome; None if it has not ended by `until`. It is never cancelled: late or not, it thaws."""
        try:
            return self._wait(instance_id, command_id, until)
        except Exception as error:
            return _unknown(error)

    def conclude(self, stage: Stage, instance_id: str, outcome: CommandOutcome) -> None:
        """Note how a command ended."""
        self.note(stage, instance_id, outcome.status.lower(), self.plan.redact_outcome(outcome).explanation)

    def _wait(self, instance_id: str, command_id: str, until: float) -> CommandOutcome | None:
        try:
            return self._commands.wait(command_id, instance_id, until)
        except AccessRefusedError:
            self._never_seen.add(instance_id)
            raise

    def _cancel(self, instance_id: str, command_id: str) -> CommandOutcome:
        seconds = self.plan.timeout_seconds
        self.note("cancel", instance_id, "sent", f"{Stage.PRE} took more than {seconds} s")
        self._commands.cancel(command_id, instance_id)
        if self._wait(instance_id, command_id, self.deadline.elapsed() + CANCEL_SECONDS) is not None:
            self._not_ended.remove(instance_id)
        return CommandOutcome("timed out", None, error=f"not finished after {seconds} s, cancelled")

    def _try_to_cancel(self, instance_id: str, command_id: str) -> None:
        """Cancel a pre in an unknown state before post is sent: it may be running, or start later."""
        try:
            self._commands.cancel(command_id, instance_id)
            self.note("cancel", instance_id, "sent")
        except Exception as error:
            self.note("cancel", instance_id, "not sent", str(error))

    def note(self, name: str, target: str, status: str, detail: str = "") -> None:
        at = self.deadline.elapsed() - self.began
        self.steps.append(Step(name, target, status, self.plan.redact(detail), at))


def _unknown(error: Exception) -> CommandOutcome:
    return CommandOutcome("unknown", None, error=f"{type(error).__name__}: {error}")
