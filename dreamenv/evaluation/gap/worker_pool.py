"""Several workers that play in the real environment, or this process alone."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, Self

import torch

from dreamenv.core.backends import LOCAL, Backend
from dreamenv.core.errors import ConfigError, DreamEnvError
from dreamenv.core.worker_pool import Lost, WorkerPool
from dreamenv.core.worker_process import Note
from dreamenv.evaluation.gap.real_player import RealPlayer
from dreamenv.evaluation.gap.real_world import RealWorld

CLOSE_SECONDS = 10.0


class PlayerPool:
    """A worker pool of a real environment: tasks go in, results come as they are ready.

    With one worker on this machine everything happens in this process. Otherwise each is a process
    of its own, spawned: use it below `if __name__ == "__main__":` in a script. What a worker was
    doing when it died is done again by another.

    Raises:
        ConfigError: fewer workers than one.
    """

    def __init__(self, world: RealWorld, workers: int = 1, backend: Backend = LOCAL) -> None:
        if workers < 1:
            raise ConfigError(f"need at least 1 worker, not {workers}")
        self.workers, self.backend = workers, backend
        self._world = world
        self._pool: WorkerPool | None = None
        self._here: RealPlayer | None = None
        self._stack = ExitStack()

    def run(self, method: Callable[[RealPlayer, Any], Any], tasks: Sequence[Any]) -> Iterator[Any]:
        """`method` of `RealPlayer` on every task, in any order.

        Raises:
            DreamEnvError: the same task has killed its process again and again.
        """
        if not tasks:
            return
        if self.workers == 1 and self.backend.is_local:
            self._here = self._here or RealPlayer(self._world)
            for task in tasks:
                yield method(self._here, task)
            return
        if self._pool is None:
            staff = self.backend.staff(functools.partial(_Playing, self._world), 0.0)
            self._pool = self._stack.enter_context(
                WorkerPool(staff, self.workers, patience=CLOSE_SECONDS)
            )
        for _, result in self._pool.run([(method.__name__, task) for task in tasks]):
            if isinstance(result, Lost):
                raise DreamEnvError(
                    f"a process of the real environment {result.cause}; run the same command again "
                    "to continue, with fewer workers if it dies again"
                )
            yield result

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is not None and self._pool is not None:
            self._pool.patience = 0.0  # what they are doing is lost, and nobody waits for it
        self.close()

    def close(self) -> None:
        """End the processes."""
        self._stack.close()
        if self._here is not None:
            self._here.close()


class _Playing:
    """What lives in a worker: a player whose methods are called by name."""

    def __init__(self, world: RealWorld, note: Note) -> None:
        torch.set_num_threads(1)  # the workers share the cores among themselves
        self._player = RealPlayer(world)

    def told(self) -> None:
        """Nothing."""

    def do(self, task: tuple[str, Any]) -> Any:
        """Call the method of that name."""
        name, argument = task
        return getattr(self._player, name)(argument)

    def close(self) -> None:
        """Free the environment."""
        self._player.close()
