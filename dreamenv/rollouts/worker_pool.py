"""The worker processes of a collection, seen from the parent."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import gymnasium

from dreamenv.core.errors import RolloutError
from dreamenv.rollouts.worker import STOP_SIGNALS, CollectSettings, run_worker

POLL_SECONDS = 0.5
# A worker notices the closed pipe when it next reports; slow environments need a while to close.
CLOSE_SECONDS = 10
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Crew:
    """A fixed number of workers; a context manager that never leaves one behind.

    Args:
        settings: what the workers record.
        size: number of processes.
        stop: when set, a worker that fails or dies is no error: the same signal may have hit it.

    Attributes:
        idle: workers that wait for an episode to record.
    """

    def __init__(self, settings: CollectSettings, size: int, stop: threading.Event) -> None:
        self.size = size
        self.stop = stop
        self.idle: list[Connection] = []
        self._settings = settings
        self._processes: dict[Connection, BaseProcess] = {}

    def __enter__(self) -> Crew:
        # spawn: a fork would share the parent's rendering contexts and threads.
        context = multiprocessing.get_context("spawn")
        with _one_thread_each(), _signals_held_back():
            for _ in range(self.size):
                ours, theirs = context.Pipe()
                arguments = (theirs, self._settings)
                process = context.Process(target=run_worker, args=arguments)
                process.start()
                theirs.close()
                self._processes[ours] = process
        return self

    def __exit__(self, *error: object) -> None:
        for pipe in self._processes:
            pipe.close()
        for process in self._processes.values():
            process.join(timeout=CLOSE_SECONDS)
            if process.is_alive():
                process.kill()
                process.join()

    def wait_until_ready(self) -> tuple[gymnasium.Space, gymnasium.Space, int | None] | None:
        """Wait until every worker has made its environment.

        Returns its observation space, action space and step limit, or None if `stop` was set.

        Raises:
            RolloutError: an environment cannot be made or does not fit.
        """
        answers: list[Any] = []
        while len(answers) < self.size:
            answers += self.messages("nothing was recorded yet")
            if self.stop.is_set():
                return None
        self.idle = list(self._processes)
        _, observation_space, action_space, limit = answers[0]
        return observation_space, action_space, limit

    def start(self, index: int) -> None:
        """Have an idle worker record episode `index`."""
        with contextlib.suppress(BrokenPipeError):  # a dead worker is reported by `messages`
            self.idle.pop().send(index)

    def messages(self, stored: str) -> list[Any]:
        """Collect what the workers have sent, waiting for it for a moment.

        Args:
            stored: what an error message says about the data recorded so far.

        Raises:
            RolloutError: a worker died or its environment failed.
        """
        received = []
        for pipe in wait(list(self._processes), timeout=POLL_SECONDS):
            assert isinstance(pipe, Connection)
            try:
                message = pipe.recv()
            except (EOFError, ConnectionResetError):
                message = ("died",)
            if message[0] in ("died", "error"):
                if self.stop.is_set():
                    return []
                raise RolloutError(self._explain(pipe, message, stored))
            if message[0] == "episode":
                self.idle.append(pipe)
            received.append(message)
        return received

    def _explain(self, pipe: Connection, message: Any, stored: str) -> str:
        if message[0] == "error":
            return f"{self._settings.env_id}: {message[1]}; {stored}"
        process = self._processes[pipe]
        process.join(timeout=CLOSE_SECONDS)
        return (
            f"a collection worker died ({_cause(process.exitcode)}); {stored}; "
            "run the same command again to continue"
        )


def _cause(exit_code: int | None) -> str:
    if exit_code == -9:  # Windows has no signal.SIGKILL
        return "SIGKILL; most often the memory was full: try fewer workers"
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


@contextlib.contextmanager
def _signals_held_back() -> Iterator[None]:
    # Children inherit the mask and lift it when they are ready for signals; see `run_worker`.
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
