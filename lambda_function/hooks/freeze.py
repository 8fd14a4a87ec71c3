"""The sequence around a snapshot: pre on every instance, the create call, post on every path.

Pure: it works on callables and writes a journal. What always holds:

* post runs on every instance to which pre was sent, or may have been sent, and is sent again while time lasts;
* a pre that does not end in time is cancelled, then thawed;
* nothing starts unless the time left also suffices to undo it;
* snapshots count as application-consistent only if pre succeeded everywhere, the create call was
  answered, and post says the freeze was still held.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from lambda_function.deadline import Deadline
from lambda_function.errors import AwsError, NoAnswerError, ThrottledError
from lambda_function.hooks.command import FreezePlan, Stage
from lambda_function.hooks.stages import CANCEL_SECONDS, Stages, Step
from lambda_function.hooks.thaw import Thaw
from lambda_function.ports import CommandOutcome, Commands

logger = logging.getLogger(__name__)

T = TypeVar("T")

CREATE_SECONDS = 45.0
"""Time for the create call and its retries while frozen."""

AUTO_THAWED = 203
NOT_FROZEN = 205
"""Exit codes of post in Data Lifecycle Manager's contract: nothing was held."""

_FROZEN = re.compile(r"^auto-snapshots: frozen\b(.*)$", re.MULTILINE)
_SKIPPED = "Step execution skipped"
"""The agent's output for a step whose precondition does not hold, with the status Success (amazon-ssm-agent)."""
_HELD = re.compile(r"^auto-snapshots: held (yes|no)\s*$", re.MULTILINE)
_HELD_MS = re.compile(r"^auto-snapshots: held-ms (\d+)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class FreezeResult(Generic[T]):
    """The outcome of a freeze.

    `result` is the create call's, None if it was not made. `proved` are the volumes whose snapshots
    are application-consistent. `pre_error` and `post_error` say what failed, in words. `is_unanswered`: pre could
    not be sent, or got no answer from SSM, so that it may succeed if all is tried again. `thawed` is False if a post
    failed: someone must check the instance.

    `freeze_ms` is how long the instance stood still, in milliseconds: as the document measured it, else from the end
    of pre to the end of post, as seen from here. The longest one of several instances.
    """

    result: T | None
    proved: frozenset[str]
    pre_error: str | None
    post_error: str | None
    is_unanswered: bool
    thawed: bool
    freeze_ms: int | None
    steps: tuple[Step, ...]


def seconds_needed(plan: FreezePlan) -> float:
    """Seconds that a freeze needs: both stages, the create, and cancelling each stage."""
    return 2 * plan.timeout_seconds + CREATE_SECONDS + 2 * CANCEL_SECONDS


class Freeze(Generic[T]):
    """One pass through the sequence."""

    def __init__(self, plan: FreezePlan, commands: Commands, deadline: Deadline) -> None:
        self._plan = plan
        self._deadline = deadline
        self._stages = Stages(plan, commands, deadline)
        # Command id of the pre stage; None if sending it got no response, so that it may be running.
        self._sent: dict[str, str | None] = {}
        self._frozen_at: dict[str, float] = {}
        self._is_unanswered = False
        self._claimed: dict[str, set[str]] = {}

    def around(self, create: Callable[[], T], snapshot_ids: Callable[[T], Sequence[str]]) -> FreezeResult[T]:
        """Freeze, create, thaw.

        Raises OutOfTimeError if too little time is left for all of it, and ThrottledError if SSM took no command: in
        both cases nothing was sent.
        """
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
                self._stages.note("create", "snapshots", "success" if created else "failed", ", ".join(created))
        except ThrottledError:
            raise
        except Exception as error:
            # A bug must not cost the journal, which says whether the instance was thawed.
            logger.exception("unexpected while %s was frozen", ", ".join(self._plan.instance_ids))
            pre_error = f"unexpected {type(error).__name__}: {error}"
        finally:
            post_error, thawed, held, freeze_ms = self._post(created)
        proved = self._proved() if held and pre_error is None and created else frozenset()
        return FreezeResult(
            result, proved, pre_error, post_error, self._is_unanswered, thawed, freeze_ms, tuple(self._stages.steps)
        )

    def _pre(self) -> str | None:
        """Send pre to every instance and wait for all; the error in words, None if all succeeded."""
        until = self._deadline.elapsed() + self._plan.timeout_seconds
        not_after = int(self._deadline.now().timestamp()) + self._plan.timeout_seconds
        errors = []
        for instance_id in self._plan.instance_ids:
            error = self._send_pre(instance_id, not_after, until)
            if error is not None:
                errors.append(error)
                break
        for instance_id, command_id in self._sent.items():
            if command_id is None:
                continue
            outcome = self._stages.wait_for_pre(instance_id, command_id, until)
            if outcome.succeeded:
                self._frozen_at[instance_id] = self._deadline.elapsed()
                self._claim(instance_id, outcome)
            else:
                errors.append(f"pre on {instance_id}: {self._plan.redact_outcome(outcome)}")
        return "; ".join(errors) or None

    def _send_pre(self, instance_id: str, not_after: int, until: float) -> str | None:
        is_first = not self._sent
        try:
            self._sent[instance_id] = self._stages.send_pre(instance_id, not_after, until, is_first=is_first)
        except Exception as error:
            if isinstance(error, ThrottledError) and is_first:
                raise
            self._is_unanswered = isinstance(error, NoAnswerError | ThrottledError)
            # If SSM refused it, whatever its reason, nothing was delivered. Otherwise the command may have been,
            # although its response was lost. Then post must follow; a needless post is harmless (205).
            if isinstance(error, AwsError) and not isinstance(error, NoAnswerError):
                self._stages.note(Stage.PRE, instance_id, "not sent", str(error))
            else:
                self._sent[instance_id] = None
                self._stages.note(Stage.PRE, instance_id, "unknown", repr(error) if not str(error) else str(error))
            return f"pre on {instance_id}: {self._plan.redact(str(error))}"
        self._stages.note(Stage.PRE, instance_id, "sent")
        return None

    def _post(self, snapshot_ids: Sequence[str]) -> tuple[str | None, bool, bool, int | None]:
        """Thaw wherever pre was sent: error in words, all thawed, freeze held until then, milliseconds frozen."""
        errors: list[str] = []
        thawed = held = True
        frozen_ms: list[int] = []
        for instance_id, result in Thaw(self._stages, snapshot_ids).run(list(reversed(self._sent))).items():
            outcome = result.outcome
            reported = _HELD.search(outcome.output)
            measured = _HELD_MS.search(outcome.output)
            held_here = outcome.succeeded and (reported[1] == "yes" if reported else self._is_proof_by_silence(outcome))
            held = held and held_here
            if measured:
                frozen_ms.append(int(measured[1]))
            elif instance_id in self._frozen_at:
                frozen_ms.append(round((result.ended - self._frozen_at[instance_id]) * 1000))
            redacted = self._plan.redact_outcome(outcome)
            if outcome.succeeded and self._stages.may_freeze_later(instance_id):
                thawed = False
                errors.append(f"post on {instance_id}: pre was not seen to end and may freeze later: look at it")
            elif outcome.exit_code in (AUTO_THAWED, NOT_FROZEN):
                what = "thawed by itself before post" if outcome.exit_code == AUTO_THAWED else "was not frozen"
                errors.append(f"post on {instance_id}: it {what} (exit {outcome.exit_code})")
            elif not outcome.succeeded:
                thawed = False
                errors.append(f"post on {instance_id}: {redacted}: look at it, it may still be frozen")
            elif not held_here and len(self._frozen_at) == len(self._plan.instance_ids):
                why = f" ({redacted.explanation})" if redacted.explanation else ""
                errors.append(f"post on {instance_id}: the freeze was not held throughout, or that is not known{why}")
        return "; ".join(errors) or None, thawed, held and bool(self._sent), max(frozen_ms, default=None)

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
