"""Workers that do tasks: where one dies or hangs, another takes its place and does its task again.

The workers are processes of this machine (`core.worker_process`) or of a cluster (`core.ray`).
"""

from __future__ import annotations

import math
import pickle
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol, Self

from dreamenv.core.errors import DreamEnvError
from dreamenv.core.worker_process import POLL_SECONDS
from dreamenv.core.worker_progress import Noted

# Making a servant includes importing what it needs; some environments download or compile then.
MAKING_SECONDS = 600.0
# Whatever killed the process of a task may have had nothing to do with the task.
TRIES = 2
# A machine that goes away has hardly anything to do with it.
MOST_GONE = 10


class Worker(Protocol):
    """A worker as `ProcessWorker` describes it, wherever it is."""

    task: tuple[int, Any] | None
    ready: bool
    silent: float

    @property
    def progress(self) -> Noted: ...
    def begin(self, number: int, task: Any) -> None: ...
    def look(self) -> None: ...
    def where(self) -> str: ...
    def close(self, patience: float) -> None: ...
    def end(self, patience: float) -> None: ...


class Staff(Protocol):
    """What makes workers and listens to them, as `Processes` does."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *error: object) -> None: ...
    def new(self) -> Any: ...
    def wait(self, workers: Sequence[Any], seconds: float) -> Iterator[tuple[Any, bytes]]: ...


class WorkerDiedError(DreamEnvError):
    """Workers die although they have no task.

    Args:
        cause: such as "died (SIGKILL)".
        ready: whether the last one could have done a task.
        where: its stack, as `faulthandler` writes it.
    """

    def __init__(self, cause: str, ready: bool = False, where: str = "") -> None:
        doing = "while it was idle" if ready else "before it was ready"
        super().__init__(f"a worker {cause} {doing}; run the same command again to continue")
        self.cause, self.ready, self.where = cause, ready, where


@dataclass(frozen=True)
class Lost:
    """What a task has come to that killed its worker, or made it hang, every time."""

    cause: str
    """Such as "died (SIGSEGV), 2 times"."""
    progress: Noted
    where: str
    """The stack of the last one, as `faulthandler` writes it."""


class WorkerPool:
    """A fixed number of workers; a context manager that never leaves one behind.

    Args:
        staff: makes them.
        size: how many.
        timeout: seconds without progress in a task after which a worker hangs; making its servant
            may take `MAKING_SECONDS` if that is longer.
        patience: seconds that they have to come to an end; may be changed.
        stop: when set, a worker that fails or dies is no error: the same signal may have hit it.
    """

    def __init__(
        self,
        staff: Staff,
        size: int,
        timeout: float = math.inf,
        patience: float = 0.0,
        stop: threading.Event | None = None,
    ) -> None:
        self.size = size
        self.stop = stop or threading.Event()
        self.told: Any = None
        """What the servants tell (`Servant.told`)."""
        self.patience = patience
        self._staff, self._timeout = staff, timeout
        self._workers: list[Worker] = []
        self._deaths: Counter[int | None] = Counter()
        """By task; of workers that had none, since one was ready."""
        self._gone: Counter[int | None] = Counter()
        self._again: list[tuple[int, Any]] = []

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self._staff)
            stack.callback(self._end)
            for _ in range(self.size):
                self._workers.append(self._staff.new())
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _end(self) -> None:
        for worker in self._workers:
            worker.close(self.patience)
        for worker in self._workers:
            worker.end(self.patience)

    @property
    def ready(self) -> bool:
        """Whether there is a worker that could do something."""
        return any(worker.ready for worker in self._workers)

    @property
    def idle(self) -> bool:
        """Whether a worker waits for a task."""
        return not self._again and any(map(_is_idle, self._workers))

    @property
    def at_work(self) -> list[Worker]:
        """Those that do a task."""
        return [worker for worker in self._workers if worker.task is not None]

    def start(self, number: int, task: Any) -> None:
        """Have an idle worker do a task; its number comes back with the result."""
        next(filter(_is_idle, self._workers)).begin(number, task)

    def results(self) -> list[tuple[int, Any]]:
        """What has come of tasks, by number: results, or `Lost`. Waits for it for a moment.

        Raises:
            WorkerDiedError: workers die before they have done anything.
            Exception: a servant raised it.
        """
        results: list[tuple[int, Any]] = []
        for worker, message in self._staff.wait(self._workers, POLL_SECONDS):
            kind, content = pickle.loads(message)
            if kind not in ("ready", "done") and self.stop.is_set():
                return []
            if kind == "error":
                raise content
            if kind in ("died", "gone"):
                results += self._replace(worker, content, gone=kind == "gone")
            elif kind == "ready":
                worker.ready, self.told = True, content
                self._deaths[None] = self._gone[None] = 0
            else:
                assert worker.task is not None
                number, worker.task = worker.task[0], None
                results.append((number, content))
                self._deaths.pop(number, 0)  # numbers may be given again
                self._gone.pop(number, 0)
        for worker in list(self._workers):
            worker.look()
            most = self._timeout if worker.ready else max(self._timeout, MAKING_SECONDS)
            if worker.silent > most:
                results += self._replace(worker, f"hung for {most:g} seconds", gone=False)
        while self._again and any(map(_is_idle, self._workers)):
            self.start(*self._again.pop(0))
        return results

    def run(self, tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """Do all of some tasks; their numbers and what came of them, as `results`, in any order."""
        begun = done = 0
        while done < len(tasks):
            while self.idle and begun < len(tasks):
                self.start(begun, tasks[begun])
                begun += 1
            for result in self.results():
                done += 1
                yield result

    def _replace(self, worker: Worker, cause: str, gone: bool) -> list[tuple[int, Lost]]:
        """Put a new worker in the place of a dead or hanging one; its task is done again.

        Returns what has come of the task if that was the last try.
        """
        where = "" if gone else worker.where()
        task, progress = worker.task, worker.progress
        worker.end(0)
        number = None if task is None else task[0]
        counts, most = (self._gone, MOST_GONE) if gone else (self._deaths, TRIES)
        counts[number] += 1
        if task is None and counts[None] >= most:
            raise WorkerDiedError(cause, worker.ready, where)
        self._workers[self._workers.index(worker)] = self._staff.new()
        if task is None:
            return []
        if counts[number] < most:
            self._again.append(task)
            return []
        del counts[number]
        return [(task[0], Lost(f"{cause}, {most} times", progress, where))]


def _is_idle(worker: Worker) -> bool:
    return worker.ready and worker.task is None
