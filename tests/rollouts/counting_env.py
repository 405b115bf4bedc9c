"""An environment whose frame is its step number, so that any misplaced row is visible."""

from __future__ import annotations

import os
import signal
from copy import deepcopy
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Space, Tuple

ACTIONS = 5
SPACES: dict[str, Space] = {
    "multi_discrete": MultiDiscrete([2, 4], start=[0, 3]),
    "buttons": MultiDiscrete([3, 2]),
    "multi_binary": MultiBinary(3),
    "tuple": Tuple([Discrete(3, start=-1), Box(-180.0, 180.0, (2,), np.float32)]),
    "dict": Dict(
        {
            "place": Discrete(4),
            "camera": Box(-180.0, 180.0, (2,), np.float32),
            "keys": Dict({"jump": Discrete(2), "hotbar": MultiDiscrete([9, 2])}),
        }
    ),
}
"""Action spaces beside `Discrete` and `Box`."""


def frame_of(step: int, seed: int = 0, shape: tuple[int, int, int] = (8, 8, 3)) -> np.ndarray:
    """Frame number `step`: its first two pixels hold the number, the next the episode's seed."""
    frame = np.full(shape, seed % 256, np.uint8)
    frame[0, 0], frame[0, 1] = step % 256, step // 256
    return frame


def step_of(frame: np.ndarray) -> int:
    """The step number written into a frame."""
    return int(frame[0, 0, 0]) + 256 * int(frame[0, 1, 0])


def reward_of(step: int) -> float:
    """Reward of step number `step` (the step that starts from frame `step`)."""
    return float(step + 1) if step % 3 == 0 else 0.0


class CountingEnv(gymnasium.Env):
    """Ends by itself (terminated) after `length` steps, or a length drawn from the seed.

    Returns the same buffer at every step, as some environments do.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 4}

    def __init__(
        self,
        length: int | None = None,
        continuous: bool = False,
        channels: int = 3,
        fatal_file: str | None = None,
        nan_at: int | None = None,
        actions: str = "",
    ) -> None:
        self.observation_space = Box(0, 255, (8, 8, channels), np.uint8)
        self.action_space = Box(-1.0, 2.0, (3,), np.float32) if continuous else Discrete(ACTIONS)
        if actions:
            self.action_space = SPACES[actions]
        self.taken: list[Any] = []  # in the present episode
        self.buffer = np.zeros((8, 8, channels), np.uint8)
        self.length, self.fatal_file, self.nan_at = length, fatal_file, nan_at

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin at frame 0."""
        super().reset(seed=seed)
        self.seed, self.count, self.taken = seed or 0, 0, []
        self.end = self.length or int(self.np_random.integers(3, 40))
        return self._frame(), {"count": 0}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Go on to the next frame; kill this process if the fatal file exists."""
        if self.fatal_file and Path(self.fatal_file).exists():
            os.kill(os.getpid(), signal.SIGKILL)
        assert isinstance(self.action_space, Discrete | Box) or action in self.action_space
        self.taken.append(deepcopy(action))
        reward = float("nan") if self.count == self.nan_at else reward_of(self.count)
        self.count += 1
        return self._frame(), reward, self.count == self.end, False, {"count": self.count}

    def _frame(self) -> np.ndarray:
        self.buffer[:] = frame_of(self.count, self.seed, self.observation_space.shape)
        return self.buffer


class FreshCountingEnv(CountingEnv):
    """Returns a new frame at every step, as Gymnasium asks of environments.

    Stable-Baselines3 relies on it: where an episode ends it keeps the last frame uncopied while it
    resets.
    """

    def _frame(self) -> np.ndarray:
        return super()._frame().copy()


class FloatFrameEnv(CountingEnv):
    """Declares float frames, which rollouts cannot hold."""

    def __init__(self) -> None:
        super().__init__()
        self.observation_space = Box(0.0, 1.0, (8, 8, 3), np.float32)


class CameraEnv(FreshCountingEnv):
    """Shows its frame as one part of several, in another form: as cameras of robots do.

    Args:
        form: `dict`, beside numbers and another picture; `floats`, channels first from 0 to 1;
            `grey`, without a channel.
    """

    def __init__(self, form: str = "dict", **arguments: Any) -> None:
        super().__init__(**arguments)
        self.form = form
        spaces: dict[str, Space] = {
            "floats": Box(0.0, 1.0, (3, 8, 8), np.float32),
            "grey": Box(0, 255, (8, 8), np.uint8),
        }
        parts = {"rgb": Box(0, 255, (8, 8, 3), np.uint8), "depth": Box(0.0, 9.0, (8, 8, 1))}
        sensors = Dict({"camera": Dict(parts), "speed": Box(-np.inf, np.inf, (2,))})
        self.observation_space = spaces.get(form, sensors)

    def _frame(self) -> Any:
        self.buffer[:] = frame_of(self.count, self.seed)
        rgb = self.buffer.copy()
        if self.form == "floats":
            return np.moveaxis(rgb, -1, 0) / np.float32(255)
        if self.form == "grey":
            return rgb[..., 0]
        depth = np.full((8, 8, 1), self.count % 9, np.float32)
        return {"camera": {"rgb": rgb, "depth": depth}, "speed": np.zeros(2, np.float32)}


class CodesEnv(FreshCountingEnv):
    """Shows a grid of small numbers, as symbolic environments do that call it an image."""

    def _frame(self) -> np.ndarray:
        return super()._frame() % 11


gymnasium.register("Camera-v0", entry_point="counting_env:CameraEnv")
gymnasium.register("Codes-v0", entry_point="counting_env:CodesEnv")
gymnasium.register("Counting-v0", entry_point="counting_env:CountingEnv")
gymnasium.register("FreshCounting-v0", entry_point="counting_env:FreshCountingEnv")
gymnasium.register("FloatFrame-v0", entry_point="counting_env:FloatFrameEnv")
