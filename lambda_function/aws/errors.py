"""Translates botocore's exceptions into ours; the only module that knows AWS's error codes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError
from botocore.parsers import ResponseParserError

from lambda_function.errors import (
    AccessRefusedError,
    AwsError,
    ConfigurationError,
    CreationTooSoonError,
    NoAnswerError,
    RequestRejectedError,
    SnapshotNotFoundError,
    SnapshotProtectedError,
    ThrottledError,
    TooManyPendingError,
    VolumeNotFoundError,
    VolumePendingError,
)

# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
_BY_CODE: dict[str, type[AwsError]] = {
    "UnauthorizedOperation": AccessRefusedError,
    "AccessDenied": AccessRefusedError,
    "AccessDeniedException": AccessRefusedError,
    "RequestLimitExceeded": ThrottledError,
    "Throttling": ThrottledError,
    "ThrottlingException": ThrottledError,
    "Unavailable": ThrottledError,
    "ServiceUnavailable": ThrottledError,
    "InvalidVolume.NotFound": VolumeNotFoundError,
    "InvalidSnapshot.NotFound": SnapshotNotFoundError,
    "InvalidSnapshot.InUse": SnapshotProtectedError,
    "SnapshotCreationPerVolumeRateExceeded": CreationTooSoonError,
    "PendingSnapshotLimitExceeded": TooManyPendingError,
    "ConcurrentSnapshotLimitExceeded": VolumePendingError,
}

_REJECTED = ("Invalid", "Incorrect", "Unsupported", "Missing", "OperationNotPermitted", "TagLimitExceeded")


_LOCK = re.compile(r"(?<!b)(?<!B)lock", re.IGNORECASE)  # not `Blocked`, which is about the account

_MAX_MESSAGE = 500
_MAX_REFUSAL = 3000
"""The message encoded in EC2's refusal has some 1,500 characters, and cannot be decoded unless it is whole."""

_SERVER_FAULT = 500


@contextmanager
def translated(operation: str) -> Iterator[None]:
    """Raise AwsError, or its subclass for the error code, instead of botocore's exceptions.

    Raises ConfigurationError if there are no credentials, which only the first call reveals.
    """
    try:
        yield
    except ClientError as error:
        details = error.response.get("Error", {})
        code = (details.get("Code") or "Unknown").removeprefix("Client.")
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        message = details.get("Message") or "no message"
        kind = _type_for(code, operation, status)
        # SendCommand's message may quote a secret parameter; it is redacted later, which needs the full text.
        if operation != "SendCommand":
            message = _brief(message, _MAX_REFUSAL if kind is AccessRefusedError else _MAX_MESSAGE)
        raise kind(operation, code, message) from error
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise ConfigurationError(f"no AWS credentials: {error}; see AWS_PROFILE, AWS_ACCESS_KEY_ID") from error
    except (BotoCoreError, ResponseParserError) as error:
        raise NoAnswerError(operation, type(error).__name__, _brief(str(error))) from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        # The call was made, but its response is malformed. botocore takes a body that is not JSON for an empty
        # response, and raises AttributeError for JSON that is not an object. Undecodable bytes are not quoted: they may
        # be those of an encrypted policy.
        what = error.reason if isinstance(error, UnicodeDecodeError) else repr(error)
        raise NoAnswerError(operation, "UnexpectedAnswer", _brief(what)) from error


def _brief(text: str, longest: int = _MAX_MESSAGE) -> str:
    """The text, truncated: botocore quotes a body it cannot parse, which may be a page of a thousand snapshots."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _type_for(code: str, operation: str, status: int) -> type[AwsError]:
    if code in _BY_CODE:
        return _BY_CODE[code]
    if status >= _SERVER_FAULT:
        return NoAnswerError
    # The code for deleting a locked snapshot is undocumented; every spelling seen names the lock.
    if operation == "DeleteSnapshot" and (_LOCK.search(code) or code == "OperationNotPermitted"):
        return SnapshotProtectedError
    return RequestRejectedError if code.startswith(_REJECTED) else AwsError
