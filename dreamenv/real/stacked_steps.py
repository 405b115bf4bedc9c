"""`StackedSteps`: several steps of an environment as one."""

from __future__ import annotations

from typing import Any

import gymnasium
from gymnasium.spaces import Tuple

from dreamenv.core.errors import ConfigError, InvalidActionError


class StackedSteps(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Takes a tuple of `every` actions, one after the other, and shows what came of the last.

    Rewards are added up. An episode that ends on the way leaves the rest untaken. Rollouts of it
    are like imported ones of which every k-th frame was kept (`dreamenv.rollouts.thinning`).

    Args:
        env: the environment.
        every: steps at once, at least 2.

    Raises:
        ConfigError: that is no such number.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], every: int) -> None:
        super().__init__(env)
        if type(every) is not int or every < 2:
            raise ConfigError(f"every is a number of steps, 2 or more, not {every!r}")
        self.every = every
        self.action_space = Tuple((env.action_space,) * every)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take the actions.

        Raises:
            InvalidActionError: they are not as many, or one is outside the action space.
        """
        if not self.action_space.contains(action):
            raise InvalidActionError(f"Action {action!r} is outside {self.action_space}.")
        total = 0.0
        for each in action:
            observation, reward, terminated, truncated, info = self.env.step(each)
            total += float(reward)
            if terminated or truncated:
                break
        return observation, total, terminated, truncated, info
