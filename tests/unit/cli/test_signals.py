"""What each signal does, and says, by how much is frozen and how many came before it."""

from __future__ import annotations

import os
import signal
import sys
import threading

import pytest

from lambda_function.cli.signals import ONE_SIGNAL_SECONDS, SignalHandlers, exit_code
from lambda_function.interruption import Interruption

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


class EndedError(BaseException):
    """In place of the end of this process."""


pytestmark = pytest.mark.usefixtures("nothing_is_ignored")


@pytest.fixture
def ended(monkeypatch):
    def end(code):
        raise EndedError(code)

    monkeypatch.setattr(os, "_exit", end)


@pytest.fixture
def interruption():
    return Interruption()


class Sender:
    """Sends signals to this process, `after` as many seconds as it is told."""

    def __init__(self, interruption):
        self.now = 100.0
        self.handlers = SignalHandlers(interruption, lambda: self.now)

    def __call__(self, number=signal.SIGTERM, after=ONE_SIGNAL_SECONDS):
        self.now += after
        signal.raise_signal(number)


@pytest.fixture
def send(interruption, ended):
    """The run has begun."""
    interruption.begin()
    sender = Sender(interruption)
    with sender.handlers:
        yield sender


@pytest.fixture
def frozen(interruption):
    with interruption.holding(["i-2", "i-1"]):
        yield


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_interrupts(send, interruption, capfd, number):
    send(number)
    assert interruption.is_set
    assert send.handlers.number == number
    assert capfd.readouterr().err == (
        "interrupted: nothing more is begun, the report follows. Once more ends at once, without it\n"
    )


@pytest.mark.usefixtures("frozen")
def test_it_names_what_is_thawed_before_the_report(send, capfd):
    send()
    assert capfd.readouterr().err == "interrupted: nothing more is begun. Thawed first, then reported: i-1, i-2\n"


@pytest.mark.parametrize("number", SIGNALS)
def test_the_second_signal_ends_where_nothing_is_frozen(send, capfd, number):
    send()
    with pytest.raises(EndedError, match=str(128 + number)):
        send(number)
    assert "status says how every volume stands" in capfd.readouterr().err


@pytest.mark.usefixtures("frozen")
def test_the_second_names_what_is_frozen_and_a_third_ends(send, capfd):
    send()
    capfd.readouterr()
    send()
    assert capfd.readouterr().err == ("still being thawed: i-1, i-2. Once more ends at once and leaves them frozen\n")
    with pytest.raises(EndedError, match="143"):
        send()
    said = capfd.readouterr().err
    assert said.startswith("ended, and left frozen: i-1, i-2. The shipped documents thaw by themselves")


def test_the_second_ends_once_all_is_thawed(send, interruption):
    with interruption.holding(["i-1"]):
        send()
    with pytest.raises(EndedError):
        send()


def test_the_third_ends_whatever_is_thawed_meanwhile(send, interruption):
    with interruption.holding(["i-1"]):
        send()
        send()
    with pytest.raises(EndedError):
        send()


@pytest.mark.usefixtures("frozen")
def test_signals_within_a_second_count_as_one(send, capfd):
    """A closed terminal sends SIGHUP twice, and a supervisor SIGTERM besides."""
    send(signal.SIGHUP)
    for _ in range(3):
        send(signal.SIGTERM, after=ONE_SIGNAL_SECONDS / 4)
    assert send.handlers.number == signal.SIGHUP
    assert capfd.readouterr().err.count("\n") == 1
    send(after=ONE_SIGNAL_SECONDS / 4)
    assert "still being thawed" in capfd.readouterr().err


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_what_has_not_begun_at_once(interruption, ended, number):
    """The run still reads: there is nothing to thaw and nothing to report."""
    sender = Sender(interruption)
    with pytest.raises(KeyboardInterrupt), sender.handlers:
        sender(number)
    assert sender.handlers.number == number
    assert not interruption.is_set


@pytest.mark.usefixtures("ended", "frozen")
def test_a_terminal_gets_its_cursor_and_its_line_back(interruption, monkeypatch, capfd):
    """A progress bar stands in the line and hides the cursor."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    interruption.begin()
    send = Sender(interruption)
    with send.handlers:
        send()
        send()
        with pytest.raises(EndedError):
            send()
    said = capfd.readouterr().err
    assert said.count("\r\x1b[2K") == 3
    assert said.endswith("\n\x1b[?25h")


def test_a_message_that_nobody_can_read_stops_nothing(send, interruption, monkeypatch):
    def gone(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "write", gone)
    send()
    assert interruption.is_set
    with pytest.raises(EndedError):
        send()


@pytest.mark.parametrize("number", SIGNALS)
def test_what_was_in_force_before_is_so_again(interruption, number):
    before = signal.getsignal(number)
    with SignalHandlers(interruption):
        assert signal.getsignal(number) != before
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_that_is_ignored_stays_ignored(interruption, number):
    """As `nohup` has it, and a shell for what it starts in the background."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with SignalHandlers(interruption):
            signal.raise_signal(number)
        assert signal.getsignal(number) == signal.SIG_IGN
    finally:
        signal.signal(number, before)


def test_a_system_without_sighup_has_the_others(interruption, monkeypatch):
    monkeypatch.delattr(signal, "SIGHUP")
    with SignalHandlers(interruption) as handlers:
        assert set(handlers._replaced) == {signal.SIGINT, signal.SIGTERM}


def test_another_thread_than_the_main_one_sets_no_handler(interruption):
    """Python would not let it."""
    found = []

    def run():
        with SignalHandlers(interruption) as handlers:
            found.append(handlers._replaced)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [{}]


def test_the_exit_code_is_the_shell_s():
    assert [exit_code(number) for number in SIGNALS] == [130, 143, 129]
