"""Bursts of random actions, by which policies that know the way see what lies beside it."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import Space
from gymnasium.spaces import Box, Discrete

from dreamenv.core.errors import ConfigError

_LONGEST = 8
_KEEP = 0.7  # chance, in a burst, to repeat the action of the step before


class Bursts:
    """Now and then, 2 to 8 random and mostly repeated actions.

    Args:
        noise: chance, at every step outside a burst, that one begins; 0 never, 1 always.

    Raises:
        ConfigError: that is no chance.
    """

    def __init__(self, noise: float) -> None:
        if not 0.0 <= noise <= 1.0:
            raise ConfigError(f"noise is a chance from 0 to 1, not {noise!r}.")
        self.noise = noise

    def reset(self, space: Space, seed: int) -> None:
        """Begin an episode with its own random stream."""
        self.random = np.random.default_rng(seed)
        self._space, self._left, self._action = space, 0, None

    def next(self) -> Any:
        """The action of a burst, or None outside of one."""
        if not self._left:
            if self.random.random() >= self.noise:
                return None
            self._left, self._action = int(self.random.integers(2, _LONGEST + 1)), None
        self._left -= 1
        if self._action is None or self.random.random() >= _KEEP:
            self._action = self._draw()
        return self._action

    def _draw(self) -> Any:
        space = self._space
        if isinstance(space, Box):
            return self.random.uniform(space.low, space.high).astype(space.dtype)
        assert isinstance(space, Discrete)
        return int(space.start + self.random.integers(space.n))
