"""MiniWorld: first-person rooms and corridors with things to find."""

from __future__ import annotations

from dreamenv.real.plugin import EnvironmentId, Family, Parametrized

WORLDS = {
    "Hallway": 250,
    "OneRoom": 180,
    "FourRooms": 250,
    "TMaze": 280,
    "YMaze": 280,
    "MazeS3": 300,
    "WallGap": 300,
}
"""World → steps of an episode, as the world's own time limit has them."""
ACTIONS = ("left", "right", "forward")

_RIGHT, _LEFT, _UP = 1073741903, 1073741904, 1073741906  # pygame's codes of the arrows

FAMILY = Family(
    name="miniworld",
    extra="dreamenv[miniworld]",
    ids=tuple(
        EnvironmentId(
            f"Pixels-MiniWorld-{name}-v0",
            "dreamenv.real.miniworld.env:make",
            {"game": f"MiniWorld-{name}-v0"},
            steps,
            {"approach:0.05": 0.4, "approach:0.2": 0.3, "sticky:0.8": 0.3},
        )
        for name, steps in WORLDS.items()
    ),
    owns=lambda env_id: env_id.startswith("Pixels-MiniWorld-"),
    policies={"approach": Parametrized("dreamenv.real.miniworld.policies:Approach", "noise")},
    actions=ACTIONS,
    keys={(_LEFT,): 0, (_RIGHT,): 1, (_UP,): 2, (ord("a"),): 0, (ord("d"),): 1, (ord("w"),): 2},
    pose=("agent_pos", "agent_dir"),
    with_pose="Pixels-MiniWorld-Hallway-v0",
)
