"""Threads of several runs, of which exactly one proceeds at a time, from one call to the next.

A run's own threads (the workers that create, the one that prunes) are tasks as well. A task parks before each of its
calls, while it sleeps, and while it waits for another task; what goes on next is the caller's choice, so the order of
all calls is a function of that choice and of nothing else. Threads of the library are not replaced by a simpler
sequence: its modules get executors, locks, conditions and queues that park instead of blocking.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from datetime import datetime, timedelta
from functools import partial
from queue import Empty
from typing import Any, Self

from tests.campaigns.crashes.schedule import AtOnce
from tests.support.clock import Clock


class Task:
    """One thread of a run; `parked` says why it does not proceed."""

    def __init__(self, scheduler: Scheduler, run: str, body: Callable[[], None]) -> None:
        self.scheduler, self.run, self.body = scheduler, run, body
        self.parked: str | None = None
        self.can_go: Callable[[], bool] = lambda: True
        self.wakes: datetime | None = None
        self.is_done = False
        self.go = threading.Lock()
        self.go.acquire()

    def park(self, why: str | None, can_go: Callable[[], bool] = lambda: True, wakes: datetime | None = None) -> None:
        """Give way, and return when chosen again."""
        self.parked, self.can_go, self.wakes = why, can_go, wakes
        self.scheduler.back.release()
        self.go.acquire()
        self.parked, self.wakes = None, None


class _Worker(threading.Thread):
    """A thread that is used again, since a campaign has hundreds of thousands of tasks."""

    idle: list[_Worker] = []  # noqa: RUF012 - shared on purpose

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.task: Task | None = None
        self.has_task = threading.Lock()
        self.has_task.acquire()
        self.start()

    def run(self) -> None:
        while True:
            self.has_task.acquire()
            task = self.task
            if task is None:
                continue
            task.go.acquire()
            try:
                task.body()
            finally:
                task.is_done = True
                task.scheduler.ended += 1
                self.task = None
                _Worker.idle.append(self)
                task.scheduler.back.release()


def _me() -> Task:
    thread = threading.current_thread()
    assert isinstance(thread, _Worker), "the library's threads are scheduled, so it must be run by a scheduler"
    assert thread.task is not None
    return thread.task


def running() -> str:
    """The name of the run that proceeds."""
    return _me().run


class SharedClock(Clock):
    """Who sleeps gives way; time goes on when everyone who may proceed is asleep."""

    def sleep(self, seconds: float) -> None:
        self.slept += seconds
        me, wakes = _me(), self.now + timedelta(seconds=seconds)
        me.park("asleep", lambda: self.now >= wakes, wakes)


class Scheduler:
    """Runs by name. `pick` chooses among the calls that one run could make next, by their tasks' numbers."""

    def __init__(self, clock: Clock, bodies: dict[str, Callable[[], Any]], *, last_first: bool = False) -> None:
        self.clock = clock
        self.back = threading.Lock()
        self.back.acquire()
        self.ended = 0
        self.results: dict[str, Any] = {}
        self.errors: dict[str, BaseException] = {}
        self._last_first = last_first
        self._tasks: dict[str, list[Task]] = {run: [] for run in bodies}
        for run, body in bodies.items():
            self.spawn(run, partial(self._conclude, run, body))

    def _conclude(self, run: str, body: Callable[[], Any]) -> None:
        try:
            self.results[run] = body()
        except BaseException as error:  # noqa: BLE001 - the caller is told
            self.errors[run] = error

    def spawn(self, run: str, body: Callable[[], None]) -> None:
        task = Task(self, run, body)
        self._tasks[run].append(task)
        worker = _Worker.idle.pop() if _Worker.idle else _Worker()
        worker.task = task
        worker.has_task.release()

    def is_over(self, run: str) -> bool:
        """Whether the run has ended; what lies between its calls is done first."""
        self._settle(run)
        return all(task.is_done for task in self._tasks[run])

    def proceed(self, run: str) -> bool:
        """Let the run make one call. False when all of it is asleep, or over."""
        self._settle(run)
        calling = [task for task in self._tasks[run] if task.parked == "call"]
        if not calling:
            return False
        self._let_go(calling[-1 if self._last_first else 0])
        self._settle(run)
        return True

    def pass_time(self, runs: Iterable[str]) -> None:
        """Move the clock to the first moment at which one of these sleepers wakes."""
        wakes = [task.wakes for run in runs for task in self._tasks[run] if task.wakes is not None]
        assert wakes, "nobody can proceed and nobody sleeps: a deadlock"
        self.clock.now = max(self.clock.now, min(wakes))

    def _settle(self, run: str) -> None:
        """Proceed with whatever needs no call, in the order in which the tasks began."""
        tasks = self._tasks[run]
        went_on = True
        while went_on:
            went_on = False
            for task in tasks:
                if not task.is_done and task.parked != "call" and task.can_go():
                    self._let_go(task)
                    went_on = True
            tasks[1:] = [task for task in tasks[1:] if not task.is_done]

    def _let_go(self, task: Task) -> None:
        task.go.release()
        self.back.acquire()


