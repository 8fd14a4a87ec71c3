"""SSM Run Command for the embedded endpoint: moto answers Success to any command at once and lacks most calls.

No agent runs here: a script, a Python callable per instance, decides what each command prints, how it
ends and how long it takes. What the service itself checks and shows is done as SSM does it: documents
and parameters are checked when a command is sent, an invocation is Pending, InProgress and then what it
came to, `Output` holds standard error behind a line of its own and is cut at 2,500 bytes.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from unittest import mock

from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult, EmptyResult
from moto.ec2.models import ec2_backends
from moto.ssm.models import ssm_backends
from moto.ssm.responses import SimpleSystemManagerResponse

from tests.documents.agent import RefusedError, checked
from tests.support.instance import Instances
from tests.support.throttled.buckets import Limit, TokenBucket

LISTED_BYTES = 2_500
WHOLE_OUTPUT = 24_000
PAGE = 50

_PLATFORMS = {"aws:runShellScript": ("Linux", "MacOS"), "aws:runPowerShellScript": ("Linux", "MacOS", "Windows")}


def _cut(output: str) -> str:
    """As the agent does: whole characters within the bytes of a listing."""
    return output.encode()[:LISTED_BYTES].decode(errors="ignore")


@dataclass(frozen=True)
class Reply:
    """What a command comes to; `status` where no script ran to an end, such as `Undeliverable`."""

    exit_code: int = 0
    output: str = ""
    error: str = ""
    seconds: float = 0.0
    status: str | None = None


@dataclass
class Sent:
    """A command on one instance. Times are on the agents' `elapsed` clock.

    Half of the round trip is the way to the instance, half the way back until the end can be seen.
    """

    instance_id: str
    document: str
    version: str
    parameters: dict[str, str]
    requested: datetime
    begins: float
    way_back: float
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    reply: Reply = field(default_factory=Reply)
    cancelled_at: float | None = None

    @property
    def stage(self) -> str:
        return self.parameters.get("command", "")

    @property
    def ends(self) -> float:
        return self.begins + self.reply.seconds

    def state(self, now: float) -> tuple[str, str, int]:
        """Status, its details and the response code."""
        if self.cancelled_at is not None and self.cancelled_at < self.ends:
            return (
                ("Cancelled", "Cancelled", -1)
                if now >= self.cancelled_at + self.way_back
                else ("Cancelling",) * 2 + (-1,)
            )
        if now < self.begins:
            return "Pending", "Pending", -1
        if now < self.ends + self.way_back:
            return "InProgress", "InProgress", -1
        if self.reply.status is not None:
            return "TimedOut" if "TimedOut" in self.reply.status else "Failed", self.reply.status, -1
        status = "Failed" if self.reply.exit_code else "Success"
        return status, status, self.reply.exit_code

    def stderr(self, now: float) -> str:
        _, _, code = self.state(now)
        return self.reply.error + (f"failed to run commands: exit status {code}" if code > 0 else "")


Script = Callable[[Sent], Reply]


@dataclass
class Agents:
    """The instances' agents, all of them simulated, and what SSM heard.

    An instance of `unknown` never registered: asking for it is an error. One of `offline`, or one that
    does not run, is merely absent. `throttled` counts the refusals still to come, by method name. `sends` is the
    account's bucket of commands, where it has one; `foreign` are other tools' commands, newer than all of ours.
    """

    scripts: dict[str, Script] = field(default_factory=dict)
    round_trip: float = 0.0
    elapsed: Callable[[], float] = time.monotonic
    offline: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    platforms: dict[str, str] = field(default_factory=dict)
    throttled: Counter[str] = field(default_factory=Counter)
    with_plugins: bool = True
    sends: TokenBucket | None = None
    foreign: list[Sent] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    instances: Instances = field(init=False)

    def __post_init__(self) -> None:
        self.instances = Instances(lambda: _moment(self.elapsed()))

    @property
    def frozen(self) -> set[str]:
        return {freeze.instance_id for freeze in self.instances.frozen()}

    def stages(self, instance_id: str | None = None) -> list[str]:
        return [each.stage for each in self.sent if instance_id in (None, each.instance_id)]

    def limit_sends(self, burst: float, per_second: float) -> None:
        self.sends = TokenBucket(Limit(burst, per_second), self.elapsed)

    def busy(self, commands: int, requested: datetime, document: str = "AWS-RunPatchBaseline") -> None:
        """So many commands of another tool on other instances, which have ended."""
        self.foreign = [
            Sent(f"i-{number:017x}", document, "1", {}, requested, self.elapsed(), 0.0) for number in range(commands)
        ]

    def well_behaved(self, command: Sent, seconds: float = 0.0) -> Reply:
        """The document as the instances run it."""
        return Reply(*self.instances.run(command.instance_id, command.parameters, seconds, at=_moment(command.begins)))


def _moment(elapsed: float) -> datetime:
    return datetime.fromtimestamp(elapsed, UTC)


class RunCommandError(ServiceException):
    """An error of the service by its code."""


class _RunCommand:
    """The methods that are put into moto's SSM responses."""

    def __init__(self, agents: Agents, clock: Callable[[], datetime]) -> None:
        self._agents = agents
        self._clock = clock
        self._lock = threading.RLock()
        self._describe_document = SimpleSystemManagerResponse.describe_document

    def methods(self) -> dict[str, Callable[[Any], Any]]:
        own: dict[str, Callable[[Any], Any]] = {
            "send_command": self.send_command,
            "list_command_invocations": self.list_command_invocations,
            "get_command_invocation": self.get_command_invocation,
            "cancel_command": self.cancel_command,
            "describe_instance_information": self.describe_instance_information,
            "describe_document": self.describe_document,
        }
        return {name: self._counted(method, name) for name, method in own.items()}

    def _counted(self, method: Callable[[Any], Any], name: str) -> Callable[[Any], Any]:
        def respond(response: Any) -> Any:
            with self._lock:
                self._agents.calls[name] += 1
                if self._agents.throttled[name] > 0:
                    self._agents.throttled[name] -= 1
                    raise RunCommandError("ThrottlingException", "Rate exceeded")
                return method(response)

        return respond

    def describe_document(self, response: Any) -> ActionResult:
        """As moto's, with the platforms that the steps' plugins run on, which moto does not work out."""
        found = self._describe_document(response).result["Document"]
        document = ssm_backends[response.current_account][response.region]._documents[found["Name"]]
        steps = document.find(found["DocumentVersion"]).content_json.get("mainSteps", ())
        platforms = {each for step in steps for each in _PLATFORMS.get(step["action"], ())}
        return ActionResult({"Document": {**found, "PlatformTypes": sorted(platforms)}})

    def send_command(self, response: Any) -> ActionResult:
        if self._agents.sends is not None and not self._agents.sends.take():
            raise RunCommandError("ThrottlingException", "Rate exceeded")
        name = response._get_param("DocumentName")
        documents = ssm_backends[response.current_account][response.region]._documents.get(name)
        if documents is None:
            raise RunCommandError("InvalidDocument", f"Document with name {name} does not exist.")
        asked = response._get_param("DocumentVersion", "$DEFAULT")
        found = documents.find(None if asked == "$DEFAULT" else asked, strict=False)
        if found is None:
            raise RunCommandError("InvalidDocumentVersion", f"The document {name} has no version {asked}.")
        parameters = _checked(found.content_json, response._get_param("Parameters") or {})
        instance_ids = response._get_param("InstanceIds")
        for each in instance_ids:
            if self._ping(response, each) != "Online":
                raise RunCommandError("InvalidInstanceId", f"Instances [[{each}]] not in a valid state for account")
        half = self._agents.round_trip / 2
        begins = self._agents.elapsed() + half
        (instance_id,) = instance_ids  # the function sends to one at a time
        sent = Sent(instance_id, name, found.document_version, parameters, self._clock(), begins, half)
        sent.reply = self._agents.scripts.get(instance_id, self._agents.well_behaved)(sent)
        self._agents.sent.append(sent)
        return ActionResult(
            {
                "Command": {
                    "CommandId": sent.id,
                    "DocumentName": name,
                    "DocumentVersion": found.document_version,
                    "RequestedDateTime": sent.requested,
                    "Status": "Pending",
                }
            }
        )

    def list_command_invocations(self, response: Any) -> ActionResult:
        found = [*self._agents.foreign, *reversed(self._agents.sent)]
        if response._get_param("NextToken"):
            self._agents.calls["further pages of commands"] += 1
        command_id = response._get_param("CommandId")
        if command_id:
            found = [each for each in found if each.id == command_id]
            if not found:
                raise RunCommandError("InvalidCommandId", "The specified command ID isn't valid.")
        for given in response._get_param("Filters") or ():
            if given["key"] == "DocumentName":
                found = [each for each in found if each.document == given["value"]]
            elif given["key"] == "InvokedAfter":
                after = datetime.strptime(given["value"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
                found = [each for each in found if each.requested > after]
            else:
                raise RunCommandError("InvalidFilterKey", f"The endpoint knows no filter {given['key']}.")
        details = bool(response._get_param("Details"))
        return _page(response, "CommandInvocations", [self._listed(each, details) for each in found])

    def _listed(self, sent: Sent, details: bool) -> dict[str, Any]:
        now = self._agents.elapsed()
        status, status_details, code = sent.state(now)
        line = {
            "CommandId": sent.id,
            "InstanceId": sent.instance_id,
            "DocumentName": sent.document,
            "DocumentVersion": sent.version,
            "RequestedDateTime": sent.requested,
            "Status": status,
            "StatusDetails": status_details,
        }
        if details and self._agents.with_plugins and sent.reply.status is None:
            ended = status in ("Success", "Failed")
            errors = sent.stderr(now)
            output = sent.reply.output + (f"\n----------ERROR-------\n{errors}" if errors else "")
            plugin = {
                "Name": "aws:runShellScript",
                "Status": status,
                "StatusDetails": status_details,
                "ResponseCode": code,
            }
            line["CommandPlugins"] = [{**plugin, "Output": _cut(output) if ended else ""}]
        return line

    def get_command_invocation(self, response: Any) -> ActionResult:
        sent = self._find(response._get_param("CommandId"), response._get_param("InstanceId"))
        now = self._agents.elapsed()
        status, details, code = sent.state(now)
        ended = status in ("Success", "Failed")
        return ActionResult(
            {
                "CommandId": sent.id,
                "InstanceId": sent.instance_id,
                "DocumentName": sent.document,
                "Status": status,
                "StatusDetails": details,
                "ResponseCode": code,
                "StandardOutputContent": sent.reply.output[:WHOLE_OUTPUT] if ended else "",
                "StandardErrorContent": sent.stderr(now)[:WHOLE_OUTPUT] if ended else "",
            }
        )

    def cancel_command(self, response: Any) -> EmptyResult:
        for instance_id in response._get_param("InstanceIds") or ():
            sent = self._find(response._get_param("CommandId"), instance_id)
            if sent.state(self._agents.elapsed())[0] in ("Pending", "InProgress"):
                sent.cancelled_at = self._agents.elapsed()
        return EmptyResult()

    def _find(self, command_id: str, instance_id: str) -> Sent:
        for each in self._agents.sent:
            if each.id == command_id and each.instance_id == instance_id:
                return each
        raise RunCommandError("InvocationDoesNotExist", "The command ID and managed node ID don't match.")

    def describe_instance_information(self, response: Any) -> ActionResult:
        (given,) = response._get_param("Filters")
        assert given["Key"] == "InstanceIds", given
        pings = {each: self._ping(response, each) for each in given["Values"]}
        unknown = sorted(each for each, ping in pings.items() if ping is None)
        if unknown:
            raise RunCommandError("InvalidInstanceId", f"Unknown managed node {', '.join(unknown)}")
        platforms = self._agents.platforms
        online = [
            {"InstanceId": each, "PingStatus": ping, "PlatformType": platforms.get(each, "Linux")}
            for each, ping in pings.items()
            if ping == "Online"
        ]
        return _page(response, "InstanceInformationList", online)

    def _ping(self, response: Any, instance_id: str) -> str | None:
        """Online, absent (an empty word), or None where SSM never heard of it."""
        reservations = ec2_backends[response.current_account][response.region].reservations.values()
        states = {each.id: each.state for reservation in list(reservations) for each in reservation.instances}
        if instance_id not in states or instance_id in self._agents.unknown:
            return None
        return "Online" if states[instance_id] == "running" and instance_id not in self._agents.offline else ""


def _checked(content: Mapping[str, Any], given: Mapping[str, list[str]]) -> dict[str, str]:
    try:
        return checked({"parameters": {}, **content}, {name: ",".join(values) for name, values in given.items()})
    except RefusedError as error:
        raise RunCommandError("InvalidParameters", str(error)) from error


def _page(response: Any, key: str, items: list[dict[str, Any]]) -> ActionResult:
    start = int(response._get_param("NextToken") or 0)
    end = start + min(int(response._get_param("MaxResults") or PAGE), PAGE)
    return ActionResult({key: items[start:end], **({"NextToken": str(end)} if end < len(items) else {})})


@contextmanager
def run_command(agents: Agents, clock: Callable[[], datetime]) -> Iterator[None]:
    """Teach moto's SSM this while the context lasts. `clock` stamps commands, for `InvokedAfter`."""
    extension = _RunCommand(agents, clock)
    methods: dict[str, Any] = extension.methods()
    with mock.patch.multiple(SimpleSystemManagerResponse, create=True, **methods):
        yield
