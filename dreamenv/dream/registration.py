"""Gymnasium ids of the dreamt environments. Imports nothing but Gymnasium."""

from __future__ import annotations

from typing import Any

import gymnasium

from dreamenv.real.plugin import default_checkpoint, families

BUNDLED: dict[str, dict[str, Any]] = {
    env_id: dict(arguments) for family in families() for env_id, arguments in family.dreams.items()
}
"""Id of a bundled dream → its arguments; checkpoints stand under `dreamenv/checkpoints/`."""
DEFAULT_CHECKPOINT = default_checkpoint()


def register_dream_envs() -> None:
    """Register `DreamEnv-v0` (any checkpoint) and one id for each bundled checkpoint."""
    entry_points: dict[str, Any] = {
        "entry_point": "dreamenv.dream.env:DreamEnv",
        "vector_entry_point": "dreamenv.dream.vector_env:DreamVectorEnv",
    }
    gymnasium.register("DreamEnv-v0", **entry_points)
    for env_id, arguments in BUNDLED.items():
        gymnasium.register(env_id, kwargs=dict(arguments), **entry_points)


def registered() -> list[str]:
    """The ids of the dreamt environments.

    The entry point of the group `gymnasium.envs`, for programs that load environments by it.
    Importing this package, which happens on the way here, has registered all of its ids.
    Gymnasium itself stopped loading entry points with 1.0; its way is "dreamenv:Id-v0".
    """
    return ["DreamEnv-v0", *BUNDLED]
