"""How long instances stay frozen: the real handler over HTTP, fifty instances at once; prints JSON.

A thin server in its own process answers as EC2 and SSM would, without computing: moto's own work for
fifty parallel requests would take longer than what is measured here. It records when each instance's
freeze was done and when its thaw begins. `python -m tools.bench.freeze CASE` names one of CASES.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

from lambda_function import handler
from lambda_function.output.log import logger
from tests.support.certificate import certify
from tests.support.throttled.buckets import Limit, TokenBucket
from tools.bench.memory_sizes import share_of

INSTANCES = 50
VOLUMES_EACH = 2
ROUND_TRIP = 2.0
CREATE = 0.3
PRE_SECONDS = (0.5, 1.1)
"""Spread over the instances by two polls, so that none of the polls' phases is favoured."""
POST_SECONDS = 0.2
NAME = "auto-snapshots-bench-filesystem"
DECLARED = ("command", "executionId", "volumeIds", "snapshotIds", "notAfter", "timeoutSeconds")
POLICY = json.dumps({"hour": 2, "hook_document": NAME})


@dataclass(frozen=True)
class Case:
    """What the account is like: SSM's limit on commands, other tools' commands, and whether TLS is spoken.

    `megabytes` is the memory size whose share of a processor the function has, if not all of one.
    """

    what: str
    sends: Limit | None = None
    foreign: int = 0
    tls: bool = False
    megabytes: int | None = None


CASES = {
    "plain": Case("alone"),
    "foreign-1000": Case("beside 1,000 commands of another tool", foreign=1_000),
    "foreign-10000": Case("beside 10,000 commands of another tool", foreign=10_000),
    "tls": Case("over TLS", tls=True),
    "tls-512": Case("over TLS, with 512 MB's share of a processor", tls=True, megabytes=512),
    "sends-10-5": Case("10 commands at once and 5 a second", sends=Limit(10, 5)),
    "sends-5-3": Case("5 commands at once and 3 a second", sends=Limit(5, 3)),
}


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

    def __init__(self, case: Case) -> None:
        self.sends = TokenBucket(case.sends, time.monotonic) if case.sends else None
        self.foreign = [
            {"CommandId": f"foreign-{n}", "InstanceId": f"i-{n:017x}", "Status": "Success", "StatusDetails": "Success"}
            for n in range(case.foreign)
        ]
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
            with self.lock:
                if self.sends is not None and not self.sends.take():
                    return {"__type": "ThrottlingException", "message": "Rate exceeded"}
            sent = _Command(asked["InstanceIds"][0], asked["Parameters"], time.monotonic() + ROUND_TRIP / 2)
            with self.lock:
                self.commands.append(sent)
            return {"Command": {"CommandId": sent.id}}
        assert name == "ListCommandInvocations", name
        with self.lock:
            ours = self.commands[::-1]
        ours = [command for command in ours if asked.get("CommandId") in (None, command.id)]
        is_narrow = "CommandId" in asked or any(each["key"] == "DocumentName" for each in asked["Filters"])
        found = [*([] if is_narrow else self.foreign), *ours]
        start, size = int(asked.get("NextToken") or 0), int(asked["MaxResults"])
        more = {"NextToken": str(start + size)} if start + size < len(found) else {}
        lines = [each.line() if isinstance(each, _Command) else each for each in found[start : start + size]]
        return {"CommandInvocations": lines, **more}

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
            told = self.service.ssm(name, json.loads(body))
            status = "400 Bad Request" if "__type" in told else "200 OK"
            self._answer(json.dumps(told), "application/x-amz-json-1.1", status)
            return
        asked = dict(urllib.parse.parse_qsl(body))
        name = asked["Action"]
        self._count(name)
        space = 'xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"'
        self._answer(f"<{name}Response {space}>{self.service.ec2(name, asked)}</{name}Response>", "text/xml")

    def _count(self, name: str) -> None:
        with self.service.lock:
            self.service.calls[name] = self.service.calls.get(name, 0) + 1

    def _answer(self, text: str, kind: str, status: str = "200 OK") -> None:
        body = text.encode()
        head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        self.wfile.write(head.encode() + body)  # in one segment: a second write would wait for an acknowledgement


class _Server(ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True


def serve(case: Case, certificate: Path) -> None:
    _Handler.service = _Service(case)
    server = _Server(("127.0.0.1", 0), _Handler)
    if case.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        # The handshake is made in the connection's own thread, by its first read.
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    print(server.server_port, flush=True)
    server.serve_forever()


def run(address: str, bundle: Path | None) -> dict[str, Any]:
    """One run of the handler; windows in seconds, and this process's share of one processor."""
    os.environ.update(
        AWS_ENDPOINT_URL=address,
        AWS_REGION="eu-west-1",
        AWS_ACCESS_KEY_ID="testing",
        AWS_SECRET_ACCESS_KEY="testing",
        AWS_CONFIG_FILE=os.devnull,
        AWS_EC2_METADATA_DISABLED="true",
    )
    if bundle is not None:
        os.environ["AWS_CA_BUNDLE"] = str(bundle)
    handler.clients()
    context = SimpleNamespace(aws_request_id="bench", get_remaining_time_in_millis=lambda: 900_000)
    began, used = time.perf_counter(), time.process_time()
    answer = handler.lambda_handler({"period": "hour"}, cast("Any", context))
    wall, cpu = time.perf_counter() - began, time.process_time() - used
    assert answer["summary"]["created"] == INSTANCES * VOLUMES_EACH, answer["summary"]
    assert all("(application)" in line for line in answer["done"][:-1]), answer["done"]
    with urllib.request.urlopen(address, context=ssl.create_default_context(cafile=bundle) if bundle else None) as page:
        told = json.load(page)
    windows = sorted(told["windows"])
    return {
        "instances": INSTANCES,
        "left_frozen": INSTANCES - len(windows),
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


def measured(name: str) -> dict[str, Any]:
    """The case's figures: the server and the function in processes of their own."""
    case = CASES[name]
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        certificate, bundle = Path(folder, "server.pem"), Path(folder, "authorities.pem")
        certify(certificate, bundle)
        this = [sys.executable, "-m", "tools.bench.freeze"]
        server = subprocess.Popen(
            [*this, "serve", name, str(certificate)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        try:
            assert server.stdout is not None
            port = re.sub(r"\D", "", server.stdout.readline())
            prefix = stack.enter_context(share_of(case.megabytes)) if case.megabytes else []
            scheme = "https" if case.tls else "http"
            asked = [*prefix, *this, "run", name, f"{scheme}://127.0.0.1:{port}", str(bundle)]
            done = subprocess.run(asked, stdout=subprocess.PIPE, text=True, check=True)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait()
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def main() -> None:
    match sys.argv[1:]:
        case ["serve", name, certificate]:
            serve(CASES[name], Path(certificate))
        case ["run", name, address, bundle]:
            with (
                contextlib.redirect_stdout(io.StringIO()),
                mock.patch.object(logger.registered_handler, "stream", io.StringIO()),
            ):
                result = run(address, Path(bundle) if CASES[name].tls else None)
            print(json.dumps(result))
        case [name]:
            print(json.dumps(measured(name)))


if __name__ == "__main__":
    main()
