"""SSM Run Command: documents, instances, sending, cancelling; waiting is shared (`command_poller.py`)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from lambda_function.aws.command_poller import CommandPoller, ListedInvocation
from lambda_function.aws.errors import translated
from lambda_function.deadline import Deadline
from lambda_function.errors import AwsError, HookError, RequestRejectedError
from lambda_function.ports import CommandOutcome, HookDocument

if TYPE_CHECKING:
    from mypy_boto3_ssm import SSMClient

PAGE = 50
"""`DescribeInstanceInformation` takes at most 50 instances."""

DELIVERY_SECONDS = 30
"""Minimum `TimeoutSeconds` of `SendCommand`, which covers delivery only."""


@dataclass(slots=True)
class RunCommand:
    """The Commands port. `polling` does not retry, since it polls repeatedly anyway."""

    client: SSMClient
    polling: SSMClient
    deadline: Deadline
    _poller: CommandPoller = field(init=False)
    _platforms: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._poller = CommandPoller(self.polling, self.deadline)

    def describe_document(self, name: str) -> HookDocument:
        try:
            with translated("DescribeDocument"):
                raw = self.client.describe_document(Name=name)["Document"]
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
            requested = answer["Command"].get("RequestedDateTime")
        self._poller.sent(command_id, requested, now)
        return command_id

    def wait(self, command_id: str, instance_id: str, until: float) -> CommandOutcome | None:
        listed = self._poller.wait(command_id, instance_id, until)
        if listed is None:
            return None
        return listed.outcome if listed.outcome.complete else self._read_whole(command_id, instance_id, listed)

    def cancel(self, command_id: str, instance_id: str) -> None:
        with translated("CancelCommand"):
            self.client.cancel_command(CommandId=command_id, InstanceIds=[instance_id])

    def _read_whole(self, command_id: str, instance_id: str, listed: ListedInvocation) -> CommandOutcome:
        """The outcome with up to 24,000 characters of output. The thread that needs it asks, so that no other waits."""
        try:
            with translated("GetCommandInvocation"):
                whole = self.client.get_command_invocation(CommandId=command_id, InstanceId=instance_id)
                if whole["Status"] != listed.status:
                    # Behind the list: its output may lack the end.
                    raise ValueError(f"listed as {listed.status}, read as {whole['Status']}")
        except AwsError as error:
            return replace(listed.outcome, error=str(error))
        return CommandOutcome(
            listed.outcome.status,
            whole.get("ResponseCode"),
            whole.get("StandardOutputContent", ""),
            whole.get("StandardErrorContent", ""),
        )
