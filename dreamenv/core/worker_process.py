"""A process that does tasks, seen from its parent and from within."""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import pickle
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext
from pathlib import Path
from typing import Any, Protocol, Self

from dreamenv.core.errors import DreamEnvError
from dreamenv.core.interruption import (
    end_with_parent,
    leave_signals_to_parent,
    signals_held_back,
)
from dreamenv.core.worker_progress import Progress

POLL_SECONDS = 0.5
# How long a dying process may take to be gone, and a hanging one to write down where it hangs.
DEATH_SECONDS, DUMP_SECONDS = 10, 2
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

Note = Callable[[int, Any], None]
"""(step, action) → None: says that there is progress."""


class Servant(Protocol):
    """What lives in a worker's process and does its tasks, one after the other."""

    def told(self) -> Any:
        """What the parent is told once, before the first task."""

    def do(self, task: Any) -> Any:
        """The result of a task. An error is raised in the parent, and is the end of the work."""

    def close(self) -> None:
        """Free what it holds."""


Make = Callable[[Note], Servant]
"""Makes a servant, in any process: can be pickled."""


class ProcessWorker:
    """A worker process of this machine, as its parent knows it.

    Attributes:
        task: its number and what it is; None if it does none.
        ready: whether its servant is made.
        silent: seconds without a sign of progress.
        progress: what it has noted.
    """

    def __init__(
        self, context: SpawnContext, make: Make, dump: Path, patience: float, threads: int
    ) -> None:
        self.task: tuple[int, Any] | None = None
        self.ready = False
        self.progress = Progress(context)
        self.silent, self._count, self._looked = 0.0, -1.0, time.monotonic()
        self._dump = dump
        self.pipe, theirs = context.Pipe()
        arguments = (theirs, make, self.progress, dump, patience)
        self.process = context.Process(target=run_worker, args=arguments)
        with _threads(threads), signals_held_back():
            self.process.start()
        theirs.close()

    def begin(self, number: int, task: Any) -> None:
        """Send it a task."""
        self.task = number, task
        self.progress.clear()
        with contextlib.suppress(BrokenPipeError):  # a dead worker is found when it is listened to
            self.pipe.send(task)

    def receive(self) -> bytes:
        """What it has to say, pickled: ("ready", told), ("done", result), ("error", error) or
        ("died", how)."""
        try:
            return self.pipe.recv_bytes()
        except (EOFError, OSError):  # it may die in the middle of a message
            self.process.join(timeout=DEATH_SECONDS)
            return pickle.dumps(("died", f"died ({_cause(self.process.exitcode)})"))

    def look(self) -> None:
        """Note whether there was progress since the last look."""
        now, count = time.monotonic(), self.progress.count
        idle = self.ready and self.task is None
        if idle or count != self._count:
            self.silent = 0.0
        else:
            # No more than two polls at once: this process may have been stopped itself.
            self.silent += min(now - self._looked, 2 * POLL_SECONDS)
        self._count, self._looked = count, now

    def where(self) -> str:
        """The stack of the process when it died, or of now, as `faulthandler` writes it."""
        if self.process.is_alive() and hasattr(signal, "SIGUSR1"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid or 0, signal.SIGUSR1)
            deadline = time.monotonic() + DUMP_SECONDS
            while not self._read_dump().endswith("\n") and time.monotonic() < deadline:
                time.sleep(0.05)
        return self._read_dump()

    def close(self, patience: float) -> None:
        """Tell it that there is no more to do; `end` waits for that."""
        self.pipe.close()

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


class Processes:
    """Workers as processes of this machine; a context manager.

    They are spawned: a fork would share rendering contexts and threads. `ProcessPoolExecutor` does
    not serve, because the death of one process ends all of its.

    Args:
        make: makes the servant of each.
        patience: seconds that they have to come to an end when their parent is gone.
        threads: of numerical libraries in each.
    """

    def __init__(self, make: Make, patience: float, threads: int = 1) -> None:
        self._make, self._patience, self._threads = make, patience, threads
        self._context = multiprocessing.get_context("spawn")
        self._started = 0

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="dreamenv-workers-")
        return self

    def __exit__(self, *error: object) -> None:
        self._folder.cleanup()

    def new(self) -> ProcessWorker:
        """Start one more."""
        self._started += 1
        dump = Path(self._folder.name) / f"{self._started}.txt"
        return ProcessWorker(self._context, self._make, dump, self._patience, self._threads)

    def wait(
        self, workers: Sequence[ProcessWorker], seconds: float
    ) -> Iterator[tuple[ProcessWorker, bytes]]:
        """Who has said something, and what (`ProcessWorker.receive`), within some seconds."""
        by_pipe = {worker.pipe: worker for worker in workers}
        for pipe in wait(list(by_pipe), timeout=seconds):
            assert isinstance(pipe, Connection)
            yield by_pipe[pipe], by_pipe[pipe].receive()


def run_worker(
    connection: Connection, make: Make, progress: Progress, dump: Path, patience: float
) -> None:
    """Do the tasks that arrive on `connection`, until it is closed.

    Args:
        connection: to the parent.
        make: makes the servant that does them.
        progress: where it notes every step.
        dump: file for the stack of a process that crashes, or is asked for it by SIGUSR1.
        patience: seconds to come to an end in when the parent is gone.
    """
    leave_signals_to_parent()  # a worker stops when its pipe closes
    end_with_parent(patience)
    with open(dump, "w", encoding="utf-8") as file:
        faulthandler.enable(file, all_threads=False)
        if hasattr(faulthandler, "register"):  # not on Windows
            faulthandler.register(signal.SIGUSR1, file, all_threads=False)
        try:
            _serve(connection, make, progress)
        except (EOFError, BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
            pass  # the parent is gone, or wants no more, and with it the reason to go on
        except Exception as error:
            with contextlib.suppress(BrokenPipeError):
                connection.send(("error", to_send(error)))
        finally:
            faulthandler.disable()
            if hasattr(faulthandler, "unregister"):
                faulthandler.unregister(signal.SIGUSR1)


def _serve(connection: Connection, make: Make, progress: Progress) -> None:
    servant = make(progress.note)
    try:
        connection.send(("ready", servant.told()))
        while True:
            connection.send(("done", servant.do(connection.recv())))
    finally:
        servant.close()


def to_send(error: Exception) -> Exception:
    """The error as another process can read it; a foreign one tells where it was raised."""
    if not isinstance(error, DreamEnvError):
        error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
        return error
    except Exception:
        return DreamEnvError(f"{type(error).__name__}: {error}")


def _cause(exit_code: int | None) -> str:
    if exit_code == -9:  # Windows has no signal.SIGKILL
        return "SIGKILL; most often the memory is full: try fewer workers"
    if exit_code is not None and exit_code < 0:
        return signal.Signals(-exit_code).name
    return f"exit code {exit_code}"


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    # Children inherit the environment as it is when they start; numerical libraries read it once.
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(count)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
