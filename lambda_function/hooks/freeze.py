"""The sequence around a snapshot: pre on every instance, the create call, post on every path.

Pure: it works on callables and writes a journal. What always holds:

* post runs on every instance to which pre was sent, or may have been sent;
* a pre that does not end in time is cancelled, then thawed;
* nothing starts unless the time left also suffices to undo it;
* snapshots count as application-consistent only if pre succeeded everywhere, the create call was
  answered, and post says the freeze was still held.
"""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from lambda_function.deadline import Deadline
from lambda_function.errors import AccessRefusedError, RequestRejectedError
from lambda_function.hooks.command import FreezePlan, Stage, parameters_for
from lambda_function.ports import CommandOutcome, Commands

logger = logging.getLogger(__name__)

T = TypeVar("T")

CREATE_SECONDS = 45.0
"""Time for the create call and its retries while frozen."""

CANCEL_SECONDS = 5.0
"""How long to wait for a cancelled command to end before sending post anyway."""

POST_ATTEMPTS = 3

AUTO_THAWED = 203
NOT_FROZEN = 205
"""Exit codes of post in Data Lifecycle Manager's contract: nothing was held."""

_FROZEN = re.compile(r"^auto-snapshots: frozen\b(.*)$", re.MULTILINE)
_SKIPPED = "Step execution skipped"
"""The agent's output for a step whose precondition does not hold, with the status Success (amazon-ssm-agent)."""
_HELD = re.compile(r"^auto-snapshots: held (yes|no)\s*$", re.MULTILINE)
_HELD_MS = re.compile(r"^auto-snapshots: held-ms (\d+)\s*$", re.MULTILINE)


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


@dataclass(frozen=True)
class FreezeResult(Generic[T]):
    """The outcome of a freeze.

    `result` is the create call's, None if it was not made. `proved` are the volumes whose snapshots
    are application-consistent. `pre_error` and `post_error` say what failed, in words. `thawed` is
    False if a post failed: someone must check the instance.
    """

    result: T | None
    proved: frozenset[str]
    pre_error: str | None
    post_error: str | None
    thawed: bool
    freeze_ms: int | None
    held_ms: int | None
    steps: tuple[Step, ...]


def seconds_needed(plan: FreezePlan) -> float:
    """Seconds that a freeze needs: both stages, the create, and cancelling each stage."""
    return 2 * plan.timeout_seconds + CREATE_SECONDS + 2 * CANCEL_SECONDS


