"""The two sides of a comparison as vector environments of equal observations and actions."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from dreamenv.dream.vector_env import DreamVectorEnv
from dreamenv.environment_ids import DEAD_WORKER_ERRORS, find_spec, is_dream
from dreamenv.errors import ConfigError

MOST_DREAMS = 16
"""Dreams stepped in one batch: more are hardly faster on a CPU and take more memory."""


def make_dream(
    env_id: str, episodes: int, horizon: int, kwargs: dict[str, Any] | None = None
) -> DreamVectorEnv:
    """Dreams enough to play `episodes` episodes of `horizon` steps in rounds of equal size.

    Raises:
        ConfigError: no dream, or arguments that it does not take or that `gap` sets itself.
        CheckpointError: the checkpoint is missing or damaged.
    """
    spec = find_spec(env_id)
    if not is_dream(spec):
        raise ConfigError(
            f"{env_id} is not a dreamt environment; give DreamEnv-v0 with its checkpoint, or one "
            "of the bundled DreamEnv-...-v0"
        )
    arguments = {**spec.kwargs, **(kwargs or {})}
    arguments.pop("horizon", None)  # the id's own, replaced by the one that both worlds get
    ours = sorted(
        {"horizon", "max_episode_steps", "autoreset_mode", "num_envs"} & set(kwargs or {})
    )
    if ours:
        raise ConfigError(f"leave {ours[0]!r} out of the dream's arguments: it is set here")
    rounds = -(-episodes // MOST_DREAMS)
    try:
        return DreamVectorEnv(
            -(-episodes // rounds),
            horizon=horizon,
            autoreset_mode=AutoresetMode.NEXT_STEP,
            **arguments,
        )
    except TypeError as error:
        raise ConfigError(f"{env_id} does not take the arguments {arguments}: {error}") from error


def make_real(
    env_id: str,
    dream: DreamVectorEnv,
    horizon: int,
    workers: int = 1,
    kwargs: dict[str, Any] | None = None,
) -> VectorEnv:
    """The real environment, checked against the dream of it.

    Args:
        env_id: Gymnasium id, or module:id.
        dream: what it will be compared with.
        horizon: steps that will be played of each episode.
        workers: copies played at once; more than one run in processes of their own.
        kwargs: for the environment.

    Raises:
        ConfigError: other actions or image channels than the dream's, a time limit below
            `horizon`, or arguments that the environment does not take.
    """
    if workers < 1:
        raise ConfigError(f"need at least 1 worker, not {workers}")
    spec = find_spec(env_id)
    limit = spec.max_episode_steps
    if limit is not None and limit < horizon:
        raise ConfigError(
            f"{env_id} ends its episodes after {limit} steps, so {horizon} cannot be played on "
            f"both sides; choose a horizon of at most {limit}"
        )
    # Spawned, not forked: torch and OpenGL in this process do not survive a fork.
    mode, vector_kwargs = ("async", {"context": "spawn"}) if workers > 1 else ("sync", {})
    try:
        env = gymnasium.make_vec(spec, workers, mode, vector_kwargs, **(kwargs or {}))
    except TypeError as error:
        raise ConfigError(f"{env_id} does not take the arguments {kwargs}: {error}") from error
    try:
        _require_alike(env_id, env, dream)
    except ConfigError:
        env.close()
        raise
    return env


def close(env: VectorEnv) -> None:
    """Close an environment, also when some of its processes have died."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a step is under way, which nobody waits for
            env.close()
    except DEAD_WORKER_ERRORS:
        for process in getattr(env, "processes", []):
            process.terminate()
        env.closed = True  # or its destructor would try, and fail, again


def _require_alike(env_id: str, real: VectorEnv, dream: DreamVectorEnv) -> None:
    if real.single_action_space != dream.single_action_space:
        raise ConfigError(
            f"{env_id} takes actions from {real.single_action_space}, the dream from "
            f"{dream.single_action_space}; compare the dream with the environment that its model "
            "was trained on"
        )
    space, shape = real.single_observation_space, dream.single_observation_space.shape
    assert shape is not None
    if space.dtype != np.uint8 or len(space.shape or ()) != 3 or space.shape[-1] != shape[-1]:  # type: ignore[index]
        raise ConfigError(
            f"{env_id} shows {space}, the dream uint8 frames of shape {shape}; compare the dream "
            "with the environment that its model was trained on"
        )
