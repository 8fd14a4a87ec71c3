"""What the keeper takes for more important than what."""

from __future__ import annotations

import time
import uuid

import pytest

from documents.keeper import EndedError, Keeper
from documents.messages import listen
from documents.notes import Notes


@pytest.fixture
def keeper():
    name = f"test-{uuid.uuid4()}"
    listener = listen(name)
    assert listener
    with listener:
        made = Keeper(Notes("test"), listener, f"{name}-holders")
        yield made
        for connection in (made.life, made.wake, made.waker):
            connection.close()


def test_a_reason_to_end_comes_before_what_was_waited_for(keeper):
    """Else it would say that all is frozen, of which a part has just been lost."""
    keeper.need(lambda: True, time.monotonic() + 1, "late")
    keeper.end("a holder is dead")
    with pytest.raises(EndedError, match="a holder is dead"):
        keeper.need(lambda: True, time.monotonic() + 1, "late")


def test_the_first_reason_to_end_is_told(keeper):
    keeper.end("one")
    keeper.end("two")
    assert keeper.reason == "one"


def test_what_does_not_come_in_time_ends_the_freeze(keeper):
    with pytest.raises(EndedError, match="late"):
        keeper.need(lambda: False, time.monotonic() + 0.05, "late")
