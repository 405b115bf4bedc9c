"""Crafter as a Gymnasium environment."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from dreamenv.core.errors import EnvironmentUsageError
from dreamenv.real.crafter import ACTIONS
from dreamenv.real.pictures import SIZE, Pictures, need


def make(size: int = SIZE, render_mode: str | None = None) -> Pictures:
    """Crafter: frames (size, size, 3), seventeen actions.

    Reward: 1.0 for each achievement that is new in the episode, 0.1 for each point of health won
    or lost. An episode terminates when the player dies.

    Args:
        size: of frames, in pixels.
        render_mode: None or "rgb_array".
    """
    return Pictures(CrafterEnv(size), size, "", ACTIONS, None, 10, render_mode)


class CrafterEnv(gymnasium.Env[np.ndarray, np.int64]):
    """The game itself, whose seed is an argument of its constructor and not of `reset`.

    Args:
        size: of frames, in pixels.

    Raises:
        MissingDependencyError: the package `crafter` is not installed.
    """

    def __init__(self, size: int = SIZE) -> None:
        crafter = need("crafter", "Crafter", "dreamenv[crafter]")
        self.game: Any = crafter.Env(size=(size, size), length=0, seed=0)
        self.observation_space = spaces.Box(0, 255, (size, size, 3), np.uint8)
        self.action_space = spaces.Discrete(len(ACTIONS))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode in the world that the seed makes. `options` is not used."""
        super().reset(seed=seed)
        self.game._seed, self.game._episode = int(self.np_random.integers(2**31 - 1)), 0
        frame = self.game.reset()
        # Crafter keeps what lives in a part of the world in sets, which Python orders by address:
        # the same seed and actions would come out differently in another process.
        world = self.game._world
        order = {id(thing): index for index, thing in enumerate(world._objects)}
        world._chunks = defaultdict(
            _Ordered,
            {
                place: _Ordered(sorted(things, key=lambda each: order[id(each)]))
                for place, things in world._chunks.items()
            },
        )
        return frame, {}

    def step(self, action: np.int64 | int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Take one action."""
        if self.game._step is None:
            raise EnvironmentUsageError("call reset before step")
        frame, reward, _, info = self.game.step(int(action))
        return frame, float(reward), info["discount"] == 0, False, {}


class _Ordered(dict):
    """A set in the order of its additions, as far as Crafter uses one."""

    def __init__(self, things: Any = ()) -> None:
        super().__init__((id(thing), thing) for thing in things)

    def __iter__(self) -> Any:
        return iter(self.values())

    def __contains__(self, thing: Any) -> bool:
        return super().__contains__(id(thing))

    def add(self, thing: Any) -> None:
        self[id(thing)] = thing

    def remove(self, thing: Any) -> None:
        del self[id(thing)]
