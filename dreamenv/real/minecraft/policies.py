"""A policy that walks through Minecraft."""

from __future__ import annotations

from typing import Any, TypeVar

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict

from dreamenv.core.errors import EnvironmentUsageError
from dreamenv.real.minecraft.actions import TURN, WalkActions, nothing_pressed
from dreamenv.real.noise import NoisyPolicy
from dreamenv.real.stacked_steps import StackedSteps

W = TypeVar("W", bound=gymnasium.Wrapper)
_REPEATS = 5
"""Steps that a drawn way is kept for."""
_FORWARD = 0.5


class Wanderer(NoisyPolicy):
    """Keeps a drawn way for five steps: forward half of the time, else a turn of up to 20 degrees.

    Takes the keys of MineRL, jumping as it walks and looking level, or those of `WalkActions`.
    Keys at random would look around by up to 180 degrees a tick and get nowhere.

    Args:
        noise: chance, at every step, that a burst of 2 to 8 steps of other keys begins: attack,
            use, back and to the side, looking up and down by a little.
    """

    name = "wander"

    def __init__(self, noise: float = 0.05) -> None:
        super().__init__(noise)

    def reset(self, env: gymnasium.Env[Any, Any], seed: int) -> None:
        """Begin an episode.

        Raises:
            EnvironmentUsageError: `env` takes other actions than Minecraft's.
        """
        stack = wrapper_of(env, StackedSteps)
        self._every = 1 if stack is None else stack.every
        each = env if stack is None else stack.env
        super().reset(each, seed)
        space = each.action_space
        self._walks = wrapper_of(each, WalkActions) is not None
        self._keys = space.spaces if isinstance(space, Dict) else {}
        if not self._walks and not {"forward", "jump", "camera"} <= set(self._keys):
            raise EnvironmentUsageError(
                f"the policy 'wander' walks through Minecraft, and not by actions {space}; use "
                "sticky"
            )
        self._names = getattr(env.unwrapped, "names", {})
        self._left, self._way = 0, 0.0

    def act(self, observation: np.ndarray) -> Any:
        """The next action, or a tuple of as many as the environment takes at once."""
        chosen = tuple(NoisyPolicy.act(self, observation) for _ in range(self._every))
        return chosen[0] if self._every == 1 else chosen

    def _choose(self) -> Any:
        if not self._left:
            self._left = _REPEATS
            forward = self._random.random() < _FORWARD
            turn = float(self._random.choice([-1.0, 1.0])) * TURN
            if not self._walks:
                turn *= self._random.random()
            self._way = 0.0 if forward else turn
        self._left -= 1
        if self._walks:
            return 1 if not self._way else 2 if self._way < 0 else 3
        return self._pressed(self._way, forward=int(not self._way), jump=1)

    def _at_random(self, space: gymnasium.Space) -> Any:
        if self._walks:
            return super()._at_random(space)
        names = ("attack", "use", "back", "left", "right", "sprint", "sneak")
        there = [name for name in names if name in self._keys]
        keys = {str(self._random.choice(there)): 1} if there else {}
        action = self._pressed(float(self._random.normal() * TURN / 2), **keys)
        action["camera"][0] = np.clip(self._random.normal() * 2.0, -10.0, 10.0)
        return action

    def _pressed(self, yaw: float, **keys: int) -> dict[str, Any]:
        action = nothing_pressed(self._keys, self._names) | keys
        camera = self._keys["camera"]
        assert isinstance(camera, Box)
        action["camera"] = np.array([0.0, yaw], camera.dtype)
        return action


def wrapper_of(env: gymnasium.Env[Any, Any], kind: type[W]) -> W | None:
    """The outermost wrapper of a kind around an environment."""
    while isinstance(env, gymnasium.Wrapper):
        if isinstance(env, kind):
            return env
        env = env.env
    return None
