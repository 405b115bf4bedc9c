"""Collecting rollouts in parallel: workers play episodes, the parent stores them in order.

Episode i is a function of the settings and i alone, and episodes are committed in the order of
their indices. So a collection that was interrupted and run again holds the same episodes as one
that was not, whatever the number of workers.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gymnasium
from tqdm import tqdm

from dreamenv.core.errors import RolloutError
from dreamenv.core.interruption import stop_requested
from dreamenv.rollouts.episode import Episode
from dreamenv.rollouts.policies import make_policy
from dreamenv.rollouts.worker import CollectSettings
from dreamenv.rollouts.worker_pool import Crew
from dreamenv.rollouts.writer import RolloutWriter

# Finished episodes may have to wait for a slower, earlier one: at most this many per worker.
EPISODES_AHEAD = 4


def collect(
    env_id: str,
    frames: int,
    policy: str | Sequence[str] | Mapping[str, float],
    workers: int,
    out: str | Path,
    seed: int = 0,
    env_kwargs: dict[str, Any] | None = None,
    max_episode_steps: int | None = None,
    record_info: Sequence[str] = (),
    progress: bool = True,
) -> bool:
    """Record whole episodes until the store at `out` holds at least `frames` steps.

    A store that exists is continued. In a script, call this below `if __name__ == "__main__":`,
    because workers are spawned.

    Args:
        env_id: any Gymnasium id with uint8 image observations; "module:id" imports a module first.
        frames: environment steps wanted in the store, all runs together.
        policy: a policy spec, several (equally likely), or specs with weights.
        workers: processes, each with its own environment.
        out: folder of the store.
        seed: decides, together with an episode's index, that episode.
        env_kwargs: keyword arguments of `gymnasium.make`, plain data.
        max_episode_steps: cut episodes here and mark them truncated.
        record_info: keys of numeric, fixed-shape infos to record.
        progress: show a progress bar.

    Returns:
        True when the store holds `frames` steps, False if SIGINT or SIGTERM came before.

    Raises:
        RolloutError: bad arguments, a foreign store, a full disk, a failing environment or a
            killed worker. Episodes committed before stay stored; the same call continues.
    """
    settings = CollectSettings(
        env_id, _weights(policy), seed, env_kwargs or {}, max_episode_steps, tuple(record_info)
    )
    _check_arguments(settings, frames, workers)
    with stop_requested() as stop, Crew(settings, workers, stop) as crew:
        ready = crew.wait_until_ready()
        if ready is None:
            return False
        observation_space, action_space, limit = ready
        # Lists, not tuples: metadata is compared with its copy read back from JSON.
        plain = {**asdict(settings), "record_info": list(settings.record_info)}
        metadata = {"collect": plain}
        with RolloutWriter(out, env_id, observation_space, action_space, metadata) as writer:
            _require_same_settings(writer, plain)
            count = {"total": frames, "initial": min(frames, writer.num_steps)}
            with tqdm(**count, unit=" frames", disable=not progress, smoothing=0.05) as bar:
                return _fill(crew, writer, frames, limit, bar)


def _fill(
    crew: Crew,
    writer: RolloutWriter,
    frames: int,
    limit: int | None,
    bar: tqdm,
) -> bool:
    next_index = writer.num_episodes
    playing: dict[int, int] = {}  # episode index -> steps reported so far
    finished: dict[int, Episode] = {}
    while writer.num_steps < frames and not crew.stop.is_set():
        waiting_steps = sum(map(len, finished.values()))
        while crew.idle and next_index < writer.num_episodes + EPISODES_AHEAD * crew.size:
            # The mean length so far tells whether another episode will be needed at all.
            mean = writer.num_steps / writer.num_episodes if writer.num_episodes else limit or 0
            expected = sum(max(mean, steps) for steps in playing.values())
            if writer.num_steps + waiting_steps + expected >= frames:
                break
            crew.start(next_index)
            playing[next_index] = 0
            next_index += 1
        stored = f"{writer.num_steps} frames in {writer.num_episodes} episodes are stored"
        for kind, index, value in crew.messages(f"{stored} in {writer.path}"):
            if kind == "steps":
                playing[index] += value
            else:
                del playing[index]
                finished[index] = value
        while writer.num_steps < frames and writer.num_episodes in finished:
            writer.append(finished.pop(writer.num_episodes))
        done = writer.num_steps + sum(playing.values()) + sum(map(len, finished.values()))
        bar.update(min(done, frames) - bar.n)
        events = 1000 * writer.reward_events / max(1, writer.num_steps)
        bar.set_postfix_str(f"{events:.1f} reward events per 1000 steps", refresh=False)
    return writer.num_steps >= frames


def _weights(policy: str | Sequence[str] | Mapping[str, float]) -> dict[str, float]:
    if isinstance(policy, str):
        return {policy: 1.0}
    if isinstance(policy, Mapping):
        return dict(policy)
    return dict.fromkeys(policy, 1.0)


def _check_arguments(settings: CollectSettings, frames: int, workers: int) -> None:
    if frames < 1 or workers < 1:
        raise RolloutError(f"frames and workers must be at least 1, not {frames} and {workers}")
    if settings.seed < 0:
        raise RolloutError(f"the seed must not be negative: {settings.seed}")
    if settings.max_episode_steps is not None and settings.max_episode_steps < 1:
        raise RolloutError(f"episodes need at least 1 step, not {settings.max_episode_steps}")
    weights = settings.policies.values()
    if not settings.policies or min(weights) < 0 or not 0 < sum(weights) < float("inf"):
        raise RolloutError(f"policies need weights of 0 or more, not all 0: {settings.policies}")
    for spec in settings.policies:
        make_policy(spec)
    module, _, env_id = settings.env_id.rpartition(":")
    try:
        if module:
            importlib.import_module(module)
        gymnasium.spec(env_id)
    except (gymnasium.error.Error, ImportError) as error:
        raise RolloutError(
            f"{error} Write 'module:id' for an id that is registered when a module is imported."
        ) from None


def _require_same_settings(writer: RolloutWriter, settings: dict[str, Any]) -> None:
    stored = writer.metadata.get("collect")
    if stored is None:
        raise RolloutError(f"{writer.path} was not made by collect; choose another --out")
    for key, value in settings.items():
        if stored.get(key) != value:
            raise RolloutError(
                f"{writer.path} was collected with {key} = {stored.get(key)}, not {value}; "
                "repeat that to continue it, or choose another --out"
            )
