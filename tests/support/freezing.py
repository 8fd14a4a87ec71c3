"""One freeze alone, on one or two instances whose documents do as they are told."""

from __future__ import annotations

import dataclasses

from lambda_function.deadline import Deadline
from lambda_function.hooks.command import FreezePlan
from lambda_function.hooks.freeze import Freeze
from lambda_function.interruption import Interruption
from lambda_function.ports import CommandOutcome
from tests.support.clock import Clock
from tests.support.ssm import CONTRACT, FakeSsm, Reply

PRE, POST = "pre-script", "post-script"
BOTH, SECOND = "vol-1", "vol-2"
"""One volume on both instances, one on the second only."""

FROZEN = Reply(output=f"auto-snapshots: frozen {BOTH},{SECOND}\n")
HELD = Reply(output="auto-snapshots: held-ms 1500\nauto-snapshots: held yes\n")


class Freezing:
    """Two instances whose documents do as they are told; one that is told nothing freezes and holds."""

    def __init__(self, *instance_ids):
        self.clock = Clock()
        self.ssm = FakeSsm(self.clock, script=self._reply)
        self.replies = {}
        self.left = 3000.0
        self.interruption = Interruption()
        attached = {BOTH: ("i-1", "i-2"), SECOND: ("i-2",)} if len(instance_ids) > 1 else {}
        self.plan = FreezePlan(
            document=self.ssm.describe_document("DOC"),
            instance_ids=instance_ids,
            volume_ids=(BOTH, SECOND),
            policy="P",
            period="hour",
            timeout_seconds=60,
            attached=attached,
        )

    def is_foreign(self):
        """The document takes no volume ids, as those that were written for Data Lifecycle Manager."""
        self.ssm.documents["DOC"] = CONTRACT
        self.plan = dataclasses.replace(self.plan, document=self.ssm.describe_document("DOC"))

    def _reply(self, instance_id, parameters):
        stage = parameters["command"][0]
        told = self.replies.get((stage, instance_id), [])
        if told:
            return told.pop(0) if len(told) > 1 else told[0]
        return FROZEN if stage == PRE else HELD

    def told(self, stage, instance_id, *replies):
        """These replies, one a command; the last one again and again."""
        self.replies[stage, instance_id] = list(replies)

    def fail(self, operation, instance_id, error, after=False):
        def burst(called, target):
            if (called, target) == (operation, instance_id):
                raise error

        setattr(self.ssm, "after" if after else "before", burst)

    def incomplete(self, stage, output="", error=""):
        """What this stage printed could not be read whole."""
        wait = self.ssm.wait

        def unread(command_id, instance_id, until):
            outcome = wait(command_id, instance_id, until)
            (command,) = [each for each in self.ssm.sent if each.id == command_id]
            if outcome is None or command.command != stage:
                return outcome
            return CommandOutcome(outcome.status, outcome.exit_code, output, error, complete=False)

        self.ssm.wait = unread  # type: ignore[method-assign]

    def around(self, create=None, made=("snap-1", "snap-2")):
        def two_seconds():
            self.clock.sleep(2)
            return "result"

        deadline = Deadline(
            lambda: self.left - self.clock.elapsed(),
            self.clock.sleep,
            self.clock.elapsed,
            lambda: self.clock.now,
            self.interruption,
        )
        return Freeze(self.plan, self.ssm, deadline).around(create or two_seconds, lambda result: list(made))


def steps(held):
    return [str(step) for step in held.steps]
