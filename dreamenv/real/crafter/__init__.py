"""Crafter: a survival game seen from above, with achievements for rewards and a death to avoid."""

from __future__ import annotations

from dreamenv.real.plugin import EnvironmentId, Family, Parametrized

ACTIONS = (
    "noop", "move_left", "move_right", "move_up", "move_down", "do", "sleep", "place_stone",
    "place_table", "place_furnace", "place_plant", "make_wood_pickaxe", "make_stone_pickaxe",
    "make_iron_pickaxe", "make_wood_sword", "make_stone_sword", "make_iron_sword",
)  # fmt: skip

_RIGHT, _LEFT, _UP, _DOWN = 1073741903, 1073741904, 1073741906, 1073741905  # pygame's arrows

FAMILY = Family(
    name="crafter",
    extra="dreamenv[crafter]",
    ids=(
        EnvironmentId(
            "Pixels-Crafter-v1",
            "dreamenv.real.crafter.env:make",
            {},
            10_000,
            {"gatherer:0.05": 0.5, "gatherer:0.3": 0.2, "sticky:0.8": 0.3},
        ),
    ),
    owns=lambda env_id: env_id.startswith("Pixels-Crafter-"),
    policies={"gatherer": Parametrized("dreamenv.real.crafter.policies:Gatherer", "noise")},
    actions=ACTIONS,
    keys={
        (_LEFT,): 1,
        (_RIGHT,): 2,
        (_UP,): 3,
        (_DOWN,): 4,
        (ord(" "),): 5,
        (ord("z"),): 6,
    },
)
