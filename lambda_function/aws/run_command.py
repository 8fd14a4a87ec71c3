"""SSM Run Command: documents, instances, sending, cancelling; waiting is shared (`command_poller.py`)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace

from lambda_function.aws.clients import Clients
from lambda_function.aws.command_poller import POLL_SECONDS, CommandPoller, ListedInvocation
from lambda_function.aws.connections import open_connections
from lambda_function.aws.errors import translated
from lambda_function.deadline import Deadline
from lambda_function.errors import AccessRefusedError, AwsError, HookError, RequestRejectedError, ThrottledError
from lambda_function.ports import CommandOutcome, HookDocument

PAGE = 50
"""`DescribeInstanceInformation` takes at most 50 instances."""

DELIVERY_SECONDS = 30
"""Minimum `TimeoutSeconds` of `SendCommand`, which covers delivery only."""

LATE_SECONDS = 20.0
"""With less time left, commands do not wait for their turn."""

LAST_SEND_SECONDS = 5.0
"""A refused command is not sent again with less time left."""

READS = 3
"""Attempts at reading a whole output while an instance may be frozen."""


@dataclass(slots=True)
class RunCommand:
    """The Commands port. Calls made while something may be frozen are not retried by botocore, which waits longer."""

    clients: Clients
    deadline: Deadline
    _pollers: dict[str, CommandPoller] = field(default_factory=dict)
    """By document, as SSM names it."""
    _documents: dict[str, str] = field(default_factory=dict)
    """The document of each command that was sent, as SSM names it."""
    _platforms: dict[str, str] = field(default_factory=dict)

    def check_access(self) -> None:
        now = self.deadline.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        with translated("ListCommandInvocations"):
            self.clients.for_hooks.commands.list_command_invocations(
                Filters=[{"key": "InvokedAfter", "value": now}], MaxResults=1
            )

    def describe_document(self, name: str) -> HookDocument:
        try:
            with translated("DescribeDocument"):
                raw = self.clients.ssm.describe_document(Name=name)["Document"]
        except RequestRejectedError as error:
            raise HookError(f"document {name}: {error}") from error
        document_type, status = raw.get("DocumentType", "Command"), raw.get("Status", "Active")
        if document_type != "Command":
            raise HookError(f"document {name} is of type {document_type}, not Command")
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
            # One id unknown to SSM fails the whole call: bisect to find it.
            if len(instance_ids) == 1:
                return {instance_ids[0]: str(error)}
            half = len(instance_ids) // 2
            return {**self._unreachable(instance_ids[:half]), **self._unreachable(instance_ids[half:])}
        missing = "is not managed by SSM: is the agent running, and has the instance a role for it?"
        statuses = {instance_id: known.get(instance_id) for instance_id in instance_ids}
        return {
            instance_id: missing if status is None else f"is not online for SSM but {status}"
            for instance_id, status in statuses.items()
            if status != "Online"
        }

    def _ping_statuses(self, instance_ids: list[str]) -> dict[str, str]:
        pages = self.clients.ssm.get_paginator("describe_instance_information").paginate(
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

    def warm_up(self, connections: int) -> None:
        open_connections(self.clients.for_hooks.commands, connections)

    def admitted(self, instances: int, wait: Callable[[float], None]) -> AbstractContextManager[None]:
        return self.clients.send_pace.admitted(instances, wait)

    def send(
        self,
        document: HookDocument,
        instance_id: str,
        parameters: Mapping[str, list[str]],
        *,
        admitted: bool = False,
        until: float | None = None,
    ) -> str:
        pace = self.clients.send_pace
        while True:
            if not admitted:
                pace.take(lambda: self.deadline.time_left() < LATE_SECONDS)
            try:
                return self._send(document, instance_id, parameters)
            except ThrottledError:
                pace.refused()
                is_over = until is not None and self.deadline.elapsed() >= until
                if admitted or is_over or self.deadline.time_left() < LAST_SEND_SECONDS:
                    raise

    def _send(self, document: HookDocument, instance_id: str, parameters: Mapping[str, list[str]]) -> str:
        now = self.deadline.now()
        with translated("SendCommand"):
            command = self.clients.for_hooks.commands.send_command(
                InstanceIds=[instance_id],
                DocumentName=document.name,
                DocumentVersion=document.version,
                Parameters=dict(parameters),
                TimeoutSeconds=DELIVERY_SECONDS,
                Comment=f"auto-snapshots {parameters['command'][0]}",
            )["Command"]
            command_id, name = command["CommandId"], command.get("DocumentName", document.name)
            requested = command.get("RequestedDateTime")
        self._documents[command_id] = name
        self._poller(command_id).sent(command_id, requested, now)
        return command_id

    def _poller(self, command_id: str) -> CommandPoller:
        name = self._documents[command_id]
        # setdefault is atomic: all threads get the same one.
        return self._pollers.setdefault(name, CommandPoller(self.clients.for_hooks.commands, self.deadline, name))

    def wait(self, command_id: str, instance_id: str, until: float) -> CommandOutcome | None:
        listed = self._poller(command_id).wait(command_id, instance_id, until)
        if listed is None:
            return None
        return listed.outcome if listed.outcome.complete else self._read_whole(command_id, instance_id, listed, until)

    def cancel(self, command_id: str, instance_id: str) -> None:
        with translated("CancelCommand"):
            self.clients.for_hooks.commands.cancel_command(CommandId=command_id, InstanceIds=[instance_id])

    def _read_whole(self, command_id: str, instance_id: str, listed: ListedInvocation, until: float) -> CommandOutcome:
        """The outcome with up to 24,000 characters of output. The thread that needs it asks, so that no other waits."""
        for attempt in range(1, READS + 1):
            try:
                return self._read(command_id, instance_id, listed)
            except AwsError as error:
                is_last = attempt == READS or isinstance(error, AccessRefusedError)
                if is_last or self.deadline.elapsed() + POLL_SECONDS >= until:
                    return replace(listed.outcome, error=str(error))
            self.deadline.sleep(POLL_SECONDS)
        raise AssertionError("the last attempt returns")

    def _read(self, command_id: str, instance_id: str, listed: ListedInvocation) -> CommandOutcome:
        with translated("GetCommandInvocation"):
            whole = self.clients.for_hooks.commands.get_command_invocation(CommandId=command_id, InstanceId=instance_id)
            if whole["Status"] != listed.status:
                # Behind the list: its output may lack the end.
                raise ValueError(f"listed as {listed.status}, read as {whole['Status']}")
        return CommandOutcome(
            listed.outcome.status,
            whole.get("ResponseCode"),
            whole.get("StandardOutputContent", ""),
            whole.get("StandardErrorContent", ""),
        )
