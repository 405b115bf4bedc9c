"""Policies that know the way, and see what lies beside it by bursts of random actions."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

from dreamenv.core.errors import ConfigError, EnvironmentUsageError

_SHORTEST, _LONGEST = 2, 8
_KEEP = 0.7  # chance, in a burst, to repeat the action of the step before


class NoisyPolicy:
    """Plays as a subclass chooses; now and then come 2 to 8 random, mostly repeated actions.

    Args:
        noise: chance, at every step outside a burst, that one begins; 0 never, 1 always.

    Raises:
        ConfigError: that is no chance.
    """

    name = "noisy"

    def __init__(self, noise: float) -> None:
        if not 0.0 <= noise <= 1.0:
            raise ConfigError(f"noise is a chance from 0 to 1, not {noise!r}.")
        self.noise = noise
        self._space: gymnasium.Space | None = None

    def reset(self, env: gymnasium.Env[Any, Any], seed: int) -> None:
        """Begin an episode of an environment that was just reset, with its own random stream."""
        self._random = np.random.default_rng(seed)
        self._space, self._burst, self._action = env.action_space, 0, None

    def act(self, observation: np.ndarray) -> Any:
        """The next action. The observation is not looked at."""
        if self._space is None:
            raise EnvironmentUsageError("act() was called before reset(env, seed).")
        if self._burst == 0 and self._random.random() < self.noise:
            self._burst = int(self._random.integers(_SHORTEST, _LONGEST + 1))
            self._action = self._at_random(self._space)
        if self._burst == 0:
            return self._choose()
        self._burst -= 1
        if self._random.random() > _KEEP:
            self._action = self._at_random(self._space)
        return self._action

    def _choose(self) -> Any:
        """The action outside of bursts."""
        raise NotImplementedError

    def _at_random(self, space: gymnasium.Space) -> Any:
        if isinstance(space, Box):
            return self._random.uniform(space.low, space.high).astype(space.dtype)
        assert isinstance(space, Discrete)
        return int(space.start + self._random.integers(space.n))
