"""SSM Run Command in memory: instances with an agent, documents with a script, and all that can go wrong.

A document is a function from parameters to a `Reply`. Time is the fake cloud's clock: sending takes
`delivery` seconds, a script as long as its reply says.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from lambda_function.aws.send_pace import SendPace
from lambda_function.errors import AwsError, HookError, ThrottledError
from lambda_function.ports import CommandOutcome, HookDocument
from tests.support.clock import Clock
from tests.support.instance import Instances
from tests.support.throttled.buckets import Limit, TokenBucket

CONTRACT = frozenset({"command", "executionId"})
FULL = CONTRACT | {"period", "policy", "volumeIds", "snapshotIds", "notAfter", "timeoutSeconds"}


@dataclass
class Reply:
    """What a stage does: how long it takes, how it ends, what it prints; `status` for ends without a script."""

    seconds: float = 1.0
    exit_code: int = 0
    output: str = ""
    status: str | None = None

    def outcome(self) -> CommandOutcome:
        status = self.status or ("Success" if self.exit_code == 0 else "Failed")
        return CommandOutcome(status, self.exit_code, self.output)


@dataclass
class Sent:
    id: str
    instance_id: str
    document: HookDocument
    parameters: Mapping[str, list[str]]
    ends: float
    reply: Reply
    cancelled: bool = False

    @property
    def command(self) -> str:
        return self.parameters["command"][0]


Script = Callable[[str, Mapping[str, list[str]]], Reply]


@dataclass
class FakeSsm:
    """`instances` run what is sent, unless a script is given; `before` is called with operation and target.

    `sends` is SSM's bucket of commands, where it has one. `process` names the process that asks: each has learnt a
    pace of its own.
    """

    clock: Clock
    documents: dict[str, frozenset[str]] = field(default_factory=lambda: {"DOC": FULL})
    offline: dict[str, str] = field(default_factory=dict)
    known_platforms: dict[str, str] = field(default_factory=dict)
    script: Script | None = None
    before: Callable[[str, str], None] = lambda _operation, _target: None
    after: Callable[[str, str], None] = lambda _operation, _target: None
    delivery: float = 0.5
    sent: list[Sent] = field(default_factory=list)
    looks: int = 0
    sends: TokenBucket | None = None
    process: Callable[[], str] = lambda: ""

    def __post_init__(self) -> None:
        self._paces: dict[str, SendPace] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()
        self.instances = Instances(lambda: self.clock.now)

    @property
    def frozen(self) -> set[str]:
        return {freeze.instance_id for freeze in self.instances.frozen()}

    def stages(self) -> list[tuple[str, str]]:
        return [(each.command, each.instance_id) for each in self.sent]

    def run(self, instance_id: str, parameters: Mapping[str, list[str]]) -> Reply:
        """The document as the instances run it."""
        answer = self.instances.run(instance_id, {name: values[0] for name, values in parameters.items()})
        return Reply(answer.seconds, answer.exit_code, answer.output)

    def limit_sends(self, burst: float, per_second: float) -> None:
        self.sends = TokenBucket(Limit(burst, per_second), self.clock.elapsed)

    # The port

    def describe_document(self, name: str) -> HookDocument:
        self.before("DescribeDocument", name)
        if name not in self.documents:
            raise HookError(f"document {name}: DescribeDocument: InvalidDocument: it does not exist")
        return HookDocument(name, "3", self.documents[name], frozenset({"Linux", "MacOS"}))

    def unreachable(self, instance_ids: Collection[str]) -> dict[str, str]:
        self.before("DescribeInstanceInformation", "")
        return {each: self.offline[each] for each in instance_ids if each in self.offline}

    def platforms(self) -> Mapping[str, str]:
        return self.known_platforms

    def check_access(self) -> None:
        self.before("ListCommandInvocations", "")

    def warm_up(self, connections: int) -> None: ...

    def admitted(self, instances: int, wait: Callable[[float], None]) -> AbstractContextManager[None]:
        return self._pace().admitted(instances, wait)

    def send(
        self,
        document: HookDocument,
        instance_id: str,
        parameters: Mapping[str, list[str]],
        *,
        admitted: bool = False,
        until: float | None = None,
    ) -> str:
        """As the real one paces and repeats."""
        while True:
            if not admitted:
                self._pace().take()
            try:
                return self._send(document, instance_id, parameters)
            except ThrottledError:
                self._pace().refused()
                if admitted or (until is not None and self.clock.elapsed() >= until):
                    raise

    def _pace(self) -> SendPace:
        return self._paces.setdefault(self.process(), SendPace(self.clock.elapsed, self.clock.sleep))

    def _send(self, document: HookDocument, instance_id: str, parameters: Mapping[str, list[str]]) -> str:
        command = parameters["command"][0]
        self.before(f"SendCommand {command}", instance_id)
        with self._lock:
            if self.sends is not None and not self.sends.take():
                raise ThrottledError("SendCommand", "ThrottlingException", "Rate exceeded")
        undeclared = parameters.keys() - self.documents[document.name]
        if undeclared:
            raise AwsError("SendCommand", "InvalidParameters", f"{undeclared}")
        with self._lock:
            reply = (self.script or self.run)(instance_id, parameters)
            ends = self.clock.elapsed() + self.delivery + reply.seconds
            made = Sent(f"command-{next(self._numbers)}", instance_id, document, dict(parameters), ends, reply)
            self.sent.append(made)
        self.after(f"SendCommand {command}", instance_id)
        return made.id

    def wait(self, command_id: str, instance_id: str, until: float) -> CommandOutcome | None:
        (command,) = [each for each in self.sent if (each.id, each.instance_id) == (command_id, instance_id)]
        self.before(f"wait {command.command}", instance_id)
        self.looks += 1
        at = min(command.ends, until)
        self.clock.sleep(max(0.0, at - self.clock.elapsed()))
        if command.cancelled:
            return CommandOutcome("Cancelled", -1, "")
        return command.reply.outcome() if command.ends <= until else None

    def cancel(self, command_id: str, instance_id: str) -> None:
        self.before("CancelCommand", instance_id)
        for each in self.sent:
            if (each.id, each.instance_id) == (command_id, instance_id):
                each.cancelled = True
