"""Policies that walk through Memory Maze with the ground truth, for collecting rollouts.

They see what no agent sees: the layout, their own position and the targets. Recorded frames of
them show the whole maze and, for the goal-seeking one, rewards.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from dreamenv.errors import ConfigError, EnvironmentUsageError
from dreamenv.real.maze_navigation import Cell, cell_of, next_waypoint, shortest_path, steer

_BURST_STEPS = (2, 8)  # shortest and longest burst of random actions
_KEEP_ACTION = 0.7  # chance, in a burst, to repeat the action of the step before


class _WalkingPolicy:
    """Walks to goals that a subclass names, with bursts of random actions in between.

    Args:
        noise: chance, at every step outside a burst, that a burst of 2 to 8 random, mostly
            repeated actions begins; 0 never, 1 always.
    """

    name = "walking"

    def __init__(self, noise: float) -> None:
        if not 0.0 <= noise <= 1.0:
            raise ConfigError(f"noise is a chance from 0 to 1, not {noise!r}.")
        self.noise = noise
        self._env: Any = None

    def reset(self, env: gymnasium.Env[Any, Any], seed: int) -> None:
        """Begin an episode of a Memory Maze environment that was just reset.

        Raises:
            EnvironmentUsageError: `env` has no `ground_truth()`.
        """
        if not hasattr(env.unwrapped, "ground_truth"):
            raise EnvironmentUsageError(
                f"The policy {self.name!r} needs the ground truth of a Memory Maze environment; "
                f"{env!r} has none. Use 'uniform' or 'sticky' there."
            )
        self._env = env.unwrapped
        self._random = np.random.default_rng(seed)
        self._burst = 0
        self._action = 0

    def act(self, observation: np.ndarray) -> int:
        """The next action, 0 to 5. The observation is not looked at."""
        if self._env is None:
            raise EnvironmentUsageError("act() was called before reset(env, seed).")
        if self._burst == 0 and self._random.random() < self.noise:
            self._burst = int(self._random.integers(_BURST_STEPS[0], _BURST_STEPS[1] + 1))
            self._action = int(self._random.integers(6))
        if self._burst > 0:
            self._burst -= 1
            if self._random.random() > _KEEP_ACTION:
                self._action = int(self._random.integers(6))
        else:
            self._action = self._walk(self._env.ground_truth())
        return self._action

    def _walk(self, truth: dict[str, np.ndarray]) -> int:
        layout, position = truth["maze_layout"], truth["agent_pos"]
        path = shortest_path(layout, cell_of(position), self._goal(truth))
        return steer(position, truth["agent_dir"], next_waypoint(layout, position, path))

    def _goal(self, truth: dict[str, np.ndarray]) -> Cell:
        raise NotImplementedError


class WanderingPolicy(_WalkingPolicy):
    """Walks from one random place of the maze to the next, so that it sees all of it."""

    name = "wandering"

    def __init__(self, noise: float = 0.05) -> None:
        super().__init__(noise)

    def reset(self, env: gymnasium.Env[Any, Any], seed: int) -> None:
        """Begin an episode; the first place is drawn at the first step."""
        super().reset(env, seed)
        self._place: Cell | None = None
        self._patience = 0

    def _goal(self, truth: dict[str, np.ndarray]) -> Cell:
        here = cell_of(truth["agent_pos"])
        self._patience -= 1
        if self._place is None or self._place == here or self._patience <= 0:
            self._draw_place(truth["maze_layout"], here)
        assert self._place is not None
        return self._place

    def _draw_place(self, layout: np.ndarray, here: Cell) -> None:
        free = [(int(x), int(y)) for y, x in np.argwhere(layout) if (x, y) != here]
        self._place = free[int(self._random.integers(len(free)))]
        # A cell takes about five steps; a place that is not reached in twice that is given up.
        self._patience = 20 + 10 * len(shortest_path(layout, here, self._place))


class GoalSeekingPolicy(_WalkingPolicy):
    """Walks to the target that is asked for, the shortest way; earns rewards."""

    name = "goal"

    def __init__(self, noise: float = 0.2) -> None:
        super().__init__(noise)

    def _goal(self, truth: dict[str, np.ndarray]) -> Cell:
        return cell_of(truth["target_pos"])
