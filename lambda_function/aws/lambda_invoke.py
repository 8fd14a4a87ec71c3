"""Asynchronous self-invocation, which uses Lambda's queue, retries and failure destination."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lambda_function.aws.errors import translated

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient


def invoke_self(client: LambdaClient, function_arn: str, event: Mapping[str, Any]) -> None:
    """Queue the event for the running function (same version or alias). Raises AwsError."""
    with translated("Invoke"):
        client.invoke(FunctionName=function_arn, InvocationType="Event", Payload=json.dumps(event).encode())
