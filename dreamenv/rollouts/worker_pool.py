"""The workers of a collection, seen from the parent."""

from __future__ import annotations

import functools
import threading
from typing import Self

from gymnasium.spaces import Discrete

from dreamenv.core.backends import Backend
from dreamenv.core.errors import DreamEnvError, RolloutError
from dreamenv.core.worker_pool import Lost, WorkerDiedError, WorkerPool
from dreamenv.rollouts.episode import Episode
from dreamenv.rollouts.failure import EpisodeError, Failure, failure_of, line_of_dump
from dreamenv.rollouts.settings import CollectSettings
from dreamenv.rollouts.worker import Made, Recorder

# A worker notices the closed pipe when it next reports; slow environments need a while to close.
CLOSE_SECONDS = 10


class RecordingPool:
    """A fixed number of workers that record episodes; a context manager, as `WorkerPool`.

    Args:
        settings: what the workers record.
        size: how many.
        stop: when set, a worker that fails or dies is no error: the same signal may have hit it.
        timeout: seconds within one step or reset of its environment after which a worker hangs.
        backend: where they run.
    """

    def __init__(
        self,
        settings: CollectSettings,
        size: int,
        stop: threading.Event,
        timeout: float,
        backend: Backend,
    ) -> None:
        self.size = size
        self.stop = stop
        self._settings = settings
        staff = backend.staff(functools.partial(Recorder, settings), CLOSE_SECONDS)
        self._pool = WorkerPool(staff, size, timeout, CLOSE_SECONDS, stop)

    def __enter__(self) -> Self:
        self._pool.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.__exit__(*error)

    def wait_until_ready(self) -> Made | None:
        """Wait until a worker has made its environment.

        Returns what it made, or None if `stop` was set.

        Raises:
            RolloutError: an environment cannot be made or does not fit.
        """
        while not self._pool.ready:
            self.results("nothing was recorded yet")
            if self.stop.is_set():
                return None
        return self._pool.told

    @property
    def idle(self) -> bool:
        """Whether a worker waits for an episode to record."""
        return self._pool.idle

    def start(self, index: int) -> None:
        """Have an idle worker record episode `index`."""
        self._pool.start(index, index)

    def steps_played(self) -> int:
        """Steps of the episodes under way."""
        return sum(max(0, worker.progress.step) for worker in self._pool.at_work)

    def results(self, stored: str) -> list[tuple[int, Episode | Failure]]:
        """Collect what the workers have finished, by index, waiting for it for a moment.

        Args:
            stored: what an error message says about the data recorded so far.

        Raises:
            RolloutError: no environment can be made, or a policy does not fit it.
        """
        env_id = self._settings.env_id
        try:
            results = self._pool.results()
        except WorkerDiedError as error:
            doing = "while it was idle" if error.ready else "while it made the environment"
            where = line_of_dump(error.where)
            at = f" ({where})" if where else ""
            raise RolloutError(
                f"a collection worker of {env_id} {error.cause} {doing}{at}; {stored}; "
                "run the same command again to continue"
            ) from error
        except Exception as error:  # an environment of somebody else's raises whatever it likes
            known = isinstance(error, DreamEnvError)
            text = str(error) if known else f"{type(error).__name__}: {error}"
            raise RolloutError(f"{env_id}: {text}; {stored}") from error
        return [
            (index, self._failure(index, result) if isinstance(result, Lost) else result)
            for index, result in results
        ]

    def _failure(self, index: int, lost: Lost) -> Failure:
        seed, spec, _ = self._settings.draw(index)
        action = lost.progress.action(isinstance(self._pool.told.actions, Discrete))
        reason = f"the collection worker {lost.cause}"
        error = EpisodeError(reason, lost.progress.step, action, line_of_dump(lost.where))
        return failure_of(error, index, seed, spec, died=True)
