"""MiniGrid: rooms of cells seen from above, small enough to learn in minutes."""

from __future__ import annotations

from dreamenv.real.plugin import EnvironmentId, Family, Parametrized

ACTIONS = ("left", "right", "forward", "pickup", "drop", "toggle", "done")
MOVE, HANDLE = (0, 1, 2), (0, 1, 2, 3, 5)
ROOMS = {
    "Empty-5x5": (100, MOVE),
    "Empty-Random-5x5": (100, MOVE),
    "Empty-8x8": (256, MOVE),
    "FourRooms": (100, MOVE),
    "MemoryS7": (245, MOVE),
    "DoorKey-8x8": (640, HANDLE),
}
"""Room → steps of an episode, as its own time limit has them, and the actions that matter."""

_RIGHT, _LEFT, _UP = 1073741903, 1073741904, 1073741906  # pygame's codes of the arrows

FAMILY = Family(
    name="minigrid",
    extra="dreamenv[minigrid]",
    ids=tuple(
        EnvironmentId(
            f"Pixels-MiniGrid-{name}-v0",
            "dreamenv.real.minigrid.env:make",
            {"game": f"MiniGrid-{name}-v0", "actions": actions},
            steps,
            {"gridwise:0.1": 0.4, "gridwise:0.3": 0.3, "sticky:0.5": 0.3},
        )
        for name, (steps, actions) in ROOMS.items()
    ),
    owns=lambda env_id: env_id.startswith("Pixels-MiniGrid-"),
    policies={"gridwise": Parametrized("dreamenv.real.minigrid.policies:Gridwise", "noise")},
    actions=ACTIONS[:3],
    keys={(_LEFT,): 0, (_RIGHT,): 1, (_UP,): 2, (ord("a"),): 0, (ord("d"),): 1, (ord("w"),): 2},
    pose=("agent_pos", "agent_dir"),
    with_pose="Pixels-MiniGrid-Empty-8x8-v0",
)
