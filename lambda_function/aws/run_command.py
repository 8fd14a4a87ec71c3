"""SSM Run Command: documents, instances, sending, waiting, cancelling.

Waiting is shared: however many instances are frozen at once, one list call in a third of a second
tells about all of them.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from lambda_function.aws.errors import translated
from lambda_function.deadline import Deadline
from lambda_function.errors import AwsError, HookError, RequestRejectedError
from lambda_function.ports import CommandOutcome, HookDocument

if TYPE_CHECKING:
    from mypy_boto3_ssm import SSMClient

logger = logging.getLogger(__name__)

PAGE = 50
"""`DescribeInstanceInformation` and `ListCommandInvocations` take at most 50."""

DELIVERY_SECONDS = 30
"""The least that `SendCommand` takes for its time-out, which is about delivery only."""

POLL_SECONDS = 0.3
SLOWER_POLLS = ((60.0, 3.0), (10.0, 1.0))
"""Seconds waited for a command, and from then on between two looks: a long stage is not worth many calls."""

LISTED_CHARACTERS = 2500
"""`ListCommandInvocations` cuts a plugin's output there; `GetCommandInvocation` gives 24,000."""
CLOCK_SKEW = timedelta(minutes=2)
"""Between this clock and SSM's, where SSM did not say when it took a command."""

COARSE = timedelta(seconds=2)
"""`InvokedAfter` is in whole seconds, and whether it includes its own second is not said."""

_UNDER_WAY = ("Pending", "InProgress", "Delayed", "Cancelling")


