"""Jobs of a grid on the machines of a cluster, which share its folders."""

from __future__ import annotations

import functools
import platform
from contextlib import ExitStack
from typing import Any, Self

from dreamenv.core.backends import Backend
from dreamenv.core.errors import ConfigError, DreamEnvError
from dreamenv.core.worker_pool import Lost, WorkerPool
from dreamenv.core.worker_process import Note, to_send
from experiments.grid import Grid
from experiments.job import Job
from experiments.preparation import PREPARED
from experiments.work import train_and_measure


class ClusterCrew:
    """Workers that each do one job at a time; a context manager.

    A job whose worker or machine is lost is begun again elsewhere, and goes on from its last
    checkpoint.

    Args:
        grid: of the jobs; its folders lie on a disk that all machines share, at the same path.
        backend: where the workers run.
        workers: how many.
        cpus: cores, and threads, of each.
        gpus: of each.
    """

    def __init__(
        self, grid: Grid, backend: Backend, workers: int, cpus: int = 1, gpus: float = 0.0
    ) -> None:
        staff = backend.staff(functools.partial(Trainer, grid), 0.0, cpus, gpus)
        self._pool = WorkerPool(staff, workers)
        self._stack = ExitStack()
        self._jobs: dict[int, Job] = {}

    def __enter__(self) -> Self:
        self._stack.enter_context(self._pool)
        while not self._pool.ready:
            self._pool.results()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @property
    def idle(self) -> bool:
        """Whether a worker waits for a job."""
        return self._pool.idle

    def start(self, job: Job) -> None:
        """Begin a job."""
        number = len(self._jobs)
        self._jobs[number] = job
        self._pool.start(number, job)

    def finished(self) -> list[tuple[Job, dict[str, Any] | Exception]]:
        """The scores of jobs that were finished since the last call, or why they failed."""
        results = self._pool.results()
        return [
            (self._jobs[number], DreamEnvError(told.cause) if isinstance(told, Lost) else told)
            for number, told in results
        ]


class Trainer:
    """What lives in a worker: it trains and measures.

    Raises:
        ConfigError: the grid's folder is not to be seen from this machine.
    """

    def __init__(self, grid: Grid, note: Note) -> None:
        if not (grid.out / PREPARED).exists():
            raise ConfigError(
                f"{platform.node()} does not see {grid.out.absolute()}; --out and --rollouts must "
                "lie on a disk that all machines share, at the same path"
            )
        self._grid = grid

    def told(self) -> None:
        """Nothing."""

    def do(self, job: Job) -> dict[str, Any] | Exception:
        """The scores of a job, or why it failed."""
        try:
            return train_and_measure(self._grid, job)
        except Exception as error:
            return to_send(error)

    def close(self) -> None:
        """Nothing is left to free."""
