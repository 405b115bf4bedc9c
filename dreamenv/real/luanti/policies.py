"""Policies that walk through Luanti's meadow by the ground truth, for collecting rollouts."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from dreamenv.core.errors import EnvironmentUsageError
from dreamenv.real.luanti import ACTIONS
from dreamenv.real.luanti.env import LuantiEnv
from dreamenv.real.noise import NoisyPolicy
from dreamenv.real.ways import Ways, turn_or_go

_FORWARD, _LEFT, _RIGHT = (ACTIONS.index(name) for name in ("forward", "left", "right"))
_HALF_TURN = np.radians(10)  # a step turns by 20 degrees
_CELL = 1 / 3  # nodes; a gap of one node has a cell in its middle
_MARGIN = 0.4  # that ways keep from what stands there; the walker is 0.3 in radius
_BESIDE = 1.6  # nodes from a block's middle, from where one walks straight at it
_ARRIVED = 1.0
_PATIENCE = 150  # steps after which a place is given up


class RamblePolicy(NoisyPolicy):
    """Walks to drawn places, one after the other; takes rewards only by chance.

    Args:
        noise: chance, at every step, that a burst of 2 to 8 random actions begins.
    """

    name = "ramble"

    def __init__(self, noise: float = 0.05) -> None:
        super().__init__(noise)

    def reset(self, env: gymnasium.Env[Any, Any], seed: int) -> None:
        """Begin an episode.

        Raises:
            EnvironmentUsageError: `env` is not Luanti-v0.
        """
        if not isinstance(env.unwrapped, LuantiEnv):
            raise EnvironmentUsageError(
                f"the policy {self.name!r} walks through Luanti-v0, not {env!r}; use sticky"
            )
        super().reset(env, seed)
        self._env = env.unwrapped
        self._goal: np.ndarray | None = None

    def _choose(self) -> int:
        """Return 0, forward, 1, left, or 2, right."""
        truth = self._env.ground_truth()
        place = truth["agent_pos"].astype(float)
        goal = self._next_goal(truth, place)
        if self._goal is None or (goal != self._goal).any():
            self._goal, self._patience = goal, _PATIENCE
            self._ways = Ways(_clear(truth["maze_layout"] > 0), np.zeros(2), _CELL, goal)
        self._patience -= 1
        ahead: np.ndarray | None = goal
        if np.linalg.norm(goal - place) > _BESIDE:
            ahead = self._ways.ahead(place)
        if ahead is None:
            return _FORWARD
        heading = float(np.arctan2(*truth["agent_dir"][::-1]))
        return (_FORWARD, _LEFT, _RIGHT)[turn_or_go(place, heading, ahead, _HALF_TURN)]

    def _next_goal(self, truth: dict[str, np.ndarray], place: np.ndarray) -> np.ndarray:
        """Where to go now."""
        goal = self._goal
        if goal is None or self._patience <= 0 or np.linalg.norm(goal - place) < _ARRIVED:
            free = np.argwhere(truth["maze_layout"])
            return self._random.choice(free)[::-1] + 0.5
        return goal


class ErrandPolicy(RamblePolicy):
    """Walks to the marked block that pays next, the shortest way, to and fro."""

    name = "errand"

    def _next_goal(self, truth: dict[str, np.ndarray], place: np.ndarray) -> np.ndarray:
        return truth["target_pos"].astype(float)


def _clear(layout: np.ndarray) -> np.ndarray:
    """Cells (rows, columns) bool from whose middle nothing is nearer than the margin."""
    rows, columns = layout.shape
    low, high = (
        [
            np.floor((np.arange(round(count / _CELL)) + 0.5) * _CELL + side).astype(int) % count
            for count in (rows, columns)
        ]
        for side in (-_MARGIN, _MARGIN)
    )
    return np.logical_and.reduce(
        [layout[np.ix_(y, x)] for y in (low[0], high[0]) for x in (low[1], high[1])]
    )
