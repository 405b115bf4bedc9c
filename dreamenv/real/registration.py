"""Gymnasium ids of the real environments. Imports Gymnasium only, never a simulator."""

from __future__ import annotations

import gymnasium

# Steps per episode for each maze size. 9x9 and larger are those of the Memory Maze benchmark;
# 7x7 is ours, built by the same generator, and half as long as 9x9.
EPISODE_STEPS = {7: 500, 9: 1000, 11: 2000, 13: 3000, 15: 4000}


def register_real_envs() -> None:
    """Register `MemoryMaze-{size}-v0` and `MemoryMaze-{size}-ExtraObs-v0`; safe to call twice."""
    for size, steps in EPISODE_STEPS.items():
        for suffix, extra_obs in (("", False), ("-ExtraObs", True)):
            name = f"MemoryMaze-{size}x{size}{suffix}-v0"
            if name in gymnasium.registry:
                continue
            gymnasium.register(
                id=name,
                entry_point="dreamenv.real.memory_maze.env:MemoryMazeEnv",
                kwargs={"size": size, "extra_obs": extra_obs},
                max_episode_steps=steps,
                # The environment itself refuses a step before reset and says what to do.
                order_enforce=False,
            )
