"""Several processes that play in the real environment, or this one alone."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess
from typing import Any, Self

import torch

from dreamenv.core.errors import ConfigError, DreamEnvError
from dreamenv.core.interruption import (
    end_with_parent,
    leave_signals_to_parent,
    signals_held_back,
)
from dreamenv.evaluation.gap.real_player import RealPlayer
from dreamenv.evaluation.gap.real_world import RealWorld

_player: RealPlayer | None = None


class PlayerPool:
    """A worker pool of a real environment: tasks go in, results come as they are ready.

    With one worker everything happens in this process. With more, each is a process of its own,
    spawned and not forked, since torch and OpenGL here would not survive that: use it below
    `if __name__ == "__main__":` in a script.

    Raises:
        ConfigError: fewer workers than one.
    """

    def __init__(self, world: RealWorld, workers: int = 1) -> None:
        if workers < 1:
            raise ConfigError(f"need at least 1 worker, not {workers}")
        self.workers = workers
        self._world = world
        self._pool: ProcessPoolExecutor | None = None
        self._here: RealPlayer | None = None

    def run(self, method: Callable[[RealPlayer, Any], Any], tasks: Sequence[Any]) -> Iterator[Any]:
        """`method` of `RealPlayer` on every task, in any order.

        Raises:
            DreamEnvError: a process died.
        """
        if self.workers == 1:
            self._here = self._here or RealPlayer(self._world)
            for task in tasks:
                yield method(self._here, task)
            return
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self.workers, multiprocessing.get_context("spawn"), _start, (self._world,)
            )
        futures: list[Future[Any]] = []
        try:
            with signals_held_back():  # processes are started here
                futures = [self._pool.submit(_run, method.__name__, task) for task in tasks]
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise DreamEnvError(
                "a process of the real environment died (killed, or out of memory?); run the same "
                "command again, with fewer workers if it dies again"
            ) from error
        finally:
            for future in futures:
                future.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is not None:  # what they are doing is lost, and nobody waits for it
            for process in list(self._processes.values()):
                process.kill()
        self.close()

    @property
    def _processes(self) -> Mapping[int, BaseProcess]:
        return getattr(self._pool, "_processes", None) or {}

    def close(self) -> None:
        """Wait for what the processes are doing, and end them."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        if self._here is not None:
            self._here.close()


def _start(world: RealWorld) -> None:
    global _player
    leave_signals_to_parent()
    end_with_parent()
    torch.set_num_threads(1)  # the workers share the cores among themselves
    _player = RealPlayer(world)


def _run(method: str, task: Any) -> Any:
    assert _player is not None
    return getattr(_player, method)(task)
