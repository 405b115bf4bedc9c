"""An environment of a few hundred bytes whose episodes are functions of seed and actions."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray

ACTIONS = 3
SIZE, PLACES = 48, 16


class LittleEnv(gymnasium.Env):
    """A bright square that actions move over a background of the episode; 20 to 40 steps."""

    metadata = {"render_modes": []}

    def __init__(self) -> None:
        self.observation_space = Box(0, 255, (SIZE, SIZE, 3), np.uint8)
        self.action_space = Discrete(ACTIONS)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray, dict[str, Any]]:
        """Begin at a place that the seed decides."""
        super().reset(seed=seed)
        self._ground = self.np_random.integers(0, 200, 3)
        self._place, self._left = int(self.np_random.integers(PLACES)), 20
        self._left += int(self.np_random.integers(20))
        return self._look(), {}

    def step(self, action: int) -> tuple[NDArray, float, bool, bool, dict[str, Any]]:
        """Move; a reward for reaching the right edge."""
        self._place = (self._place + int(action) - 1) % PLACES
        self._left -= 1
        return self._look(), float(self._place == PLACES - 1), self._left == 0, False, {}

    def _look(self) -> NDArray:
        frame = np.empty((SIZE, SIZE, 3), np.uint8)
        frame[:] = self._ground
        frame[16:32, 3 * self._place : 3 * self._place + 3] = 255
        return frame


gymnasium.register("Little-v0", LittleEnv)
