"""ministack, an AWS endpoint on this machine, with what the template needs of it and it does not have.

Run by .venv-deployed's interpreter. Where it listens, and where the function's EC2, SSM and STS are, is said by
environment (`GATEWAY_PORT`, `AWS_ENDPOINT_URL_EC2` and so on), which the function's process inherits.

- Policies and documents are created where the function looks for them: in Parameter Store and Systems Manager of the
  endpoint that also plays EC2, not in ministack's own.
- AWS::SSM::Document is a type that ministack does not know, and an alarm on an expression one that it refuses; such an
  alarm is created on the first metric of its expression.
- The function's process sees the standard library and what was built, none of this environment's packages.
- A minute of a rule's `rate(1 minute)` lasts ten seconds, and rules are looked at every second.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import boto3
from ministack import app
from ministack.core import lambda_runtime
from ministack.services import eventbridge
from ministack.services.cloudformation import provisioners

Properties = dict[str, Any]
SECONDS_OF_A_MINUTE = 10
ONLY_WHAT_WAS_BUILT = (
    "import sys; sys.path = [p for p in sys.path if not p.endswith(('site-packages', 'dist-packages'))]\n"
)


def create_parameter(_logical_id: str, properties: Properties, _stack: str) -> tuple[str, Properties]:
    """Fails, as CloudFormation does, where a parameter of that name is."""
    tags = [{"Key": key, "Value": value} for key, value in properties.get("Tags", {}).items()]
    boto3.client("ssm").put_parameter(**{**properties, "Tags": tags})
    return properties["Name"], {"Type": properties["Type"], "Value": properties["Value"]}


def update_parameter(name: str, _old: Properties, new: Properties, _stack: str) -> tuple[str, Properties]:
    untagged = {key: value for key, value in new.items() if key != "Tags"}
    boto3.client("ssm").put_parameter(**untagged, Overwrite=True)
    return name, {"Type": new["Type"], "Value": new["Value"]}


def delete_parameter(name: str, _properties: Properties) -> None:
    boto3.client("ssm").delete_parameter(Name=name)


def create_document(_logical_id: str, properties: Properties, _stack: str) -> tuple[str, Properties]:
    asked = {key: value for key, value in properties.items() if key != "UpdateMethod"}
    boto3.client("ssm").create_document(**{**asked, "Content": json.dumps(properties["Content"])})
    return properties["Name"], {}


def update_document(name: str, _old: Properties, new: Properties, _stack: str) -> tuple[str, Properties]:
    """What CloudFormation does for UpdateMethod NewVersion; Replace, its default, fails on a document with a name."""
    if new.get("UpdateMethod") != "NewVersion":
        raise ValueError(f"CloudFormation cannot update a custom-named resource when it requires replacing: {name}")
    ssm = boto3.client("ssm")
    made = ssm.update_document(
        Name=name,
        Content=json.dumps(new["Content"]),
        DocumentFormat=new["DocumentFormat"],
        TargetType=new["TargetType"],
        DocumentVersion="$LATEST",
    )
    version = made["DocumentDescription"]["DocumentVersion"]
    ssm.update_document_default_version(Name=name, DocumentVersion=version)
    return name, {}


def delete_document(name: str, _properties: Properties) -> None:
    boto3.client("ssm").delete_document(Name=name)


def of_one_metric(alarm: Properties) -> Properties:
    metrics = [each["MetricStat"]["Metric"] for each in alarm.get("Metrics", ()) if "MetricStat" in each]
    return {**alarm, **metrics[0], "Metrics": None} if metrics else alarm


def adapt() -> None:
    provisioners._RESOURCE_HANDLERS["AWS::SSM::Parameter"] = {
        "create": create_parameter,
        "update": update_parameter,
        "delete": delete_parameter,
    }
    provisioners._RESOURCE_HANDLERS["AWS::SSM::Document"] = {
        "create": create_document,
        "update": update_document,
        "delete": delete_document,
    }
    record_of: Callable[[str, Properties], Properties] = provisioners._cw_metric_alarm_record
    provisioners._cw_metric_alarm_record = lambda name, alarm: record_of(name, of_one_metric(alarm))
    worker_of: Callable[[str], tuple[str, str]] = lambda_runtime._detect_runtime_binary
    lambda_runtime._detect_runtime_binary = lambda runtime: (
        worker_of(runtime)[0],
        ONLY_WHAT_WAS_BUILT + worker_of(runtime)[1],
    )
    seconds_of: Callable[[str], int | None] = eventbridge._parse_rate_seconds
    eventbridge._parse_rate_seconds = lambda rate: (seconds_of(rate) or 0) // 60 * SECONDS_OF_A_MINUTE or None
    eventbridge._SCHEDULER_TICK_INTERVAL = 1


if __name__ == "__main__":
    adapt()
    app.main()
