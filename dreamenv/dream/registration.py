"""Gymnasium ids of the dreamt environments. Imports nothing but Gymnasium."""

from __future__ import annotations

from typing import Any

import gymnasium

BUNDLED_CHECKPOINTS = {"DreamEnv-MemoryMaze-v0": "memory_maze_9x9"}
"""Environment id → folder of its checkpoint under `dreamenv/checkpoints/`."""


def register_dream_envs() -> None:
    """Register `DreamEnv-v0` (any checkpoint) and one id for each bundled checkpoint."""
    entry_points: dict[str, Any] = {
        "entry_point": "dreamenv.dream.env:DreamEnv",
        "vector_entry_point": "dreamenv.dream.vector_env:DreamVectorEnv",
    }
    gymnasium.register("DreamEnv-v0", **entry_points)
    for env_id, name in BUNDLED_CHECKPOINTS.items():
        gymnasium.register(env_id, kwargs={"checkpoint": f"bundled:{name}"}, **entry_points)
