"""Minecraft, through MineRL: its own process, in the Python that has it.

MineRL asks for a gym below 0.20 and a Java 8, so it is served by `dreamenv.real.other_python`.
`MineRL-v0` makes any other id of MineRL: `game=MineRLNavigateVectorObf-v0`, or an id of a module
that registers its own: `game=my_tasks:MyTask-v0`.
"""

from __future__ import annotations

from dreamenv.real.plugin import EnvironmentId, Family, Parametrized

STEPS = {
    "MineRLNavigate-v0": 6000,
    "MineRLNavigateDense-v0": 6000,
    "MineRLNavigateExtreme-v0": 6000,
    "MineRLNavigateExtremeDense-v0": 6000,
    "MineRLTreechop-v0": 8000,
    "MineRLObtainIronPickaxe-v0": 6000,
    "MineRLObtainIronPickaxeDense-v0": 6000,
    "MineRLObtainDiamond-v0": 18000,
    "MineRLObtainDiamondDense-v0": 18000,
    "MineRLObtainDiamondShovel-v0": None,
    "MineRLBasaltFindCave-v0": 3600,
    "MineRLBasaltMakeWaterfall-v0": 6000,
    "MineRLBasaltCreateVillageAnimalPen-v0": 6000,
    "MineRLBasaltCreatePlainsAnimalPen-v0": 6000,
    "MineRLBasaltBuildVillageHouse-v0": 14400,
}
"""Id → steps of an episode as MineRL 0.4.4 has them, None where the game itself says it."""
ACTIONS = ("forward", "left", "right")
"""What 1, 2 and 3 of `actions=walk` are called."""
_RIGHT, _LEFT, _UP = 1073741903, 1073741904, 1073741906  # pygame's codes of the arrows
WANDER = {"wander:0.05": 1.0}

FAMILY = Family(
    name="minecraft",
    extra="dreamenv[minerl]",
    ids=(
        *(
            EnvironmentId(name, "dreamenv.real.minecraft.env:make", {"game": name}, steps, WANDER)
            for name, steps in STEPS.items()
        ),
        EnvironmentId("MineRL-v0", "dreamenv.real.minecraft.env:make", {"game": ""}, None, WANDER),
    ),
    owns=lambda env_id: env_id.startswith("MineRL"),
    actions=ACTIONS,
    keys={(_UP,): 0, (_LEFT,): 1, (_RIGHT,): 2, (ord("w"),): 0, (ord("a"),): 1, (ord("d"),): 2},
    policies={"wander": Parametrized("dreamenv.real.minecraft.policies:Wanderer", "noise")},
)
