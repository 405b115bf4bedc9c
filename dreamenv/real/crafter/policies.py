"""A policy that gathers and crafts by the ground truth, for collecting rollouts."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from dreamenv.core.errors import EnvironmentUsageError
from dreamenv.real.crafter import ACTIONS
from dreamenv.real.noise import NoisyPolicy

_FACING = {(-1, 0): "move_left", (1, 0): "move_right", (0, -1): "move_up", (0, 1): "move_down"}
_SIGHT = 12  # cells to look for something
_PATIENCE = 40  # steps after which another thing is looked for


class Gatherer(NoisyPolicy):
    """Walks to a drawn kind of thing nearby and uses it; makes and places what it can.

    Args:
        noise: chance, at every step, that a burst of 2 to 8 random actions begins.
    """

    name = "gatherer"

    def __init__(self, noise: float = 0.1) -> None:
        super().__init__(noise)

    def reset(self, env: gymnasium.Env[Any, Any], seed: int) -> None:
        """Begin an episode.

        Raises:
            EnvironmentUsageError: `env` is no Crafter.
        """
        self._game: Any = getattr(env.unwrapped, "game", None)
        if not hasattr(self._game, "_player"):
            raise EnvironmentUsageError(f"the policy 'gatherer' plays Crafter, not {env!r}")
        super().reset(env, seed)
        self._target: tuple[int, int] | None = None
        self._steps = 0

    def _choose(self) -> Any:
        """Return the number of an action."""
        return ACTIONS.index(self._wanted())

    def _wanted(self) -> str:
        player, random = self._game._player, self._random
        has = player.inventory
        if player.sleeping or (has["energy"] < 3 and random.random() < 0.5):
            return "sleep"
        self._steps += 1
        if self._steps % 5 == 0 and (made := self._make(has)):
            return made
        if self._target is None or self._steps > _PATIENCE or not self._still_there():
            self._target, self._steps = self._look_around(has), 1
        if self._target is None:
            return str(random.choice(list(_FACING.values())))
        return self._go()

    def _make(self, has: Any) -> str:
        near, _ = self._game._world.nearby(self._game._player.pos, 1)
        table, furnace = "table" in near, "furnace" in near
        can = [
            (has["sapling"] > 0, "place_plant"),
            (has["wood"] >= 2 and not table and not has["wood_pickaxe"], "place_table"),
            (table and has["wood"] and not has["wood_pickaxe"], "make_wood_pickaxe"),
            (table and has["wood"] and not has["wood_sword"], "make_wood_sword"),
            (table and has["wood"] and has["stone"] and not has["stone_pickaxe"],
             "make_stone_pickaxe"),
            (table and has["wood"] and has["stone"] and not has["stone_sword"],
             "make_stone_sword"),
            (table and has["stone"] >= 4 and not furnace, "place_furnace"),
            (has["stone"] > 1, "place_stone"),
        ]  # fmt: skip
        options = [name for possible, name in can if possible]
        return str(self._random.choice(options)) if options else ""

    def _look_around(self, has: Any) -> tuple[int, int] | None:
        """The nearest of a drawn kind of thing."""
        kinds = ["tree", "tree", "grass", "cow", "zombie"]
        if has["drink"] < 7:
            kinds += ["water"] * 3
        if has["wood_pickaxe"]:
            kinds += ["stone"] * 3 + ["coal"]
        kind = str(self._random.choice(kinds))
        world, (x, y) = self._game._world, self._game._player.pos
        best: tuple[float, tuple[int, int]] | None = None
        for dx in range(-_SIGHT, _SIGHT + 1):
            for dy in range(-_SIGHT, _SIGHT + 1):
                cell, away = (int(x) + dx, int(y) + dy), abs(dx) + abs(dy)
                if away and (best is None or away < best[0]) and self._is(world, cell, kind):
                    best = float(away), cell
        self._kind = kind
        return None if best is None else best[1]

    def _is(self, world: Any, cell: tuple[int, int], kind: str) -> bool:
        material, thing = world[cell]
        return (type(thing).__name__.lower() if thing is not None else material) == kind

    def _still_there(self) -> bool:
        assert self._target is not None
        return self._is(self._game._world, self._target, self._kind)

    def _go(self) -> str:
        assert self._target is not None
        player = self._game._player
        way = np.array(self._target) - player.pos
        if abs(way).sum() == 1:
            facing = (int(way[0]), int(way[1]))
            return "do" if tuple(player.facing) == facing else _FACING[facing]
        # Along the longer way, and around what stands there by chance.
        along = int(abs(way[1]) > abs(way[0]))
        if self._random.random() < 0.25:
            along = 1 - along
        step = [0, 0]
        step[along] = int(np.sign(way[along])) or int(self._random.choice([-1, 1]))
        return _FACING[step[0], step[1]]
