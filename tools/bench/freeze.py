"""How long instances stay frozen: the real handler over HTTP, fifty instances at once; prints JSON.

A thin server in its own process answers as EC2 and SSM would, without computing: moto's own work for
fifty parallel requests would take longer than what is measured here. It records when each instance's
freeze was done and when its thaw begins.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

from lambda_function import handler
from lambda_function.output.log import logger

INSTANCES = 50
VOLUMES_EACH = 2
ROUND_TRIP = 2.0
CREATE = 0.3
PRE_SECONDS = (0.5, 1.1)
"""Spread over the instances by two polls, so that none of the polls' phases is favoured."""
POST_SECONDS = 0.2
PAGE = 50
NAME = "auto-snapshots-bench-filesystem"
DECLARED = ("command", "executionId", "volumeIds", "snapshotIds", "notAfter", "timeoutSeconds")
POLICY = json.dumps({"hour": 2, "hook_document": NAME})


@dataclass
class _Command:
    instance_id: str
    parameters: dict[str, list[str]]
    begins: float
    id: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def stage(self) -> str:
        return self.parameters["command"][0]

    @property
    def ends(self) -> float:
        if self.stage != "pre-script":
            return self.begins + POST_SECONDS
        shortest, longest = PRE_SECONDS
        return self.begins + shortest + (longest - shortest) * int(self.instance_id.removeprefix("i-"), 16) / INSTANCES

    def line(self) -> dict[str, Any]:
        status = "Success" if time.monotonic() >= self.ends + ROUND_TRIP / 2 else "InProgress"
        volumes = self.parameters["volumeIds"][0].replace(",", " ")
        said = f"frozen {volumes}" if self.stage == "pre-script" else "held yes"
        plugin = {
            "Name": "aws:runShellScript",
            "Status": status,
            "ResponseCode": 0,
            "Output": f"auto-snapshots: {said}\n",
        }
        return {
            "CommandId": self.id,
            "InstanceId": self.instance_id,
            "Status": status,
            "StatusDetails": status,
            "CommandPlugins": [plugin],
        }


class _Service:
    """The account's responses by API name: SSM's JSON and EC2's XML."""

    def __init__(self) -> None:
        self.commands: list[_Command] = []
        self.calls: dict[str, int] = {}
        self.lock = threading.Lock()

    def ssm(self, name: str, asked: dict[str, Any]) -> dict[str, Any]:
        if name == "GetParametersByPath":
            return {"Parameters": [{"Name": "/auto-snapshots/policies/P", "Type": "String", "Value": POLICY}]}
        if name == "DescribeDocument":
            parameters = [{"Name": parameter, "Type": "String"} for parameter in DECLARED]
            return {
                "Document": {"Name": NAME, "DocumentVersion": "1", "DocumentType": "Command", "Parameters": parameters}
            }
        if name == "DescribeInstanceInformation":
            ids = asked["Filters"][0]["Values"]
            return {
                "InstanceInformationList": [{"InstanceId": instance_id, "PingStatus": "Online"} for instance_id in ids]
            }
        if name == "SendCommand":
            sent = _Command(asked["InstanceIds"][0], asked["Parameters"], time.monotonic() + ROUND_TRIP / 2)
            with self.lock:
                self.commands.append(sent)
            return {"Command": {"CommandId": sent.id}}
        assert name == "ListCommandInvocations", name
        with self.lock:
            found = self.commands[::-1]
        found = [command for command in found if asked.get("CommandId") in (None, command.id)]
        start = int(asked.get("NextToken") or 0)
        more = {"NextToken": str(start + PAGE)} if start + PAGE < len(found) else {}
        return {"CommandInvocations": [command.line() for command in found[start : start + PAGE]], **more}

    def ec2(self, name: str, asked: dict[str, str]) -> str:
        if name == "DescribeVolumes":
            return f"<volumeSet>{''.join(_volume(n) for n in range(INSTANCES * VOLUMES_EACH))}</volumeSet>"
        if name == "DescribeInstances":
            return f"<reservationSet>{''.join(_instance(n) for n in range(INSTANCES))}</reservationSet>"
        if name == "CreateSnapshots":
            time.sleep(CREATE)
            number = int(asked["InstanceSpecification.InstanceId"].removeprefix("i-"), 16)
            made = (_snapshot(n) for n in range(number * VOLUMES_EACH, (number + 1) * VOLUMES_EACH))
            return f"<snapshotSet>{''.join(made)}</snapshotSet>"
        return {"CreateTags": "<return>true</return>", "DescribeSnapshots": "<snapshotSet/>"}[name]

    def windows(self) -> list[float]:
        """Seconds from the end of each instance's freeze to the start of its thaw."""
        done = {command.instance_id: command.ends for command in self.commands if command.stage == "pre-script"}
        return [
            command.begins - done[command.instance_id] for command in self.commands if command.stage == "post-script"
        ]


