"""An environment that tells where its walker is: round and round on a circle."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

PLACES = 12


class WalkingEnv(gymnasium.Env):
    """Action 1 goes one place on, others stay; the frame's colour tells the place."""

    metadata = {"render_modes": []}

    def __init__(self) -> None:
        self.observation_space = Box(0, 255, (16, 16, 3), np.uint8)
        self.action_space = Discrete(3)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin at a random place."""
        super().reset(seed=seed)
        self.place = int(self.np_random.integers(PLACES))
        return self._frame(), self._info()

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Go on or stay."""
        self.place = (self.place + int(action == 1)) % PLACES
        return self._frame(), 0.0, False, False, self._info()

    def _frame(self) -> np.ndarray:
        return np.full((16, 16, 3), 255 * self.place // PLACES, np.uint8)

    def _info(self) -> dict[str, Any]:
        angle = 2 * np.pi * self.place / PLACES
        ahead = np.array([np.cos(angle), np.sin(angle)], np.float32)
        return {"agent_pos": 2 + ahead, "agent_dir": ahead}


gymnasium.register("Walking-v0", entry_point="tests.experiments.walking_env:WalkingEnv")