class Freeze(Generic[T]):
    """One pass through the sequence."""

    def __init__(self, plan: FreezePlan, commands: Commands, deadline: Deadline) -> None:
        self._plan = plan
        self._commands = commands
        self._deadline = deadline
        self._steps: list[Step] = []
        self._began = deadline.elapsed()
        self._execution_ids = {instance_id: str(uuid.uuid4()) for instance_id in plan.instance_ids}
        # Command id of the pre stage; None if sending it got no response, so that it may be running.
        self._sent: dict[str, str | None] = {}
        self._frozen_at: float | None = None
        self._claimed: dict[str, set[str]] = {}

    def around(self, create: Callable[[], T], snapshot_ids: Callable[[T], Sequence[str]]) -> FreezeResult[T]:
        """Freeze, create, thaw. Raises OutOfTimeError if too little time is left for all of it."""
        # Registered before `require`: an interruption either prevents this freeze or finds it registered.
        with self._deadline.interruption.holding(self._plan.instance_ids):
            self._deadline.require(seconds_needed(self._plan))
            return self._around(create, snapshot_ids)

    def _around(self, create: Callable[[], T], snapshot_ids: Callable[[T], Sequence[str]]) -> FreezeResult[T]:
        result: T | None = None
        created: Sequence[str] = ()
        pre_error: str | None
        try:
            pre_error = self._pre()
            if pre_error is None:
                result = create()
                created = snapshot_ids(result)
                self._note("create", "snapshots", "success" if created else "failed", ", ".join(created))
        except Exception as error:
            # A bug must not cost the journal, which says whether the instance was thawed.
            logger.exception("unexpected while %s was frozen", ", ".join(self._plan.instance_ids))
            pre_error = f"unexpected {type(error).__name__}: {error}"
        finally:
            freeze_ms = self._freeze_ms()
            post_error, thawed, held, held_ms = self._post(created)
        proved = self._proved() if held and pre_error is None and created else frozenset()
        return FreezeResult(result, proved, pre_error, post_error, thawed, freeze_ms, held_ms, tuple(self._steps))

    def _pre(self) -> str | None:
        """Send pre to every instance and wait for all; the error in words, None if all succeeded."""
        until = self._deadline.elapsed() + self._plan.timeout_seconds
        not_after = int(self._deadline.now().timestamp()) + self._plan.timeout_seconds
        errors = []
        for instance_id in self._plan.instance_ids:
            error = self._send_pre(instance_id, not_after)
            if error is not None:
                errors.append(error)
                break
        for instance_id, command_id in self._sent.items():
            if command_id is None:
                continue
            outcome = self._wait(Stage.PRE, instance_id, command_id, until)
            if outcome.succeeded:
                self._claim(instance_id, outcome)
            else:
                errors.append(f"pre on {instance_id}: {self._plan.redact_outcome(outcome)}")
        if not errors:
            self._frozen_at = self._deadline.elapsed()
        return "; ".join(errors) or None

    def _send_pre(self, instance_id: str, not_after: int) -> str | None:
        parameters = parameters_for(
            self._plan, Stage.PRE, instance_id, self._execution_ids[instance_id], not_after=not_after
        )
        try:
            self._sent[instance_id] = self._commands.send(self._plan.document, instance_id, parameters)
        except Exception as error:
            # Unless SSM rejected it, the command may have been delivered, if only by a first attempt whose response
            # was lost. Then post must follow; a needless post is harmless (205).
            if isinstance(error, RequestRejectedError | AccessRefusedError):
                self._note(Stage.PRE, instance_id, "not sent", str(error))
            else:
                self._sent[instance_id] = None
                self._note(Stage.PRE, instance_id, "unknown", repr(error) if not str(error) else str(error))
            return f"pre on {instance_id}: {self._plan.redact(str(error))}"
        self._note(Stage.PRE, instance_id, "sent")
        return None

    def _post(self, snapshot_ids: Sequence[str]) -> tuple[str | None, bool, bool, int | None]:
        """Thaw wherever pre was sent: error in words, all thawed, freeze held until then, milliseconds held."""
        errors: list[str] = []
        thawed = held = True
        held_ms: int | None = None
        for instance_id, outcome in self._send_posts(snapshot_ids).items():
            reported = _HELD.search(outcome.output)
            measured = _HELD_MS.search(outcome.output)
            held_here = outcome.succeeded and (reported[1] == "yes" if reported else self._is_proof_by_silence(outcome))
            held = held and held_here
            held_ms = max(held_ms or 0, int(measured[1])) if measured else held_ms
            redacted = self._plan.redact_outcome(outcome)
            if outcome.exit_code in (AUTO_THAWED, NOT_FROZEN):
                what = "thawed by itself before post" if outcome.exit_code == AUTO_THAWED else "was not frozen"
                errors.append(f"post on {instance_id}: it {what} (exit {outcome.exit_code})")
            elif not outcome.succeeded:
                thawed = False
                errors.append(f"post on {instance_id}: {redacted}: look at it, it may still be frozen")
            elif not held_here and self._frozen_at is not None:
                why = f" ({redacted.explanation})" if redacted.explanation else ""
                errors.append(f"post on {instance_id}: the freeze was not held throughout, or that is not known{why}")
        return "; ".join(errors) or None, thawed, held and bool(self._sent), held_ms

    def _send_posts(self, snapshot_ids: Sequence[str]) -> dict[str, CommandOutcome]:
        """Send post to all at once, and again if the document did not finish; the last outcome of each."""
        outcomes: dict[str, CommandOutcome] = {}
        waiting = list(reversed(self._sent))
        for _ in range(POST_ATTEMPTS):
            until = self._deadline.elapsed() + self._plan.timeout_seconds
            sent: dict[str, str] = {}
            for instance_id in waiting:
                parameters = parameters_for(
                    self._plan, Stage.POST, instance_id, self._execution_ids[instance_id], snapshot_ids
                )
                try:
                    sent[instance_id] = self._commands.send(self._plan.document, instance_id, parameters)
                    self._note(Stage.POST, instance_id, "sent")
                except Exception as error:
                    outcomes[instance_id] = CommandOutcome("not sent", None, error=str(error))
                    self._note(Stage.POST, instance_id, "not sent", str(error))
            for instance_id, command_id in sent.items():
                outcomes[instance_id] = self._wait(Stage.POST, instance_id, command_id, until)
            waiting = [instance_id for instance_id in waiting if not outcomes[instance_id].is_verdict]
            if not waiting or self._deadline.time_left() < self._plan.timeout_seconds + CANCEL_SECONDS:
                break
        return outcomes

    def _wait(self, stage: Stage, instance_id: str, command_id: str, until: float) -> CommandOutcome:
        """The command's outcome; cancelled if it has not ended by `until`."""
        try:
            outcome = self._commands.wait(command_id, instance_id, until)
            if outcome is None:
                outcome = self._cancel(stage, instance_id, command_id)
        except Exception as error:
            outcome = CommandOutcome("unknown", None, error=f"{type(error).__name__}: {error}")
            if stage is Stage.PRE:
                self._try_to_cancel(instance_id, command_id)
        self._note(stage, instance_id, outcome.status.lower(), self._plan.redact_outcome(outcome).explanation)
        return outcome

    def _cancel(self, stage: Stage, instance_id: str, command_id: str) -> CommandOutcome:
        self._note("cancel", instance_id, "sent", f"{stage} took more than {self._plan.timeout_seconds} s")
        self._commands.cancel(command_id, instance_id)
        self._commands.wait(command_id, instance_id, self._deadline.elapsed() + CANCEL_SECONDS)
        return CommandOutcome("timed out", None, error=f"not finished after {self._plan.timeout_seconds} s, cancelled")

    def _try_to_cancel(self, instance_id: str, command_id: str) -> None:
        """Cancel a pre in an unknown state before post is sent: it may be running, or start later."""
        try:
            self._commands.cancel(command_id, instance_id)
            self._note("cancel", instance_id, "sent")
        except Exception as error:
            self._note("cancel", instance_id, "not sent", str(error))

    def _claim(self, instance_id: str, outcome: CommandOutcome) -> None:
        """Record which volumes the document reports as frozen."""
        reported = _FROZEN.search(outcome.output)
        if reported is not None:
            self._claimed[instance_id] = set(reported[1].replace(",", " ").split())
        elif not self._is_proof_by_silence(outcome):
            self._claimed[instance_id] = set()

    def _is_proof_by_silence(self, outcome: CommandOutcome) -> bool:
        """Whether success says enough: of a document that takes no `volumeIds` and so cannot know our lines.

        The agent reports success for a step that it skipped, too.
        """
        is_foreign = "volumeIds" not in self._plan.document.parameters
        return is_foreign and outcome.complete and _SKIPPED not in outcome.output

    def _proved(self) -> frozenset[str]:
        """The volumes reported as frozen by each of their instances whose document reports any."""
        return frozenset(
            volume_id
            for volume_id in self._plan.volume_ids
            if all(
                volume_id in self._claimed.get(instance_id, (volume_id,))
                for instance_id in self._plan.attached.get(volume_id, self._plan.instance_ids)
            )
        )

    def _freeze_ms(self) -> int | None:
        return None if self._frozen_at is None else round((self._deadline.elapsed() - self._frozen_at) * 1000)

    def _note(self, name: str, target: str, status: str, detail: str = "") -> None:
        at = self._deadline.elapsed() - self._began
        self._steps.append(Step(name, target, status, self._plan.redact(detail), at))
