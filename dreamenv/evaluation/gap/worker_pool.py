"""Several processes that play in the real environment, or this one alone."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import torch

from dreamenv.core.errors import ConfigError, DreamEnvError
from dreamenv.evaluation.gap.real_player import RealPlayer, RealWorld

_player: RealPlayer | None = None


class RealCrew:
    """Hands tasks to as many players as there are workers; results come as they are ready.

    With one worker everything happens in this process. With more, each is a process of its own,
    spawned and not forked, since torch and OpenGL here would not survive that: use it below
    `if __name__ == "__main__":` in a script.

    Raises:
        ConfigError: fewer workers than one.
    """

    def __init__(self, world: RealWorld, workers: int = 1) -> None:
        if workers < 1:
            raise ConfigError(f"need at least 1 worker, not {workers}")
        self._world, self._workers = world, workers
        self._pool: ProcessPoolExecutor | None = None
        self._here: RealPlayer | None = None

    def run(self, method: Callable[[RealPlayer, Any], Any], tasks: Sequence[Any]) -> Iterator[Any]:
        """`method` of `RealPlayer` on every task, in any order.

        Raises:
            DreamEnvError: a process died.
        """
        if self._workers == 1:
            self._here = self._here or RealPlayer(self._world)
            for task in tasks:
                yield method(self._here, task)
            return
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self._workers, multiprocessing.get_context("spawn"), _start, (self._world,)
            )
        futures: list[Future[Any]] = []
        try:
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

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        if self._here is not None:
            self._here.close()


def _start(world: RealWorld) -> None:
    global _player
    torch.set_num_threads(1)  # the workers share the cores among themselves
    _player = RealPlayer(world)


def _run(method: str, task: Any) -> Any:
    assert _player is not None
    return getattr(_player, method)(task)
