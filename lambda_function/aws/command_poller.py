"""One list call for all threads that wait for commands of one document.

Every frozen instance has a thread that waits for its command. The first to find a poll due makes it for all; the others
wait for its response, each until its own time limit. A lock guards the shared state and is never held during a call.

Other tools' commands may be thousands in the same minutes. So a poll lists only this document's (one command's, if only
one is waited for), and stops at the page on which the last one waited for was found.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from lambda_function.aws.errors import translated
from lambda_function.deadline import Deadline
from lambda_function.errors import AccessRefusedError, AwsError, ThrottledError
from lambda_function.ports import CommandOutcome

if TYPE_CHECKING:
    from mypy_boto3_ssm import SSMClient

logger = logging.getLogger(__name__)

PAGE = 50
"""Maximum page size of `ListCommandInvocations`."""

POLL_SECONDS = 0.3
SLOWER_POLLS = ((60.0, 3.0), (10.0, 1.0))
"""Seconds waited for a command, and from then on between two polls: a long stage is not worth many calls."""

LEAST_SECONDS = 1.0
"""Time for a poll of this thread's or of another's, however late the wait begins."""

PAGES = 4
OVERDUE_SECONDS = 3.0
BY_ID_AT_ONCE = 5
"""A command that the first pages of its document's do not show after this time is asked for by its id, so many at a
time: others may run the same document, and AWS does not say by which of its names a shared one is found."""

MOST_THROTTLED = 4.0
"""Each throttled poll doubles the time between polls, up to this multiple; each answered one takes a tenth off."""

LISTED_BYTES = 2500
"""`ListCommandInvocations` truncates a plugin's output at this length, in the agent's UTF-8."""

LONGEST_CHARACTER = 4
"""Of UTF-8, in bytes: one that the cut went through is missing whole."""

CLOCK_SKEW = timedelta(minutes=2)
"""Between this clock and SSM's, if SSM did not return when it accepted a command."""

COARSE = timedelta(seconds=2)
"""`InvokedAfter` has whole seconds, and AWS does not document whether it is inclusive."""

_UNDER_WAY = ("Pending", "InProgress", "Delayed", "Cancelling")


@dataclass(frozen=True, slots=True)
class ListedInvocation:
    """A command that ended on one instance, as listed; `outcome` is incomplete if its output was truncated."""

    status: str
    outcome: CommandOutcome