def _volume(number: int) -> str:
    attachment = f"<instanceId>i-{number // VOLUMES_EACH:017x}</instanceId><status>attached</status>"
    return (
        f"<item><volumeId>vol-{number:017x}</volumeId><status>in-use</status>"
        f"<attachmentSet><item>{attachment}</item></attachmentSet>"
        "<tagSet><item><key>AUTO-SNAPSHOT</key><value>P</value></item></tagSet></item>"
    )


def _instance(number: int) -> str:
    mappings = "".join(
        f"<item><deviceName>/dev/sd{'fghi'[n]}</deviceName>"
        f"<ebs><volumeId>vol-{number * VOLUMES_EACH + n:017x}</volumeId></ebs></item>"
        for n in range(VOLUMES_EACH)
    )
    return (
        f"<item><instancesSet><item><instanceId>i-{number:017x}</instanceId>"
        "<instanceState><code>16</code><name>running</name></instanceState><rootDeviceName>/dev/sda1</rootDeviceName>"
        f"<blockDeviceMapping>{mappings}</blockDeviceMapping></item></instancesSet></item>"
    )


def _snapshot(number: int) -> str:
    started = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    return (
        f"<item><snapshotId>snap-{number:017x}</snapshotId><volumeId>vol-{number:017x}</volumeId>"
        f"<state>pending</state><startTime>{started}</startTime></item>"
    )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    service: _Service

    def do_GET(self) -> None:
        self._answer(json.dumps({"windows": self.service.windows(), "calls": self.service.calls}), "application/json")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        target = self.headers.get("X-Amz-Target")
        if target:
            name = target.rpartition(".")[2]
            self._count(name)
            self._answer(json.dumps(self.service.ssm(name, json.loads(body))), "application/x-amz-json-1.1")
            return
        asked = dict(urllib.parse.parse_qsl(body))
        name = asked["Action"]
        self._count(name)
        space = 'xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"'
        self._answer(f"<{name}Response {space}>{self.service.ec2(name, asked)}</{name}Response>", "text/xml")

    def _count(self, name: str) -> None:
        with self.service.lock:
            self.service.calls[name] = self.service.calls.get(name, 0) + 1

    def _answer(self, text: str, kind: str) -> None:
        body = text.encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        self.wfile.write(head.encode() + body)  # in one segment: a second write would wait for an acknowledgement


class _Server(ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True


def serve() -> None:
    _Handler.service = _Service()
    server = _Server(("127.0.0.1", 0), _Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


def run(address: str) -> dict[str, Any]:
    """One run of the handler; windows in seconds, and this process's share of one processor."""
    os.environ.update(
        AWS_ENDPOINT_URL=address,
        AWS_REGION="eu-west-1",
        AWS_ACCESS_KEY_ID="testing",
        AWS_SECRET_ACCESS_KEY="testing",
        AWS_CONFIG_FILE=os.devnull,
        AWS_EC2_METADATA_DISABLED="true",
    )
    handler.clients()
    context = SimpleNamespace(aws_request_id="bench", get_remaining_time_in_millis=lambda: 900_000)
    began, used = time.perf_counter(), time.process_time()
    answer = handler.lambda_handler({"period": "hour"}, cast("Any", context))
    wall, cpu = time.perf_counter() - began, time.process_time() - used
    assert answer["summary"]["created"] == INSTANCES * VOLUMES_EACH, answer["summary"]
    assert all("(application)" in line for line in answer["done"][:-1]), answer["done"]
    with urllib.request.urlopen(address) as answer:
        told = json.load(answer)
    windows = sorted(told["windows"])
    assert len(windows) == INSTANCES
    return {
        "instances": INSTANCES,
        "create": CREATE,
        "round_trip": ROUND_TRIP,
        "median": statistics.median(windows),
        "p90": windows[INSTANCES * 9 // 10],
        "longest": windows[-1],
        "excess": statistics.median(windows) - CREATE - ROUND_TRIP,
        "wall": wall,
        "cpu": cpu,
        "calls": told["calls"],
    }


def main() -> None:
    if sys.argv[1:] == ["serve"]:
        serve()
        return
    server = subprocess.Popen(
        [sys.executable, "-m", "tools.bench.freeze", "serve"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert server.stdout is not None
        port = re.sub(r"\D", "", server.stdout.readline())
        with (
            contextlib.redirect_stdout(io.StringIO()),
            mock.patch.object(logger.registered_handler, "stream", io.StringIO()),
        ):
            measured = run(f"http://127.0.0.1:{port}")
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
