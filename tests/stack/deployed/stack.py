"""The stack as a user has it: built and deployed by the SAM CLI from a checkout, looked at through AWS's interfaces."""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import boto3

from tests.support.endpoint import ACCOUNT, REGION

ROOT = Path(__file__).parents[3]
STACK = "aws-automatic-snapshots"
SENT_WITH_A_CHECKOUT = ("Makefile", "template.yaml", "samconfig.toml", "lambda_function", "events")
T = TypeVar("T")


def eventually(look: Callable[[], T], seconds: float = 60) -> T:
    """What `look` returns as soon as it is true; whatever it returned last when the time is over."""
    end = time.monotonic() + seconds
    while not (found := look()) and time.monotonic() < end:
        time.sleep(0.2)
    return found


@contextmanager
def ministack(ec2_and_ssm: str, log: Path) -> Iterator[str]:
    """ministack in a process of its own; yields its address. The function's process ends with it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(log.parent),
        "TMPDIR": str(log.parent),
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "IOT_MTLS_ENABLED": "0",  # a listener on a fixed port
        "SFTP_ENABLED": "0",
        "AWS_ENDPOINT_URL_EC2": ec2_and_ssm,
        "AWS_ENDPOINT_URL_SSM": ec2_and_ssm,
        "AWS_ENDPOINT_URL_STS": ec2_and_ssm,  # whose credentials name the account that EC2 is asked of
        **credentials(),
    }
    with log.open("wb") as output:
        server = subprocess.Popen(
            [ROOT / ".venv-deployed/bin/python", Path(__file__).with_name("ministack_server.py")],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        ready = eventually(lambda: server.poll() is not None or listens(port))
        assert ready, "ministack does not listen"
        assert server.poll() is None, log.read_text()
        yield address
    finally:
        os.killpg(server.pid, signal.SIGKILL)  # with the function's process
        server.wait()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def credentials() -> dict[str, str]:
    """The account's number as key is how ministack is told whose the stack is."""
    return {
        "AWS_ACCESS_KEY_ID": ACCOUNT,
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_REGION": REGION,
    }


class Checkout:
    """A copy of what a user checks out, and the SAM CLI in it."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder = folder
        self.address = address
        for name in SENT_WITH_A_CHECKOUT:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, folder / name)

    @property
    def built(self) -> Path:
        return self.folder / ".aws-sam/build"

    def sam(self, *arguments: str) -> str:
        """What it printed; fails with that when it fails."""
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            **credentials(),
            "AWS_ENDPOINT_URL": self.address,
            "SAM_CLI_TELEMETRY": "0",
            "COLUMNS": "120",
            # The function runs on this machine, not on Lambda's.
            "PYTHON": sys.executable,
            "PACKAGE_PYTHON": f"{sys.version_info.major}.{sys.version_info.minor}",
            "PACKAGE_PLATFORM": platform.machine(),
        }
        ran = subprocess.run(
            [ROOT / ".venv-sam/bin/sam", *arguments],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        assert ran.returncode == 0, f"sam {' '.join(arguments)}\n{ran.stdout}"
        print(f"$ sam {' '.join(arguments)}\n{ran.stdout}")
        return ran.stdout

    def deploy(self, *arguments: str) -> str:
        return self.sam("deploy", *arguments)

    def change(self, old: str, new: str) -> None:
        """Another text in the template, as a new release brings it."""
        template = self.folder / "template.yaml"
        text = template.read_text()
        assert text.count(old) == 1, f"{old!r} is there {text.count(old)} times"
        template.write_text(text.replace(old, new))


class Cloud:
    """The deployed stack, seen through ministack."""

    def __init__(self, address: str) -> None:
        self.address = address

    def client(self, service: str) -> Any:
        session: Any = boto3.Session(aws_access_key_id=ACCOUNT, aws_secret_access_key="testing")
        return session.client(service, endpoint_url=self.address)

    def outputs(self) -> dict[str, str]:
        (stack,) = self.client("cloudformation").describe_stacks(StackName=STACK)["Stacks"]
        return {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}

    def invoke(self, event: str) -> dict[str, Any]:
        """The function's answer to one of the files in events/."""
        answer = self.client("lambda").invoke(FunctionName=STACK, Payload=(ROOT / "events" / event).read_bytes())
        body = json.loads(answer["Payload"].read())
        assert "FunctionError" not in answer, body
        return body

    def log(self) -> list[dict[str, Any]]:
        """The function's lines, oldest first."""
        events = self.client("logs").filter_log_events(logGroupName=f"/aws/lambda/{STACK}")["events"]
        return [json.loads(each["message"]) for each in events if each["message"].startswith("{")]
