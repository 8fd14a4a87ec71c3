"""The page's rows of errors: each quotes what the code or AWS says, and whatever a user can meet has a row."""

from __future__ import annotations

import ast
import re
from collections import Counter
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pytest

from documents.stages import NOT_FROZEN
from lambda_function import errors
from lambda_function.aws.errors import _BY_CODE, _REJECTED
from lambda_function.cli.policies.disk import _KINDS
from lambda_function.cli.policies.source import read_document
from lambda_function.inputs.event import parse_event
from lambda_function.inputs.policy import Parameter, parse_policy
from lambda_function.inputs.targets import parse_targets

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
SECTION = PAGE.split("\n## Errors and warnings\n")[1].split("\n## ")[0]
ROWS = [
    [cell.strip() for cell in line.strip().strip("|").split(" | ")]
    for line in SECTION.splitlines()
    if line.startswith("| ") and not line.startswith("| message |")
]
QUOTED = [text for row in ROWS for text in re.findall(r"`([^`]+)`", row[0])]

OF_AWS = {
    *_BY_CODE,
    # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html, and the same page of SSM, STS, Lambda
    "AuthFailure", "ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException",
    "OptInRequired", "Blocked", "KMS", "SnapshotLimitExceeded", "ResourceLimitExceeded", "IncorrectState",
    "InvalidParameterValue", "InvalidParameterCombination", "UnsupportedOperation", "MissingParameter",
    "OperationNotPermitted", "TagLimitExceeded", "InternalError", "SnapshotLocked", "is locked", "InvalidDocument",
    "InvalidInstanceId", "InvalidParameters", "UnsupportedPlatformType", "ParameterAlreadyExists",
    "SendCommand: AccessDeniedException", "ListCommandInvocations: AccessDeniedException", "AssumeRole: AccessDenied",
    "DeleteSnapshot: UnauthorizedOperation", "CreateTags: UnauthorizedOperation",
    # botocore's exceptions
    "ReadTimeoutError", "ConnectTimeoutError", "EndpointConnectionError",
    # https://docs.aws.amazon.com/systems-manager/latest/userguide/monitor-commands.html
    "Undeliverable", "DeliveryTimedOut", "ExecutionTimedOut", "InvalidPlatform", "Terminated",
    # https://docs.aws.amazon.com/lambda/latest/dg/troubleshooting-invocation.html
    "Task timed out after", "Runtime.ExitError", "signal: killed", "Rate exceeded", "TooManyRequestsException",
}  # fmt: skip

RAISED = {"AutoSnapshotsError", "NotAFileError", "Fault", "FileFault", "DocumentFault"} | {
    name
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.AutoSnapshotsError)
}


def template(node: ast.AST) -> str:
    """A text of the code with `…` for what is put in."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr():
            return "".join(template(part) for part in node.values)
        case ast.BinOp(op=ast.Add()):
            return template(node.left) + template(node.right)
    return "…"


@cache
def nodes() -> list[ast.AST]:
    files = [*(ROOT / "lambda_function").rglob("*.py"), *(ROOT / "documents").rglob("*.py")]
    return [node for file in files for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))]


@cache
def texts() -> set[str]:
    """What the code has between quotes, but for docstrings, and a few messages that are put together from several."""
    docstrings = {node.value for node in nodes() if isinstance(node, ast.Expr)}
    written = {template(node) for node in nodes() if isinstance(node, ast.expr) and node not in docstrings}
    return written | set(produced())


def produced() -> list[str]:
    with pytest.raises(errors.ConfigurationError) as of_event:
        parse_event({"period": "hourly", "dryrun": True}, datetime(2026, 3, 4, tzinfo=UTC))
    policy = parse_policy(Parameter("/p/P", '{"hour": -1, "dya": 2}'))
    assert isinstance(policy, tuple)
    targets = parse_targets([Parameter("/t/T", '{"regions": ["eu-west-1"]}')], "/t/")
    document = read_document(b"a: [", is_json=False)
    kinds = [f"is {kind}" for _, kind in _KINDS]
    return [str(of_event.value), *map(str, policy), *targets.faults, *(fault.text for fault in document.faults), *kinds]


def is_quoted_from(quoted: str, text: str) -> bool:
    pieces = [re.escape(piece) for piece in quoted.strip("… ").split("…")]
    return re.search(".*".join(pieces), text, re.DOTALL) is not None


def test_every_row_says_what_it_means_and_what_to_do():
    assert len(ROWS) > 80
    assert [row for row in ROWS if len(row) != 3 or not all(row) or "`" not in row[0]] == []


def test_no_message_stands_in_two_rows():
    assert [text for text, times in Counter(QUOTED).items() if times > 1] == []


@pytest.mark.parametrize("quoted", QUOTED)
def test_a_row_quotes_what_the_code_or_aws_says(quoted):
    assert (
        quoted in OF_AWS
        or re.fullmatch(r"exit 20[1-6]", quoted)
        or any(is_quoted_from(quoted, text) for text in texts())
    )


def test_every_error_code_has_a_row():
    """So has each kind of code that is recognised by how it begins."""
    assert set(_BY_CODE) <= set(QUOTED)
    assert [start for start in _REJECTED if not any(code.startswith(start) for code in QUOTED)] == []


def test_every_text_of_an_error_has_a_row():
    raised = {
        text
        for node in nodes()
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in RAISED
        for argument in node.args
        if len(re.sub("[… :]", "", text := template(argument))) > 6
    }
    assert len(raised) > 30
    assert [text for text in sorted(raised) if not any(is_quoted_from(quoted, text) for quoted in QUOTED)] == []


def test_every_exit_code_of_the_documents_has_a_row():
    codes = {
        node.args[0].value
        for node in nodes()
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "Answer"
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }
    assert NOT_FROZEN.code in codes
    assert {f"exit {code}" for code in codes if isinstance(code, int) and code > 200} <= set(QUOTED)
