"""Every exception this package raises on purpose.

::

    AutoSnapshotsError
    ├── ConfigurationError      wrong before any work: event, arguments, environment, no policy (exit 2)
    ├── RunFailedError          raised once, at the end of a run in which something due was not done (exit 1)
    ├── OutOfTimeError          the time left no longer allows another step
    │   └── InterruptedRunError      a signal interrupted the run, which begins nothing more
    ├── FrozenTooLongError      the freeze has lasted too long for another create
    ├── HookError               a hook cannot run; found before anything was sent
    └── AwsError                a call to AWS failed for good
        ├── VolumeNotFoundError          the volume went away after it was listed
        ├── SnapshotNotFoundError        the snapshot is already gone
        ├── SnapshotProtectedError       deletion refused: used by an AMI, or locked
        ├── CreationTooSoonError         two creates of one volume within 15 seconds
        ├── TooManyPendingError          the account's pending snapshots are at their quota
        ├── VolumePendingError           this volume's pending snapshots are at their quota
        ├── NoAnswerError                the call may or may not have taken effect
        ├── ThrottledError               too many calls: nothing was done, and a later call may succeed
        ├── AccessRefusedError           not allowed
        └── RequestRejectedError         EC2 will never accept this request
"""

from __future__ import annotations

import json

from lambda_function.escapes import escaped

_MAX_QUOTED = 80

_JSON_TYPES = (
    (str, "a string"),
    (bool, "true or false"),
    (int | float, "a number"),
    (list, "a list"),
    (dict, "an object"),
)


def quoted(value: object) -> str:
    """A bad value as JSON with escapes, at most 80 characters, for use in an error."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (RecursionError, ValueError):  # thousands of brackets or digits
        return f"({json_type(value)}, too large to show)"
    text = escaped(text)
    return text if len(text) <= _MAX_QUOTED else text[: _MAX_QUOTED - 1] + "…"


def json_type(value: object) -> str:
    """The JSON type of a value in words, for errors that must not show the value."""
    return next((words for types, words in _JSON_TYPES if isinstance(value, types)), "null")


class AutoSnapshotsError(Exception):
    """Base of all errors raised on purpose; its text is fit for users, and all of it can be seen."""

    def __init__(self, text: str) -> None:
        super().__init__(escaped(text, keep="\n"))


class ConfigurationError(AutoSnapshotsError):
    """The run cannot begin; nothing was written."""


class RunFailedError(AutoSnapshotsError):
    """Everything was attempted and something due was not done; the text names each failure."""


class OutOfTimeError(AutoSnapshotsError):
    """The time left does not allow another step."""


class InterruptedRunError(OutOfTimeError):
    """A signal interrupted the run; the step is left for another run, as if there were no time for it."""


class FrozenTooLongError(AutoSnapshotsError):
    """The create did not start in time, and the thaw does not wait for it."""


class HookError(AutoSnapshotsError):
    """The document, the instance or a parameter does not allow the hook; nothing was sent."""


class AwsError(AutoSnapshotsError):
    """A call failed after botocore's retries.

    `operation` is the API action, `code` AWS's error code (or the exception's name if there was no answer).
    """

    def __init__(self, operation: str, code: str, message: str) -> None:
        self.operation = operation
        self.code = escaped(code)
        self.message = escaped(message)
        super().__init__(f"{operation}: {self.code}: {self.message}")


class VolumeNotFoundError(AwsError):
    """`InvalidVolume.NotFound`."""


class SnapshotNotFoundError(AwsError):
    """`InvalidSnapshot.NotFound`."""


class SnapshotProtectedError(AwsError):
    """`InvalidSnapshot.InUse`, or a snapshot lock: never forced, reported with AWS's own reason."""


class CreationTooSoonError(AwsError):
    """`SnapshotCreationPerVolumeRateExceeded`: two creates of a volume must be 15 seconds apart."""


class TooManyPendingError(AwsError):
    """`PendingSnapshotLimitExceeded`: 100 per account and Region by default."""


class VolumePendingError(AwsError):
    """`ConcurrentSnapshotLimitExceeded`: 5 per volume, 1 for st1 and sc1."""


class NoAnswerError(AwsError):
    """No answer, or a server error: the call may have taken effect."""


class ThrottledError(AwsError):
    """`ThrottlingException`, `RequestLimitExceeded`, `ServiceUnavailable`: too many calls; nothing was done."""


class AccessRefusedError(AwsError):
    """The role, or a key's policy, does not allow the call."""


class RequestRejectedError(AwsError):
    """EC2 does not accept a parameter or state; it may accept another form of the request."""
