"""Collecting rollouts in parallel: workers play episodes, the parent stores them in order.

Episode i is a function of the settings and i alone, and episodes are committed in the order of
their indices. So a collection that was interrupted and run again holds the same episodes as one
that was not, whatever the number of workers. A seed that fails is skipped: that is noted with the
episode after it, when that is committed.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dreamenv.core.backends import LOCAL, Backend
from dreamenv.core.errors import RolloutError
from dreamenv.core.interruption import stop_requested
from dreamenv.core.progress import progress_bar
from dreamenv.rollouts.collect_checks import (
    check_settings,
    env_limit,
    find_environment,
    identify_agents,
    require_picture,
)
from dreamenv.rollouts.episode import Episode
from dreamenv.rollouts.failure import EpisodeError, Failure, failure_of
from dreamenv.rollouts.journal import read_journal
from dreamenv.rollouts.pictures import PICTURE
from dreamenv.rollouts.policies import AgentLoader
from dreamenv.rollouts.seeds import SEED_RANGE, fresh_stream
from dreamenv.rollouts.settings import CollectSettings, require_same_settings, stored_settings
from dreamenv.rollouts.worker_pool import RecordingPool
from dreamenv.rollouts.writer import JOURNAL, RolloutWriter

# Finished episodes may have to wait for a slower, earlier one: at most this many per worker.
EPISODES_AHEAD = 4
STEP_TIMEOUT = 600.0
# Failures are skipped until so many come in a row, of which so many killed or hung a process, or
# until more than half of so many or more seeds have failed: then the fault is hardly the seeds'.
MOST_IN_A_ROW, MOST_DEATHS_IN_A_ROW = 10, 3
ENOUGH_TO_JUDGE = 20
# Failures that are told while collecting; `dreamenv inspect` tells all.
MOST_SHOWN = 20


def collect(
    env_id: str,
    frames: int,
    policy: str | Sequence[str] | Mapping[str, float],
    workers: int,
    out: str | Path,
    seed: int | None = None,
    env_kwargs: dict[str, Any] | None = None,
    max_episode_steps: int | None = None,
    record_info: Sequence[str] = (),
    progress: bool = True,
    step_timeout: float = STEP_TIMEOUT,
    *,
    agents: AgentLoader | None = None,
    image_key: str = "",
    backend: Backend = LOCAL,
) -> bool:
    """Record whole episodes until the store at `out` holds at least `frames` steps.

    A store that exists is continued. In a script, call this below `if __name__ == "__main__":`,
    because workers are spawned.

    A seed whose episode fails is skipped: the environment or the policy raises, what comes back
    cannot be recorded, or the process dies or hangs twice. The store says which seeds, and why.

    Args:
        env_id: any Gymnasium id that shows pictures; "module:id" imports a module first.
        frames: environment steps wanted in the store, all runs together.
        policy: a policy spec, several (equally likely), or specs with weights. "agent:PATH" is an
            agent saved by Stable-Baselines3.
        workers: processes, each with its own environment.
        out: folder of the store.
        seed: number of the stream that the episodes' seeds are from, in [0, 2**31). Stores of
            different streams share no episodes, see `dreamenv.rollouts.seeds`; those of the same
            do. None: that of the store, or a fresh one for a new store, which notes it.
        env_kwargs: keyword arguments of `gymnasium.make`, plain data.
        max_episode_steps: cut episodes here and mark them truncated; at most the environment's own
            limit.
        record_info: keys of numeric, fixed-shape infos to record.
        progress: show a progress bar.
        step_timeout: seconds after which a step or a reset of the environment hangs.
        agents: loads policies that are agents. `dreamenv.collect` loads those that are scripted;
            agents=dreamenv.SavedAgents(trust=True) also those whose files could run code.
        image_key: of the entry of `Dict` observations that is the frame, such as "camera/front";
            it may be left out where one entry alone is a picture.
        backend: where the workers run, such as `Backend("ray", "head:6379")`: the episodes are
            the same.

    Returns:
        True when the store holds `frames` steps, False if SIGINT or SIGTERM came before.

    Raises:
        RolloutError: bad arguments, a foreign store, a full disk, an environment that cannot be
            made, or too many failing seeds. Episodes committed before stay stored; the same call
            continues.
    """
    out = Path(out)
    stored, steps = _stored(out)
    weights = _weights(policy)
    settings = CollectSettings(
        env_id,
        weights,
        _stream(seed, stored),
        env_kwargs or {},
        None if max_episode_steps is None else _whole("max_episode_steps", max_episode_steps),
        tuple(record_info),
        agents=identify_agents(weights, agents),
        image_key=image_key,
        loader=agents,
    )
    if stored is not None:
        settings = replace(settings, seeds=stored["seeds"])
    _check_numbers(frames, workers, step_timeout)
    plain = settings.to_plain()
    if stored is not None:
        require_same_settings(stored, plain, out)
        find_environment(env_id)
    else:
        check_settings(settings)
    if steps >= frames:
        return True
    with (
        stop_requested() as stop,
        RecordingPool(settings, workers, stop, step_timeout, backend) as pool,
    ):
        made = pool.wait_until_ready()
        if made is None:
            return False
        about = {"collect": plain, **({PICTURE: made.picture} if made.picture else {})}
        with RolloutWriter(out, env_id, made.frames, made.actions, about) as writer:
            # Another process may have made the store since.
            require_same_settings(stored_settings(writer.metadata, out), plain, out)
            done = min(frames, writer.num_steps)
            with progress_bar(unit=" frames", total=frames, initial=done, show=progress) as bar:
                return _Filling(pool, writer, settings, bar).run(frames)


class _Filling:
    """One run of a collection, from results in any order to commits in order."""

    def __init__(
        self, pool: RecordingPool, writer: RolloutWriter, settings: CollectSettings, bar: tqdm
    ) -> None:
        self._pool, self._writer, self._settings, self._bar = pool, writer, settings, bar
        limit = env_limit(settings.env_id, settings.env_kwargs)
        self._limit = settings.max_episode_steps or limit or 0
        self._finished: dict[int, Episode | Failure] = {}
        self._pending: list[Failure] = []  # since the last committed episode

    @property
    def _next_to_commit(self) -> int:
        return self._writer.num_episodes + self._writer.num_skipped + len(self._pending)

    def run(self, frames: int) -> bool:
        writer, pool = self._writer, self._pool
        next_index = self._next_to_commit
        while writer.num_steps < frames and not pool.stop.is_set():
            while pool.idle and next_index < self._next_to_commit + EPISODES_AHEAD * pool.size:
                if self._expected(next_index) >= frames:
                    break
                pool.start(next_index)
                next_index += 1
            for index, result in pool.results(self._stored()):
                self._finished[index] = result
            while writer.num_steps < frames and self._next_to_commit in self._finished:
                self._commit(self._finished.pop(self._next_to_commit))
            self._show(frames)
        return writer.num_steps >= frames

    def _expected(self, next_index: int) -> float:
        """Steps that there will be when all that was begun is finished, by the mean so far."""
        writer = self._writer
        mean = writer.num_steps / writer.num_episodes if writer.num_episodes else self._limit
        playing = next_index - self._next_to_commit - len(self._finished)
        return writer.num_steps + self._waiting() + max(playing * mean, self._pool.steps_played())

    def _waiting(self) -> int:
        return sum(len(item) for item in self._finished.values() if isinstance(item, Episode))

    def _commit(self, result: Episode | Failure) -> None:
        if isinstance(result, Episode):
            if self._writer.num_episodes == 0:
                self._require_picture(result)
            try:
                self._writer.append(result, self._pending)
                self._pending = []
                return
            except EpisodeError as error:
                index = self._next_to_commit
                seed, _, _ = self._settings.draw(index)
                result = failure_of(error, index, seed, result.policy)
        self._pending.append(result)
        if len(self._pending) + self._writer.num_skipped <= MOST_SHOWN and not self._bar.disable:
            self._bar.write(f"skipped {result}", file=sys.stderr)
        self._require_few()

    def _require_picture(self, first: Episode) -> None:
        try:
            require_picture(first.observation)
        except RolloutError as error:  # no other seed would do better
            raise RolloutError(f"{self._settings.env_id}: {error}; {self._stored()}") from error

    def _require_few(self) -> None:
        streak = self._pending
        failed = self._writer.num_skipped + len(streak)
        tried = self._writer.num_episodes + failed
        if (
            len(streak) >= MOST_IN_A_ROW
            or sum(failure.died for failure in streak) >= MOST_DEATHS_IN_A_ROW
        ):
            # Not committed: where the machine or the environment is mended they will be recorded.
            raise RolloutError(
                f"{self._settings.env_id}: {len(streak)} seeds in a row failed, the first of them "
                f"{streak[0]}; {self._stored()}; mend that, then run the same command again to "
                "continue"
            )
        if tried >= ENOUGH_TO_JUDGE and 2 * failed > tried:
            raise RolloutError(
                f"{self._settings.env_id}: {failed} of {tried} seeds failed, the last of them "
                f"{streak[-1]}; {self._stored()}; mend that, then run the same command again to "
                "continue"
            )

    def _stored(self) -> str:
        writer = self._writer
        return (
            f"{writer.num_steps} frames in {writer.num_episodes} episodes are stored "
            f"in {writer.path}"
        )

    def _show(self, frames: int) -> None:
        writer, bar = self._writer, self._bar
        done = writer.num_steps + self._waiting() + self._pool.steps_played()
        bar.update(max(0, min(done, frames) - bar.n))
        events = 1000 * writer.reward_events / max(1, writer.num_steps)
        failed = writer.num_skipped + len(self._pending)
        bar.set_postfix_str(
            f"{events:.1f} reward events per 1000 steps"
            + (f", {failed} skipped" if failed else ""),
            refresh=False,
        )


def stored_steps(out: str | Path) -> int:
    """Steps in the store at `out`; 0 if there is none."""
    return _stored(Path(out))[1]


def _stored(out: Path) -> tuple[dict[str, Any] | None, int]:
    """The settings that a store at `out` was collected with, None without one, and its steps."""
    if not (out / JOURNAL).exists():
        return None, 0
    header, records, _ = read_journal(out / JOURNAL)
    return stored_settings(header["metadata"], out), sum(record["steps"] for record in records)


def _stream(seed: int | None, stored: dict[str, Any] | None) -> int:
    if seed is None:
        return fresh_stream() if stored is None else stored["seed"]
    seed = _whole("the seed", seed)
    if stored is not None and seed == stored["seed"]:
        return seed
    if not 0 <= seed < SEED_RANGE:
        raise RolloutError(
            f"the seed numbers a stream of episodes and must not be negative nor 2**31 or more: "
            f"{seed}"
        )
    return seed


def _weights(policy: str | Sequence[str] | Mapping[str, float]) -> dict[str, float]:
    if isinstance(policy, str):
        return {policy: 1.0}
    if isinstance(policy, Mapping):
        return dict(policy)
    if len(set(policy)) < len(policy):
        raise RolloutError(f"a policy is given twice: {policy}; give it once with more weight")
    return dict.fromkeys(policy, 1.0)


def _whole(what: str, value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise RolloutError(f"{what} must be a whole number, not {value!r}") from None


def _check_numbers(frames: int, workers: int, step_timeout: float) -> None:
    if _whole("frames", frames) < 1 or _whole("workers", workers) < 1:
        raise RolloutError(f"frames and workers must be at least 1, not {frames} and {workers}")
    if not step_timeout > 0:
        raise RolloutError(f"the step timeout must be more than 0 seconds, not {step_timeout}")