@dataclass(slots=True)
class CommandPoller:
    """What is known about awaited commands of `document`, by SSM's name; safe to use from several threads.

    `client` does not retry, since it polls repeatedly anyway.
    """

    client: SSMClient
    deadline: Deadline
    document: str
    _changed: threading.Condition = field(default_factory=threading.Condition)
    """Guards the fields below; notified after each page and each poll."""
    _waiting: list[tuple[str, str]] = field(default_factory=list)
    """Command and instance of each wait in progress."""
    _ended: dict[tuple[str, str], ListedInvocation] = field(default_factory=dict)
    """Only commands that are still waited for."""
    _listed_after: dict[str, datetime] = field(default_factory=dict)
    """By command: a moment of SSM's clock shortly before it. The closer, the fewer older commands are listed."""
    _is_polling: bool = False
    _polled_at: float = float("-inf")
    _failure: Exception | None = None
    """Why the last poll failed; None if it succeeded."""
    _sent_at: dict[str, float] = field(default_factory=dict)
    """By command, on the deadline's elapsed clock."""
    _slower: float = 1.0
    """Multiple of the time between polls, learnt from throttled ones."""

    def sent(self, command_id: str, requested: datetime | None, before: datetime) -> None:
        """Record a sent command: `requested` by SSM's clock, or shortly after `before` by this one."""
        after = requested.astimezone(UTC) - COARSE if requested else before - CLOCK_SKEW
        with self._changed:
            self._listed_after[command_id] = after
            self._sent_at[command_id] = self.deadline.elapsed()

    def wait(self, command_id: str, instance_id: str, until: float) -> ListedInvocation | None:
        """The finished command, or None if none was seen by `until`; raises the last poll's error if that failed.

        There is a look at it even if `until` has passed, since it may have ended long ago. Raises AccessRefusedError at
        once: no later poll would succeed. Only a call in this thread can exceed `until`.
        """
        key = (command_id, instance_id)
        began = self.deadline.elapsed()
        until = max(until, began + LEAST_SECONDS)
        with self._changed:
            self._waiting.append(key)
        try:
            while True:
                self._refresh(key, until)
                now = self.deadline.elapsed()
                with self._changed:
                    ended, failure, slower = self._ended.get(key), self._failure, self._slower
                if ended is not None:
                    return ended
                if failure is not None and (now >= until or isinstance(failure, AccessRefusedError)):
                    raise failure
                if now >= until:
                    return None
                pause = next((pause for after, pause in SLOWER_POLLS if now - began >= after), POLL_SECONDS)
                self.deadline.sleep(min(pause * slower, until - now))
        finally:
            with self._changed:
                self._waiting.remove(key)
                if key not in self._waiting:
                    self._ended.pop(key, None)

    def _refresh(self, key: tuple[str, str], until: float) -> None:
        """Poll, unless a poll or the command has just ended; wait for another thread's poll, but not beyond `until`."""
        with self._changed:
            # Not the deadline's sleep: a call takes real time whatever clock the run uses, and its end notifies.
            while self._is_polling and key not in self._ended and (left := until - self.deadline.elapsed()) > 0:
                self._changed.wait(left)
            is_recent = self.deadline.elapsed() - self._polled_at < POLL_SECONDS * self._slower
            if self._is_polling or key in self._ended or is_recent:
                return
            self._is_polling = True
        failure: Exception | None = None
        try:
            self._poll(until)
        except AwsError as error:
            # The next poll is soon, and the command's own timeout limits how often it fails.
            failure = error
            logger.warning("commands could not be listed: %s", error)
        except Exception as error:
            failure = error
            raise
        finally:
            with self._changed:
                self._is_polling = False
                self._polled_at = self.deadline.elapsed()
                self._failure = failure
                is_throttled = isinstance(failure, ThrottledError)
                self._slower = min(self._slower * 2, MOST_THROTTLED) if is_throttled else max(self._slower * 0.9, 1.0)
                self._changed.notify_all()

    def _poll(self, until: float) -> None:
        """One walk, newest commands first: until all that are waited for were seen, or this thread's time is over."""
        with self._changed:
            unseen = set(self._waiting)
        self._walk(self._selection({command_id for command_id, _ in unseen}), unseen, until)
        overdue = {command_id for command_id, _ in unseen if self._is_overdue(command_id)}
        for command_id in sorted(overdue)[:BY_ID_AT_ONCE]:
            if self.deadline.elapsed() < until:
                self._walk({"CommandId": command_id}, unseen, until)

    def _walk(self, selection: dict[str, Any], unseen: set[tuple[str, str]], until: float) -> None:
        with translated("ListCommandInvocations"):
            pages = self.client.get_paginator("list_command_invocations").paginate(
                **selection, Details=True, PaginationConfig={"PageSize": PAGE}
            )
            for _, page in zip(range(PAGES), pages, strict=False):
                self._record(page["CommandInvocations"])
                unseen -= {(raw["CommandId"], raw["InstanceId"]) for raw in page["CommandInvocations"]}
                if not unseen or self.deadline.elapsed() >= until:
                    break

    def _is_overdue(self, command_id: str) -> bool:
        now = self.deadline.elapsed()
        return now - self._sent_at.get(command_id, now) >= OVERDUE_SECONDS

    def _selection(self, command_ids: Collection[str]) -> dict[str, Any]:
        """One command by its id; several by their document and when the oldest of them was sent."""
        if len(command_ids) == 1:
            return {"CommandId": next(iter(command_ids))}
        with self._changed:
            after = min(self._listed_after[command_id] for command_id in command_ids)
        return {
            "Filters": [
                {"key": "DocumentName", "value": self.document},
                {"key": "InvokedAfter", "value": after.strftime("%Y-%m-%dT%H:%M:%SZ")},
            ]
        }

    def _record(self, invocations: list[Any]) -> None:
        with self._changed:
            for raw in invocations:
                key = (raw["CommandId"], raw["InstanceId"])
                if key in self._waiting and key not in self._ended and raw["Status"] not in _UNDER_WAY:
                    self._ended[key] = _parse(raw)
            self._changed.notify_all()


def _parse(raw: Mapping[str, Any]) -> ListedInvocation:
    status = "Success" if raw["Status"] == "Success" else raw.get("StatusDetails") or raw["Status"]
    plugins = raw.get("CommandPlugins") or ()
    output = "\n".join(plugin.get("Output") or "" for plugin in plugins)
    if not plugins or len(output.encode(errors="replace")) > LISTED_BYTES - LONGEST_CHARACTER:
        return ListedInvocation(raw["Status"], CommandOutcome(status, None, output, complete=False))
    codes = [plugin.get("ResponseCode") for plugin in plugins]
    exit_code = next((code for code in codes if code), codes[-1])
    return ListedInvocation(raw["Status"], CommandOutcome(status, exit_code, output))
