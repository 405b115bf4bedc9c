"""The actions of the video models' Minecraft: forward, left and right, with turns of 20 degrees."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete

from dreamenv.core.errors import ConfigError, InvalidActionError
from dreamenv.real.minecraft import ACTIONS

TURN = 20.0
"""Degrees that a turn takes in one tick."""


class WalkActions(gymnasium.ActionWrapper[Any, Any, Any]):
    """Offers `Discrete(3, start=1)` in the place of Minecraft's keys: 1 forward, 2 left, 3 right.

    These are the numbers of TECO's Minecraft data, so a world model that learned from those dreams
    this environment too. A turn is one of 20 degrees on the spot; jump is held in all three, as
    there, so that walking climbs. All other keys are left alone.

    Args:
        env: takes a Dict of actions with `forward`, `jump` and `camera`, as MineRL's do.

    Raises:
        ConfigError: it takes others.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        space = env.action_space
        keys = space.spaces if isinstance(space, Dict) else {}
        lacking = [name for name in ("forward", "jump", "camera") if name not in keys]
        if lacking or not isinstance(keys["camera"], Box) or keys["camera"].shape != (2,):
            raise ConfigError(
                f"actions=walk needs the keys forward and jump and a camera of two angles, but the "
                f"actions are {space}; leave it out"
            )
        self._keys = keys
        self._names: dict[str, list[str]] = getattr(env.unwrapped, "names", {})
        self.action_space = Discrete(len(ACTIONS), start=1)

    def get_action_meanings(self) -> list[str]:
        """What each action is called."""
        return [name.upper() for name in ACTIONS]

    def action(self, action: Any) -> dict[str, Any]:
        """Minecraft's keys for an action."""
        if not self.action_space.contains(action):
            raise InvalidActionError(f"Action {action!r} is outside: 1 forward, 2 left, 3 right.")
        way = ACTIONS[int(action) - 1]
        keys = nothing_pressed(self._keys, self._names)
        yaw = {"left": -TURN, "right": TURN}.get(way, 0.0)
        camera = np.array([0.0, yaw], self._keys["camera"].dtype)
        return keys | {"forward": int(way == "forward"), "jump": 1, "camera": camera}


def nothing_pressed(
    keys: dict[str, gymnasium.Space], names: dict[str, list[str]]
) -> dict[str, Any]:
    """The action of Minecraft's keys that does nothing.

    Args:
        keys: spaces of the parts of an action.
        names: of those that are choices: what their numbers are called; `none` does nothing.
    """
    nothing: dict[str, Any] = {}
    for name, space in keys.items():
        if isinstance(space, Discrete):
            called = names.get(name, [])
            nothing[name] = called.index("none") if "none" in called else int(space.start)
        else:
            nothing[name] = np.zeros(space.shape or (), space.dtype)
    return nothing
