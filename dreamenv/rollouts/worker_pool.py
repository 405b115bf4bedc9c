"""The worker processes of a collection, seen from the parent."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import NamedTuple

import gymnasium
from gymnasium.spaces import Discrete

from dreamenv.core.errors import RolloutError
from dreamenv.core.interruption import signals_held_back
from dreamenv.rollouts.episode import Episode
from dreamenv.rollouts.failure import EpisodeError, Failure, failure_of, line_of_dump
from dreamenv.rollouts.progress import Progress
from dreamenv.rollouts.settings import CollectSettings
from dreamenv.rollouts.worker import run_worker

POLL_SECONDS = 0.5
# A worker notices the closed pipe when it next reports; slow environments need a while to close.
CLOSE_SECONDS = 10
# Making an environment includes importing it; some download or compile then.
MAKING_SECONDS = 600.0
# How long a hanging process may take to write down where it hangs.
DUMP_SECONDS = 2
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
# Whatever killed the process of an episode may have had nothing to do with the episode.
TRIES = 2


class Made(NamedTuple):
    """What the workers of a collection have made."""

    frames: gymnasium.Space
    """The space of the frames that are recorded."""
    actions: gymnasium.Space
    picture: dict[str, str] | None
    """What frames are taken from (`Picture.told`), None if observations are frames."""


class _Worker:
    """A worker process, as its parent knows it.

    Attributes:
        index: of the episode that it records, None if it records none.
        ready: whether its environment is made.
        silent: seconds without a sign of progress.
    """

    def __init__(
        self,
        context: multiprocessing.context.SpawnContext,
        settings: CollectSettings,
        dump: Path,
    ) -> None:
        self.index: int | None = None
        self.ready = False
        self.progress = Progress(context)
        self.silent, self._count, self._looked = 0.0, -1.0, time.monotonic()
        self._dump = dump
        self.pipe, theirs = context.Pipe()
        arguments = (theirs, settings, self.progress, dump)
        self.process = context.Process(target=run_worker, args=arguments)
        with _one_thread_each(), signals_held_back():
            self.process.start()
        theirs.close()

    def begin(self, index: int) -> None:
        """Send it an episode to record."""
        self.index = index
        self.progress.clear()
        with contextlib.suppress(BrokenPipeError):  # a dead worker is found when it is listened to
            self.pipe.send(index)

    def look(self) -> None:
        """Note whether there was progress since the last look."""
        now, count = time.monotonic(), self.progress.count
        idle = self.ready and self.index is None
        if idle or count != self._count:
            self.silent = 0.0
        else:
            # No more than two polls at once: this process may have been stopped itself.
            self.silent += min(now - self._looked, 2 * POLL_SECONDS)
        self._count, self._looked = count, now

    def where(self) -> str:
        """The line of code where the worker died, or is now; "" if unknown."""
        if self.process.is_alive() and hasattr(signal, "SIGUSR1"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid or 0, signal.SIGUSR1)
            deadline = time.monotonic() + DUMP_SECONDS
            while not self._read_dump().endswith("\n") and time.monotonic() < deadline:
                time.sleep(0.05)
        return line_of_dump(self._read_dump())

    def end(self, patience: float) -> None:
        """Close its pipe and wait for its end; after `patience` seconds kill it."""
        self.pipe.close()
        self.process.join(timeout=patience)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()

    def _read_dump(self) -> str:
        try:
            return self._dump.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""


class WorkerPool:
    """A fixed number of workers; a context manager that never leaves one behind.

    Args:
        settings: what the workers record.
        size: number of processes.
        stop: when set, a worker that fails or dies is no error: the same signal may have hit it.
        timeout: seconds within one step or reset of its environment after which a worker hangs;
            making the environment may take `MAKING_SECONDS` if that is longer.
    """

    def __init__(
        self, settings: CollectSettings, size: int, stop: threading.Event, timeout: float
    ) -> None:
        self.size = size
        self.stop = stop
        self._settings = settings
        self._timeout = timeout
        # spawn: a fork would share the parent's rendering contexts and threads.
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []
        self._started = 0
        self._deaths: Counter[int | None] = Counter()
        """By episode; of workers that had none, since one was ready."""
        self._again: list[int] = []
        self._made: Made | None = None

    def __enter__(self) -> WorkerPool:
        self._folder = tempfile.TemporaryDirectory(prefix="dreamenv-collect-")
        for _ in range(self.size):
            self._workers.append(self._new_worker())
        return self

    def __exit__(self, *error: object) -> None:
        for worker in self._workers:
            worker.pipe.close()
        for worker in self._workers:
            worker.end(CLOSE_SECONDS)
        self._folder.cleanup()

    def wait_until_ready(self) -> Made | None:
        """Wait until every worker has made its environment.

        Returns what they made, or None if `stop` was set.

        Raises:
            RolloutError: an environment cannot be made or does not fit.
        """
        while not all(worker.ready for worker in self._workers):
            self.results("nothing was recorded yet")
            if self.stop.is_set():
                return None
        return self._made

    @property
    def idle(self) -> bool:
        """Whether a worker waits for an episode to record."""
        return not self._again and any(self._is_idle(worker) for worker in self._workers)

    def start(self, index: int) -> None:
        """Have an idle worker record episode `index`."""
        next(filter(self._is_idle, self._workers)).begin(index)

    def steps_played(self) -> int:
        """Steps of the episodes under way."""
        return sum(
            max(0, worker.progress.step) for worker in self._workers if worker.index is not None
        )

    def results(self, stored: str) -> list[tuple[int, Episode | Failure]]:
        """Collect what the workers have finished, by index, waiting for it for a moment.

        Args:
            stored: what an error message says about the data recorded so far.

        Raises:
            RolloutError: no environment can be made, or a policy does not fit it.
        """
        results: list[tuple[int, Episode | Failure]] = []
        by_pipe = {worker.pipe: worker for worker in self._workers}
        for pipe in wait(list(by_pipe), timeout=POLL_SECONDS):
            assert isinstance(pipe, Connection)
            worker = by_pipe[pipe]
            try:
                kind, *content = pipe.recv()
            except (EOFError, OSError):  # it may die in the middle of a message
                kind, content = "died", []
            if kind in ("died", "error") and self.stop.is_set():
                return []
            if kind == "error":
                raise RolloutError(f"{self._settings.env_id}: {content[0]}; {stored}")
            if kind == "died":
                worker.process.join(timeout=CLOSE_SECONDS)
                cause = f"died ({_cause(worker.process.exitcode)})"
                results += self._replace(worker, cause, stored)
            elif kind == "ready":
                worker.ready, self._made = True, Made(*content)
                self._deaths[None] = 0
            else:
                assert worker.index is not None
                results.append((worker.index, content[0]))
                worker.index = None
        for worker in list(self._workers):
            worker.look()
            most = self._timeout if worker.ready else max(self._timeout, MAKING_SECONDS)
            if worker.silent > most:
                results += self._replace(worker, f"hung for {most:g} seconds", stored)
        while self._again and any(map(self._is_idle, self._workers)):
            self.start(self._again.pop(0))
        return results

    def _replace(
        self, worker: _Worker, cause: str, stored: str
    ) -> list[tuple[int, Episode | Failure]]:
        """Put a new process in the place of a dead or hanging one; its episode is tried again.

        Returns the failure if that was the last try.
        """
        where, index = worker.where(), worker.index
        worker.end(0)
        self._deaths[index] += 1
        if index is None and self._deaths[None] >= TRIES:
            doing = "while it was idle" if worker.ready else "while it made the environment"
            at = f" ({where})" if where else ""
            raise RolloutError(
                f"a collection worker of {self._settings.env_id} {cause} {doing}{at}; {stored}; "
                "run the same command again to continue"
            )
        self._workers[self._workers.index(worker)] = self._new_worker()
        if index is None:
            return []
        if self._deaths[index] < TRIES:
            self._again.append(index)
            return []
        seed, spec, _ = self._settings.draw(index)
        reason = f"the collection worker {cause}, {TRIES} times"
        assert self._made is not None
        action = worker.progress.action(isinstance(self._made.actions, Discrete))
        error = EpisodeError(reason, worker.progress.step, action, where)
        return [(index, failure_of(error, index, seed, spec, died=True))]

    def _new_worker(self) -> _Worker:
        self._started += 1
        dump = Path(self._folder.name) / f"{self._started}.txt"
        return _Worker(self._context, self._settings, dump)

    @staticmethod
    def _is_idle(worker: _Worker) -> bool:
        return worker.ready and worker.index is None


def _cause(exit_code: int | None) -> str:
    if exit_code == -9:  # Windows has no signal.SIGKILL
        return "SIGKILL; most often the memory is full: try fewer workers"
    if exit_code is not None and exit_code < 0:
        return signal.Signals(-exit_code).name
    return f"exit code {exit_code}"


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    # Children inherit the environment as it is when they start; numerical libraries read it once.
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
