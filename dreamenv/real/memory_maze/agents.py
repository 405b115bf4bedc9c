"""Scripted agents for Memory Maze that see what any agent sees, and so play in dreams too."""

from __future__ import annotations

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from dreamenv.core.errors import ConfigError

Observation = NDArray | dict[str, NDArray]
"""Of N episodes: frames (N, H, W, C), or a dictionary with `frame`."""

FORWARD, LEFT, RIGHT, FORWARD_LEFT, FORWARD_RIGHT = 1, 2, 3, 4, 5


class WallAgent:
    """Goes forward in Memory Maze until the picture stands still, which tells a wall, and turns.

    Args:
        name: how reports call it.
        action_space: Memory Maze's.
        seed: of its turns, which go to either side.

    Raises:
        ConfigError: another action space.
    """

    observation = "frame"
    STILL = 3.0
    """Mean change of a pixel, 0 … 255, below which a step forward met a wall."""
    TURNS = 3, 10
    """Fewest and most steps of a turn; a full circle takes about 20."""

    def __init__(self, name: str, action_space: spaces.Space, seed: int) -> None:
        if action_space != spaces.Discrete(6):
            raise ConfigError(f"{name} takes Memory Maze's six actions, not {action_space}")
        self.name = name
        self._seed = seed
        self.reset()

    def reset(self, seed: int | None = None) -> None:
        """Forget everything, as if newly made, with another seed if one is given."""
        self._seed = self._seed if seed is None else seed
        self._generator = np.random.default_rng([self._seed, 1])
        self._before: NDArray | None = None

    def act(self, observation: Observation, episode_start: NDArray[np.bool_]) -> NDArray:
        """Actions of all episodes, (N,) int64."""
        frames = observation["frame"] if isinstance(observation, dict) else observation
        frames, count = np.asarray(frames, np.float32), len(episode_start)
        if self._before is None or len(self._before) != count:
            self._before = frames
            self._turning = np.zeros(count, np.int64)
            self._side, self._walked = np.full(count, LEFT), np.zeros(count, np.bool_)
        begun = np.asarray(episode_start, np.bool_)
        still = np.abs(frames - self._before).mean((1, 2, 3)) < self.STILL
        blocked = still & self._walked & ~begun
        lengths = self._generator.integers(*self.TURNS, size=count, endpoint=True)
        sides = self._generator.choice([LEFT, RIGHT], size=count)
        self._turning = np.where(blocked, lengths, np.where(begun, 0, self._turning))
        self._side = np.where(blocked, sides, self._side)
        actions = np.where(self._turning > 0, self._side, self._walk(frames))
        self._turning = np.maximum(self._turning - 1, 0)
        self._before, self._walked = frames, ~np.isin(actions, (LEFT, RIGHT))
        return actions

    def _walk(self, frames: NDArray[np.float32]) -> NDArray[np.int64]:
        """Where to go if there is no wall in the way."""
        return np.full(len(frames), FORWARD)


class SeekAgent(WallAgent):
    """A `WallAgent` that steers to the target it is asked for, while it sees it.

    The border shows the target's colour. Pixels of that hue below the horizon, with none above
    them, are of a target and not of a wall.
    """

    HUE = 0.12
    """Largest distance of a pixel from the border's hue, as a share of the pixel's length."""
    DIMMEST = 0.4
    """Least brightness of a pixel, as a share of the border's."""

    def _walk(self, frames: NDArray[np.float32]) -> NDArray[np.int64]:
        height, width = frames.shape[1:3]
        border = frames[:, 0].mean(1)[:, None, None]
        inside = frames[:, 2:-2, 2:-2]
        share = (inside * border).sum(-1) / ((border**2).sum(-1) + 1)
        distance = np.linalg.norm(inside - share[..., None] * border, axis=-1)
        alike = distance < self.HUE * np.linalg.norm(inside, axis=-1)
        alike &= share > self.DIMMEST
        horizon = height // 2 - 3
        columns = alike[:, horizon:].sum(1) * ~alike[:, :horizon].any(1)
        seen = columns.sum(1)
        offset = (columns * (np.arange(columns.shape[1]) - width / 2 + 2)).sum(1)
        offset = offset / np.maximum(seen, 1) / width
        near = np.where(offset < 0, FORWARD_LEFT, FORWARD_RIGHT)
        steered = np.where(np.abs(offset) < 0.1, FORWARD, near)
        steered = np.where(np.abs(offset) > 0.3, np.where(offset < 0, LEFT, RIGHT), steered)
        return np.where(seen > 1, steered, FORWARD)
