"""Memory Maze (Pasukonis et al., 2022): everything that this package knows about it.

This file names it; what is heavy stands in the other files and is imported when it is needed.
"""

from __future__ import annotations

from dreamenv.real.plugin import EnvironmentId, Family, Parametrized

# Steps per episode for each maze size. 9x9 and larger are those of the Memory Maze benchmark;
# 7x7 is ours, built by the same generator, and half as long as 9x9.
EPISODE_STEPS = {7: 500, 9: 1000, 11: 2000, 13: 3000, 15: 4000}

ACTIONS = ("noop", "forward", "left", "right", "forward+left", "forward+right")

# pygame's codes of the arrows, which must not need pygame to be looked up.
_RIGHT, _LEFT, _UP = 1073741903, 1073741904, 1073741906

FAMILY = Family(
    name="memory_maze",
    extra="dreamenv[memory-maze]",
    ids=tuple(
        EnvironmentId(
            f"MemoryMaze-{size}x{size}{suffix}-v0",
            "dreamenv.real.memory_maze.env:MemoryMazeEnv",
            {"size": size, "extra_obs": extra_obs},
            steps,
        )
        for size, steps in EPISODE_STEPS.items()
        for suffix, extra_obs in (("", False), ("-ExtraObs", True))
    ),
    owns=lambda env_id: env_id.startswith("MemoryMaze-"),
    dreams={
        "DreamEnv-MemoryMaze-v0": {
            "checkpoint": "bundled:memory_maze_9x9",
            "horizon": EPISODE_STEPS[9],
        },
    },
    policies={
        "wandering": Parametrized("dreamenv.real.memory_maze.policies:WanderingPolicy"),
        "out_and_back": Parametrized(
            "dreamenv.real.memory_maze.policies:OutAndBackPolicy", "noise"
        ),
        "secluded": Parametrized(
            "dreamenv.real.memory_maze.secluded_policy:SecludedPolicy", "steps"
        ),
        "goal": Parametrized("dreamenv.real.memory_maze.policies:GoalSeekingPolicy", "noise"),
    },
    agents={
        "wall": "dreamenv.real.memory_maze.agents:WallAgent",
        "seek": "dreamenv.real.memory_maze.agents:SeekAgent",
    },
    actions=ACTIONS,
    turning=("left", "right", "noop"),
    keys={
        (ord("w"),): 1,
        (ord("a"),): 2,
        (ord("d"),): 3,
        (ord("w"), ord("a")): 4,
        (ord("w"), ord("d")): 5,
        (_UP,): 1,
        (_LEFT,): 2,
        (_RIGHT,): 3,
        (_UP, _LEFT): 4,
        (_UP, _RIGHT): 5,
    },
    pose=("agent_pos", "agent_dir"),
    with_pose="MemoryMaze-7x7-ExtraObs-v0",
    cues="dreamenv.real.memory_maze.cues",
)
