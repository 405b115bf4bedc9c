"""`DreamEnv`: one dream as a `gymnasium.Env`, a `DreamVectorEnv` of a single slot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from dreamenv.dream.vector_env import DreamVectorEnv
from dreamenv.errors import EnvironmentUsageError


class DreamEnv(gymnasium.Env):
    """A dreamt environment; arguments as in `DreamVectorEnv`.

    Observations are (H, W, C) uint8. `info["spawn"]` after `reset` tells where the episode began.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(
        self,
        checkpoint: str | Path = "bundled:memory_maze_9x9",
        horizon: int = 256,
        steps: int | None = None,
        device: str = "auto",
        dtype: str = "auto",
        render_mode: str | None = None,
    ) -> None:
        self.vector = DreamVectorEnv(
            1, checkpoint, horizon, steps, AutoresetMode.DISABLED, device, dtype, render_mode
        )
        self.observation_space = self.vector.single_observation_space
        self.action_space = self.vector.single_action_space
        self.render_mode = render_mode

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Begin an episode; `seed` decides its spawn and every frame after it."""
        super().reset(seed=seed)
        self.vector.generators[0] = self.np_random
        observations, info = self.vector.reset(options=options)
        return observations[0], {"spawn": int(info["spawn"][0])}

    def step(self, action: Any) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        """Dream one step.

        Raises:
            EnvironmentUsageError: before `reset`, after the episode's end, or with an action
                outside the space.
        """
        if action not in self.action_space:
            raise EnvironmentUsageError(
                f"action {action!r} is not in the action space {self.action_space}"
            )
        observations, rewards, terminated, truncated, _ = self.vector.step(np.asarray(action)[None])
        return observations[0], float(rewards[0]), bool(terminated[0]), bool(truncated[0]), {}

    def render(self) -> NDArray[np.uint8] | None:  # type: ignore[override]
        """The present observation."""
        frames = self.vector.render()
        return None if frames is None else frames[0]
