"""Memory Maze as a Gymnasium environment."""

from __future__ import annotations

from typing import Any

import numpy as np

from dreamenv.core.errors import (
    ConfigError,
    EnvironmentUsageError,
)
from dreamenv.real.memory_maze import ACTIONS
from dreamenv.real.memory_maze.simulator import IMAGE_SIZE, SIZES, MazeSimulator
from dreamenv.real.seen import SeenEnv


class MemoryMazeEnv(SeenEnv):
    """Find the coloured target that the frame's border asks for, again and again, in a 3D maze.

    Observation: (64, 64, 3) uint8, the view of a rolling walker with a border of 2 pixels in the
    prompted target's colour. Action: 0 noop, 1 forward, 2 left, 3 right, 4 forward and left,
    5 forward and right; four actions per second. Reward: 1.0 on touching the prompted target,
    after which another is drawn at random; otherwise 0.0. `terminated` is always False: the time
    limit of the registered ids ends an episode.

    `reset(seed=n)` begins the same maze, spawn and targets as the first episode of
    `memory_maze.tasks.memory_maze_9x9(seed=n)` (for 9x9), for 0 <= n < 2**32; a larger seed
    draws the episode from the environment's generator. Without a seed the next episode is drawn
    from that generator.

    Args:
        size: cells along a side: 7 (2 targets), 9 (3), 11 (4), 13 (5) or 15 (6).
        render_mode: None or "rgb_array", which returns the last observation.
        extra_obs: put the ground truth into `info` at every reset and step.
        fast_contacts: False uses dm_control's own contact loop; slower, equal results.

    Raises:
        ConfigError: unknown size or render mode.
        MissingDependencyError: Memory Maze or OpenGL is not installed.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 4}

    def __init__(
        self,
        size: int = 9,
        render_mode: str | None = None,
        extra_obs: bool = False,
        fast_contacts: bool = True,
    ) -> None:
        if size not in SIZES:
            raise ConfigError(f"There is no Memory Maze of size {size!r}; choose one of {SIZES}.")
        super().__init__(ACTIONS, IMAGE_SIZE, render_mode)
        self.size = size
        self.extra_obs = extra_obs
        self._simulator: MazeSimulator | None = MazeSimulator(size, fast_contacts)
        self._episode = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode; see the class for what `seed` decides. `options` is not used."""
        super().reset(seed=seed)
        if seed is None or seed >= 2**32:
            seed = int(self.np_random.integers(2**32))
        self._frame = self._open_simulator().reset(seed)
        self._episode += 1
        return self._frame.copy(), self._info()

    def step(self, action: np.int64 | int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Take one action.

        Raises:
            ResetNeededError: before the first reset.
            InvalidActionError: the action is outside 0 to 5.
        """
        simulator = self._open_simulator()
        self._require_reset("step")
        self._frame, reward = simulator.step(self._require_action(action))
        return self._frame.copy(), reward, False, False, self._info()

    def ground_truth(self) -> dict[str, np.ndarray]:
        """Positions in cells (x, y) from the lower left corner, one cell being 1.0.

        Returns:
            agent_pos (2,) float32; agent_dir (2,) float32, the unit vector of walking forward;
            maze_layout (size, size) uint8, 1 where one can walk, indexed [y, x]; targets_pos
            (n, 2) float32; target_index () int64 and target_pos (2,) float32 of the prompted one.
        """
        simulator = self._open_simulator()
        self._require_reset("ground_truth")
        return simulator.ground_truth()

    def get_state(self) -> dict[str, Any]:
        """A snapshot for `set_state`, of use to this object until its next reset."""
        simulator = self._open_simulator()
        self._require_reset("get_state")
        assert self._frame is not None
        return {"episode": self._episode, "frame": self._frame, "simulator": simulator.save()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go back to where `get_state` was called: the same actions have the same effects again.

        Time limits of wrappers do not go back.

        Raises:
            EnvironmentUsageError: the snapshot is of another episode, whose maze is gone.
        """
        simulator = self._open_simulator()
        if state["episode"] != self._episode:
            raise EnvironmentUsageError(
                "This snapshot is of an earlier episode; reset(seed) to its maze and take another."
            )
        simulator.restore(state["simulator"])
        self._frame = state["frame"].copy()

    def close(self) -> None:
        """Free the simulator; safe to call twice."""
        if self._simulator is not None:
            self._simulator.close()
        self._simulator = None
        self._frame = None

    def _info(self) -> dict[str, Any]:
        return self.ground_truth() if self.extra_obs else {}

    def _open_simulator(self) -> MazeSimulator:
        if self._simulator is None:
            raise EnvironmentUsageError("This environment was closed; make a new one.")
        return self._simulator
