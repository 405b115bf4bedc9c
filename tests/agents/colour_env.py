"""A small image environment that a policy learns in seconds."""

from __future__ import annotations

import os
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

EPISODE_LENGTH = 16
COLOURS = np.array([[255, 0, 0], [0, 0, 255]], dtype=np.uint8)


class ColourEnv(gymnasium.Env):
    """Shows red or blue. Action 0 at red and action 1 at blue pay 1; all else pays nothing.

    Args:
        random: draw each colour; otherwise they alternate and all episodes are the same.
        dies_at: end the whole process at this step of the environment's life.
        size: height and width of the frames.
    """

    action_space = spaces.Discrete(3)

    def __init__(self, random: bool = False, dies_at: int | None = None, size: int = 36) -> None:
        self.observation_space = spaces.Box(0, 255, (size, size, 3), np.uint8)
        self.random = random
        self.dies_at = dies_at
        self.age = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.step_number = 0
        return self._show(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.age += 1
        if self.age == self.dies_at:
            os._exit(1)
        reward = float(action == self.colour)
        self.step_number += 1
        return self._show(), reward, False, self.step_number == EPISODE_LENGTH, {}

    def _show(self) -> np.ndarray:
        self.colour = int(self.np_random.integers(2)) if self.random else self.step_number % 2
        return np.broadcast_to(COLOURS[self.colour], self.observation_space.shape).copy()


def register() -> None:
    """Register the ids that the tests use."""
    variants: dict[str, dict[str, Any]] = {
        "Colour-v0": {},
        "RandomColour-v0": {"random": True},
        "DyingColour-v0": {"dies_at": 100},
    }
    for env_id, kwargs in variants.items():
        if env_id not in gymnasium.registry:
            gymnasium.register(env_id, entry_point=ColourEnv, kwargs=kwargs)
