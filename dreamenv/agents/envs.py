"""From an environment id to a Stable-Baselines3 VecEnv, whether it is dreamt or simulated."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import gymnasium
from stable_baselines3.common.env_util import make_vec_env as make_sb3_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv

from dreamenv.agents.repeatable import RepeatableEpisodes
from dreamenv.core.environment_ids import find_spec, is_dream, worker_died
from dreamenv.core.errors import ConfigError, DreamEnvError
from dreamenv.dream.registration import DEFAULT_CHECKPOINT
from dreamenv.rollouts.pictures import FrameObservation, Picture


def make_vec_env(
    env_id: str,
    num_envs: int,
    seed: int,
    env_kwargs: dict[str, Any],
    memory_from: str | None = None,
    repeatable: bool = False,
    frames_from: str | None = None,
) -> VecEnv:
    """Make `num_envs` copies that report episode returns; copy i is seeded with `seed + i`.

    A dream steps all copies in one batch; a simulator gets one process per copy (none for one).

    Args:
        env_id: dreamt or real.
        num_envs: how many.
        seed: of the first.
        env_kwargs: of the environment.
        memory_from: checkpoint of a world model that watches all copies of a real environment;
            observations are then those of its dreams with `observation="memory"`.
        repeatable: let episodes of real environments be played again (`RepeatableEpisodes`).
        frames_from: checkpoint of a world model whose dreams show the frames that real
            environments are to show as well (`dreamenv.dream.frames.WithFrames`).

    Raises:
        ConfigError: unknown id, arguments that the environment does not take, or a world model
            of another environment.
        DreamEnvError: whatever the environment itself refuses (a missing extra, a checkpoint).
    """
    spec = find_spec(env_id)
    try:
        if is_dream(spec):
            from dreamenv.dream.sb3 import make_dream_vec_env

            return make_dream_vec_env(spec.id, num_envs, seed=seed, **env_kwargs)
        # Made once here, so that a mistake is reported by itself and not as a dead worker.
        made = gymnasium.make(spec, **env_kwargs)
        made.close()
    except TypeError as error:
        raise ConfigError(f"{env_id} does not take the arguments {env_kwargs}: {error}") from error
    shown = None
    if frames_from is not None and memory_from is None:
        from dreamenv.dream.frames import frames_of_dreams

        shown = frames_of_dreams(frames_from, made.observation_space)
    env = make_sb3_vec_env(
        # The spec travels to the worker: there, the id itself may not be registered.
        partial(gymnasium.make, spec),
        n_envs=num_envs,
        seed=seed,
        env_kwargs=env_kwargs,
        wrapper_class=partial(_wrapped, shown=shown, repeatable=repeatable),
        vec_env_cls=DummyVecEnv if num_envs == 1 else SubprocVecEnv,
    )
    if memory_from is None:
        return env
    from dreamenv.dream.sb3 import VecWithMemory

    try:
        return VecWithMemory(env, memory_from)
    except DreamEnvError:
        close(env)
        raise


def _wrapped(
    env: gymnasium.Env, shown: tuple[str, tuple[int, int]] | None, repeatable: bool
) -> gymnasium.Env:
    """A real environment that shows frames of an entry and a size, and can be repeated."""
    if shown is not None:
        key, size = shown
        picture = Picture.of(env.observation_space, key)
        if not picture.is_plain or picture.space.shape[:2] != size:
            env = FrameObservation(env, key, size)
    return RepeatableEpisodes(env) if repeatable else env


def dreamt_frames(*envs: tuple[str, Mapping[str, Any]]) -> str | None:
    """The checkpoint whose frames a real environment is to show beside a dream of it.

    Args:
        envs: id and arguments of each, trained and evaluated in.

    Returns:
        That of the dream, if one of them is one and another is not; else None.
    """
    found = [(find_spec(name), kwargs) for name, kwargs in envs]
    dreams = [(spec, kwargs) for spec, kwargs in found if is_dream(spec)]
    if len(dreams) in (0, len(found)):
        return None
    spec, kwargs = dreams[0]
    return str({"checkpoint": DEFAULT_CHECKPOINT, **spec.kwargs, **kwargs}["checkpoint"])


def close(env: VecEnv) -> None:
    """Close the environments, also when some of their processes have died."""
    try:
        env.close()
    except (EOFError, OSError) as error:
        if not worker_died(error):
            raise
        for process in getattr(env.unwrapped, "processes", []):
            process.terminate()
