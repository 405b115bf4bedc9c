"""Policies that walk through Memory Maze with the ground truth, for collecting rollouts.

They see what no agent sees: the layout, their own position and the targets. Recorded frames of
them show the whole maze and, for the goal-seeking one, rewards.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from dreamenv.core.errors import EnvironmentUsageError
from dreamenv.real.memory_maze.navigation import (
    LEFT,
    RIGHT,
    Cell,
    cell_of,
    next_waypoint,
    shortest_path,
    steer,
)
from dreamenv.real.noise import NoisyPolicy

_ARRIVED = 0.25  # cells from a place's centre: what one step walks
_ALIGNED = np.cos(np.radians(12))  # one step turns by 18.4 degrees, so this is not stepped over


class _WalkingPolicy(NoisyPolicy):
    """Walks to goals that a subclass names, with bursts of random actions in between.

    Args:
        noise: chance, at every step outside a burst, that a burst of 2 to 8 random, mostly
            repeated actions begins; 0 never, 1 always.
    """

    name = "walking"

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
        super().reset(env, seed)
        self._env: Any = env.unwrapped

    def _choose(self) -> int:
        return self._walk(self._env.ground_truth())

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
        self._place = _other_place(layout, here, self._random)
        self._patience = _patience(shortest_path(layout, here, self._place))


class OutAndBackPolicy(_WalkingPolicy):
    """Walks from where it begins to a random place and straight back the same way, over and over.

    Back home it turns to where it looked at first. So it sees that view again after every walk,
    and the ways that several walks share after as long as it took to come by again.
    """

    name = "out_and_back"

    def __init__(self, noise: float = 0.0) -> None:
        super().__init__(noise)

    def reset(self, env: gymnasium.Env[Any, Any], seed: int) -> None:
        """Begin an episode; home is where it begins."""
        super().reset(env, seed)
        truth = self._env.ground_truth()
        self._home, self._view = cell_of(truth["agent_pos"]), truth["agent_dir"].copy()
        self._set_out(truth["maze_layout"])

    def _set_out(self, layout: np.ndarray) -> None:
        place = _other_place(layout, self._home, self._random)
        self._route = shortest_path(layout, self._home, place)
        self._patience = _patience(self._route)

    def _walk(self, truth: dict[str, np.ndarray]) -> int:
        layout, position, direction = truth["maze_layout"], truth["agent_pos"], truth["agent_dir"]
        self._patience -= 1
        centre = np.array(self._route[-1]) + 0.5
        if np.linalg.norm(centre - position) <= _ARRIVED or self._patience <= 0:
            if self._route[-1] != self._home:
                self._route = self._route[::-1]
                self._patience = _patience(self._route)
            elif float(direction @ self._view) < _ALIGNED:
                cross = direction[0] * self._view[1] - direction[1] * self._view[0]
                return LEFT if cross > 0 else RIGHT
            else:
                self._set_out(layout)
        here = cell_of(position)
        if here in self._route:
            path = self._route[self._route.index(here) :]
        else:  # a burst led away from it
            path = shortest_path(layout, here, self._route[-1])
        return steer(position, direction, next_waypoint(layout, position, path))


class GoalSeekingPolicy(_WalkingPolicy):
    """Walks to the target that is asked for, the shortest way; earns rewards."""

    name = "goal"

    def __init__(self, noise: float = 0.2) -> None:
        super().__init__(noise)

    def _goal(self, truth: dict[str, np.ndarray]) -> Cell:
        return cell_of(truth["target_pos"])


def _other_place(layout: np.ndarray, here: Cell, random: np.random.Generator) -> Cell:
    """A free cell other than `here`."""
    free = [(int(x), int(y)) for y, x in np.argwhere(layout) if (x, y) != here]
    return free[int(random.integers(len(free)))]


def _patience(path: list[Cell]) -> int:
    """Steps after which a place is given up: a cell takes about five, and this is twice that."""
    return 20 + 10 * len(path)
