"""Luanti (formerly Minetest): a voxel world of our own in it, and all that is known about it.

This file names it; what is heavy stands in the other files and is imported when it is needed.
"""

from __future__ import annotations

from dreamenv.real.plugin import EnvironmentId, Family, Parametrized

EPISODE_STEPS = 500

WALKS = {"errand:0.05": 0.4, "errand:0.2": 0.2, "ramble:0.05": 0.3, "sticky:0.8": 0.1}
ACTIONS = ("forward", "left", "right")
"""Those of the paper's Minecraft data; a turn is one of 20 degrees."""

# pygame's codes of the arrows, which must not need pygame to be looked up.
_RIGHT, _LEFT, _UP = 1073741903, 1073741904, 1073741906

FAMILY = Family(
    name="luanti",
    extra="dreamenv",
    ids=(
        EnvironmentId("Luanti-v0", "dreamenv.real.luanti.env:LuantiEnv", {}, EPISODE_STEPS, WALKS),
    ),
    owns=lambda env_id: env_id.startswith("Luanti-"),
    policies={
        "errand": Parametrized("dreamenv.real.luanti.policies:ErrandPolicy", "noise"),
        "ramble": Parametrized("dreamenv.real.luanti.policies:RamblePolicy", "noise"),
    },
    actions=ACTIONS,
    keys={
        (ord("w"),): 0,
        (ord("a"),): 1,
        (ord("d"),): 2,
        (_UP,): 0,
        (_LEFT,): 1,
        (_RIGHT,): 2,
    },
    pose=("agent_pos", "agent_dir"),
    with_pose="Luanti-v0",
)