def gate(note: Callable[[str, str, str], None]) -> Callable[[str, str], None]:
    """What a fake calls before each call: it waits for its turn there, and is noted when it has come."""

    def before(operation: str, target: str) -> None:
        me = _me()
        me.park("call")
        note(me.run, operation, target)

    return before


# What the library's threads wait on. Only one task proceeds at a time, so plain values suffice.


class _Lock:
    def __init__(self, places: int = 1) -> None:
        self._places = places

    def __enter__(self) -> None:
        if self._places == 0:
            _me().park("waiting", lambda: self._places > 0)
        self._places -= 1

    def __exit__(self, *_: object) -> None:
        self._places += 1


class _Condition(_Lock):
    def wait_for(self, predicate: Callable[[], bool], timeout: float | None = None) -> None:
        """A time-out never comes first: these tests look at every change alone, so one is enough for a look."""
        if not predicate():
            self._places += 1
            _me().park("waiting", lambda: self._places > 0 and predicate())
            self._places -= 1

    def notify(self) -> None: ...

    def notify_all(self) -> None: ...


class _Queue:
    def __init__(self) -> None:
        self._items: list[Any] = []

    def __class_getitem__(cls, _: object) -> type[_Queue]:
        return cls

    def put(self, item: object) -> None:
        self._items.append(item)

    def empty(self) -> bool:
        return not self._items

    def get(self, timeout: float | None = None) -> Any:
        """The next one; with a time-out, Empty once another task has ended without putting one there."""
        if not self._items:
            me = _me()
            seen = me.scheduler.ended
            me.park("waiting", lambda: bool(self._items) or (timeout is not None and me.scheduler.ended > seen))
        if not self._items:
            raise Empty
        return self._items.pop(0)


class _Executor:
    def __init__(self, max_workers: int) -> None:
        self._free = max_workers
        self._unfinished = 0

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self._unfinished += 1

        def body() -> None:
            if self._free == 0:
                _me().park("waiting", lambda: self._free > 0)
            self._free -= 1
            try:
                future.set_result(function(*arguments))
            except BaseException as error:  # noqa: BLE001 - the future holds it
                future.set_exception(error)
            self._free += 1
            self._unfinished -= 1

        me = _me()
        me.scheduler.spawn(me.run, body)
        return future

    def shutdown(self, *, wait: bool) -> None:
        if wait and self._unfinished:
            _me().park("waiting", lambda: self._unfinished == 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown(wait=True)


def _as_completed(futures: Iterable[Future[Any]]) -> Iterator[Future[Any]]:
    waiting = list(futures)
    while waiting:
        if not _any_done(waiting):
            _me().park("waiting", partial(_any_done, waiting))
        done = [future for future in waiting if future.done()]
        yield from done
        waiting = [future for future in waiting if future not in done]


def _any_done(futures: list[Future[Any]]) -> bool:
    return any(future.done() for future in futures)


class _Threading:
    Thread = AtOnce
    Lock = _Lock
    BoundedSemaphore = _Lock
    Condition = _Condition


class _QueueModule:
    SimpleQueue = _Queue
    Empty = Empty


STAND_INS: dict[str, Any] = {
    "threading": _Threading,
    "queue": _QueueModule,
    "ThreadPoolExecutor": _Executor,
    "as_completed": _as_completed,
}


def put_under_the_scheduler(monkeypatch: Any) -> None:
    """Give every module of the library that has threads, or waits on them, the stand-ins."""
    for name, module in sorted(sys.modules.items()):
        if name.startswith("lambda_function."):
            for attribute, stand_in in STAND_INS.items():
                if hasattr(module, attribute):
                    monkeypatch.setattr(module, attribute, stand_in)
