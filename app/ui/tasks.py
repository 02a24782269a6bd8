"""Work that the page started: its state, its cancellation, and queues that each do theirs in one thread."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from .refusals import gone

WAITING, DOWNLOADING, LOADING, RUNNING = "waiting", "downloading", "loading", "running"
DONE, FAILED, CANCELLED = "done", "failed", "cancelled"

CLOSING_SECONDS = 5.0
"""How long the server waits for its worker threads at shutdown."""


class StoppedError(BaseException):
    """The page's user cancelled the work. Libraries do not catch it as an error."""


class Cancellation(threading.Event):
    """A cancellation flag for one piece of work, set once cancellation is requested."""

    def check(self, *_: object) -> None:
        """Raises StoppedError if it is set; takes any arguments, so that it can be a progress callback."""
        if self.is_set():
            raise StoppedError


@dataclass(kw_only=True)
class Task:
    """A piece of work.

    Attributes:
        state: WAITING, DOWNLOADING, LOADING, RUNNING, DONE, FAILED or CANCELLED.
        share: Progress from 0 to 1; None = unknown.
        error: Why it failed, and what to do.
        stop: Set if it is cancelled.
    """

    state: str = WAITING
    share: float | None = None
    error: str = ""
    stop: Cancellation = field(default_factory=Cancellation)

    @property
    def is_over(self) -> bool:
        """Whether the state is final."""
        return self.state in (DONE, FAILED, CANCELLED)

    def begin(self) -> None:
        """Leaves the state WAITING."""
        self.state = RUNNING

    def end(self, state: str, error: str = "") -> None:
        """Sets a final state, unless there is one."""
        if not self.is_over:
            self.error, self.state = error or self.error, state  # in this order: others wait for the state without the lock
            if state == CANCELLED:
                self.stop.set()


AnyTask = TypeVar("AnyTask", bound=Task)


class TaskQueue(ABC, Generic[AnyTask]):
    """Tasks by id, in order, and the one thread that does them; `name` is the thread's."""

    def __init__(self, name: str) -> None:
        self._tasks: dict[str, AnyTask] = {}
        self._condition = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, daemon=True, name=name)
        self._thread.start()

    @abstractmethod
    def _attempt(self, task: AnyTask, /) -> None:
        """Does a task in the queue's thread, and ends it whatever happens."""

    def get(self, task_id: str) -> AnyTask:
        """A task by id; raises Refusal if it is unknown."""
        with self._condition:
            if task := self._tasks.get(task_id):
                return task
        raise gone()

    def close(self) -> None:
        """Ends all work."""
        with self._condition:
            self._closed = True
            for task in self._tasks.values():
                task.end(CANCELLED)
            self._condition.notify_all()
        self._thread.join(CLOSING_SECONDS)

    def _work(self) -> None:
        while (task := self._next()) is not None:
            self._attempt(task)

    def _next(self) -> AnyTask | None:
        """Waits for the next task; None at the end."""
        with self._condition:
            while not self._closed:
                if task := next((each for each in self._tasks.values() if each.state == WAITING), None):
                    task.begin()
                    return task
                self._condition.wait()
        return None
