"""The two sides of a comparison: dreams and a real environment of equal observations, actions."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Space
from gymnasium.vector import AutoresetMode

from dreamenv.core.deprecation import current_names
from dreamenv.core.environment_ids import find_spec, is_dream
from dreamenv.core.errors import ConfigError
from dreamenv.dream.arguments import RENAMED
from dreamenv.dream.registration import DEFAULT_CHECKPOINT
from dreamenv.dream.spaces import observation_space
from dreamenv.dream.spawns import Spawns
from dreamenv.dream.vector_env import DreamVectorEnv

MOST_DREAMS = 16
"""Dreams stepped in one batch: more are hardly faster on a CPU and take more memory."""
SET_HERE = (
    "num_envs",
    "horizon",
    "max_episode_steps",
    "autoreset_mode",
    "spawns",
    "observation",
    "min_trust",
)
"""Arguments of a dream that a comparison decides."""


def dream_arguments(env_id: str, kwargs: dict[str, Any] | None = None) -> dict[str, Any]:
    """The arguments that make a dream of an id, without those decided by the comparison.

    Raises:
        ConfigError: no dream, or an argument that is not the caller's to give.
    """
    spec = find_spec(env_id)
    if not is_dream(spec):
        raise ConfigError(
            f"{env_id} is not a dreamt environment; give DreamEnv-v0 with its checkpoint, or one "
            "of the bundled DreamEnv-...-v0"
        )
    ours = sorted(set(SET_HERE) & set(kwargs or {}))
    if ours:
        raise ConfigError(f"leave {ours[0]!r} out of the dream's arguments: it is set here")
    registered, given = (current_names(found, **RENAMED) for found in (spec.kwargs, kwargs or {}))
    own = {name: value for name, value in registered.items() if name not in SET_HERE}
    return {"checkpoint": DEFAULT_CHECKPOINT, **own, **given}


def make_dream(
    env_id: str, arguments: dict[str, Any], spawns: Spawns, horizon: int, observation: str
) -> DreamVectorEnv:
    """Dreams enough to play from every spawn in rounds of equal size.

    Raises:
        ConfigError: arguments that a dream does not take.
        CheckpointError: the checkpoint is missing or damaged.
    """
    rounds = -(-len(spawns) // MOST_DREAMS)
    try:
        return DreamVectorEnv(
            -(-len(spawns) // rounds),
            horizon=horizon,
            autoreset_mode=AutoresetMode.NEXT_STEP,
            spawns=spawns,
            observation=observation,
            **arguments,
        )
    except TypeError as error:
        raise ConfigError(f"{env_id} does not take the arguments {arguments}: {error}") from error


def require_alike(
    spec: EnvSpec, observations: Space, actions: Space, dream: DreamVectorEnv
) -> None:
    """Check the spaces of a real environment against a dream's.

    Raises:
        ConfigError: other actions or image channels.
    """
    advice = "compare the dream with the environment that its model was trained on"
    if actions != dream.single_action_space:
        raise ConfigError(
            f"{spec.id} takes actions from {actions}, the dream from {dream.single_action_space}; "
            f"{advice}"
        )
    shape = observation_space(dream.loaded.model, "frame").shape
    assert shape is not None
    found = observations.shape or ()
    if observations.dtype != np.uint8 or len(found) != 3 or found[-1] != shape[-1]:
        raise ConfigError(
            f"{spec.id} shows {observations}, the dream uint8 frames of shape {shape}; {advice}"
        )


def require_limit(spec: EnvSpec, steps: int) -> None:
    """Check that an environment's own time limit leaves room for `steps` from its reset.

    Raises:
        ConfigError: it does not.
    """
    limit = spec.max_episode_steps
    if limit is not None and limit < steps:
        raise ConfigError(
            f"{spec.id} ends its episodes after {limit} steps, but {steps} are to be played from "
            "its reset, those that lead to a spawn included; choose a shorter horizon or an "
            "earlier --latest-start"
        )