@dataclass(slots=True)
class RunCommand:
    """The Commands port. `looking` lists commands, again and again, and so repeats none of its calls itself."""

    client: SSMClient
    polling: SSMClient
    deadline: Deadline
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _waiting: set[str] = field(default_factory=set)
    _listed_after: dict[str, datetime] = field(default_factory=dict)
    """By command: a moment of SSM's clock shortly before it. The shorter before, the fewer older ones are listed."""
    _platforms: dict[str, str] = field(default_factory=dict)
    _ended: dict[tuple[str, str], CommandOutcome] = field(default_factory=dict)
    _polled_at: float = float("-inf")
    _unseen: AwsError | None = None
    """Why the recheck failed; None after one that did not."""

    def describe_document(self, name: str) -> HookDocument:
        try:
            with translated("DescribeDocument"):
                raw = self.client.describe_document(Name=name)["Document"]
        except RequestRejectedError as error:
            raise HookError(f"document {name}: {error}") from error
        kind, status = raw.get("DocumentType", "Command"), raw.get("Status", "Active")
        if kind != "Command":
            raise HookError(f"document {name} is of type {kind}, not Command")
        if status != "Active":
            raise HookError(f"document {name} is {status}, not Active")
        declared = frozenset(parameter["Name"] for parameter in raw.get("Parameters", ()))
        platforms = frozenset(raw.get("PlatformTypes", ()))
        return HookDocument(name, raw.get("DocumentVersion", "$DEFAULT"), declared, platforms)

    def unreachable(self, instance_ids: Collection[str]) -> dict[str, str]:
        ordered = sorted(instance_ids)
        reasons: dict[str, str] = {}
        for start in range(0, len(ordered), PAGE):
            reasons.update(self._unreachable(ordered[start : start + PAGE]))
        return reasons

    def _unreachable(self, instance_ids: list[str]) -> dict[str, str]:
        try:
            known = self._ping_statuses(instance_ids)
        except RequestRejectedError as error:
            # One id that SSM never heard of fails the whole call: find it by halves.
            if len(instance_ids) == 1:
                return {instance_ids[0]: str(error)}
            half = len(instance_ids) // 2
            return {**self._unreachable(instance_ids[:half]), **self._unreachable(instance_ids[half:])}
        missing = "is not managed by SSM: is the agent running, and has the instance a role for it?"
        statuses = {each: known.get(each) for each in instance_ids}
        return {
            each: missing if status is None else f"is not online for SSM but {status}"
            for each, status in statuses.items()
            if status != "Online"
        }

    def _ping_statuses(self, instance_ids: list[str]) -> dict[str, str]:
        pages = self.client.get_paginator("describe_instance_information").paginate(
            Filters=[{"Key": "InstanceIds", "Values": instance_ids}], PaginationConfig={"PageSize": PAGE}
        )
        statuses: dict[str, str] = {}
        with translated("DescribeInstanceInformation"):
            for page in pages:
                for raw in page["InstanceInformationList"]:
                    statuses[raw["InstanceId"]] = raw.get("PingStatus", "Online")
                    if "PlatformType" in raw:
                        self._platforms[raw["InstanceId"]] = raw["PlatformType"]
        return statuses

    def platforms(self) -> Mapping[str, str]:
        return self._platforms

    def send(self, document: HookDocument, instance_id: str, parameters: Mapping[str, list[str]]) -> str:
        now = self.deadline.now()
        with translated("SendCommand"):
            answer = self.client.send_command(
                InstanceIds=[instance_id],
                DocumentName=document.name,
                DocumentVersion=document.version,
                Parameters=dict(parameters),
                TimeoutSeconds=DELIVERY_SECONDS,
                Comment=f"auto-snapshots {parameters['command'][0]}",
            )
            command_id = answer["Command"]["CommandId"]
            taken = answer["Command"].get("RequestedDateTime")
        with self._lock:
            self._listed_after[command_id] = taken.astimezone(UTC) - COARSE if taken else now - CLOCK_SKEW
        return command_id

    def wait(self, command_id: str, instance_id: str, until: float) -> CommandOutcome | None:
        with self._lock:
            self._waiting.add(command_id)
        began = self.deadline.elapsed()
        try:
            while True:
                outcome = self._outcome(command_id, instance_id)
                now = self.deadline.elapsed()
                if outcome is not None:
                    return outcome
                if now >= until:
                    if self._unseen is not None:
                        raise self._unseen
                    return None
                pause = next((pause for after, pause in SLOWER_POLLS if now - began >= after), POLL_SECONDS)
                self.deadline.sleep(min(pause, until - now))
        finally:
            with self._lock:
                self._waiting.discard(command_id)

    def cancel(self, command_id: str, instance_id: str) -> None:
        with translated("CancelCommand"):
            self.client.cancel_command(CommandId=command_id, InstanceIds=[instance_id])

    def _outcome(self, command_id: str, instance_id: str) -> CommandOutcome | None:
        """What is known of the command, after a fresh look unless another thread just had one."""
        with self._lock:
            if (
                command_id,
                instance_id,
            ) not in self._ended and self.deadline.elapsed() - self._polled_at >= POLL_SECONDS:
                try:
                    self._poll()
                    self._unseen = None
                except AwsError as error:
                    # The next look is near, and the command's own time-out is the limit of the patience.
                    self._unseen = error
                    logger.warning("commands could not be listed: %s", error)
                finally:
                    self._polled_at = self.deadline.elapsed()
            return self._ended.get((command_id, instance_id))

    def _poll(self) -> None:
        with translated("ListCommandInvocations"):
            for raw in self._invocations():
                key = (raw["CommandId"], raw["InstanceId"])
                if raw["CommandId"] in self._waiting and key not in self._ended and raw["Status"] not in _UNDER_WAY:
                    self._ended[key] = self._read(raw)

    def _invocations(self) -> Iterator[Mapping[str, Any]]:
        wanted: dict[str, Any] = {"CommandId": next(iter(self._waiting))}
        if len(self._waiting) > 1:
            after = min(self._listed_after[each] for each in self._waiting)
            wanted = {"Filters": [{"key": "InvokedAfter", "value": after.strftime("%Y-%m-%dT%H:%M:%SZ")}]}
        pages = self.polling.get_paginator("list_command_invocations").paginate(
            **wanted, Details=True, PaginationConfig={"PageSize": PAGE}
        )
        for page in pages:
            yield from page["CommandInvocations"]

    def _read(self, raw: Mapping[str, Any]) -> CommandOutcome:
        status = "Success" if raw["Status"] == "Success" else raw.get("StatusDetails") or raw["Status"]
        plugins = raw.get("CommandPlugins") or ()
        output = "\n".join(plugin.get("Output") or "" for plugin in plugins)
        if plugins and len(output) < LISTED_CHARACTERS:
            codes = [plugin.get("ResponseCode") for plugin in plugins]
            return CommandOutcome(status, next((each for each in codes if each), codes[-1]), output)
        try:
            with translated("GetCommandInvocation"):
                whole = self.client.get_command_invocation(CommandId=raw["CommandId"], InstanceId=raw["InstanceId"])
                if whole["Status"] != raw["Status"]:
                    # Not yet as far as the list: what is printed here may lack its end.
                    raise ValueError(f"listed as {raw['Status']}, read as {whole['Status']}")
        except AwsError as error:
            return CommandOutcome(status, None, output, str(error), complete=False)
        return CommandOutcome(
            status,
            whole.get("ResponseCode"),
            whole.get("StandardOutputContent", ""),
            whole.get("StandardErrorContent", ""),
        )
