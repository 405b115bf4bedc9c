"""A policy that looks at Memory Maze's targets and then stays out of their sight for long.

Whoever wanders through a small maze sees every target again within a few hundred steps. To ask a
model what it remembers after 500 or 1000, there must be episodes that stay away for that long.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from dreamenv.core.errors import ConfigError
from dreamenv.real.memory_maze.navigation import Cell, cell_of, shortest_path
from dreamenv.real.memory_maze.policies import WanderingPolicy

SMALLEST = 3
"""Fewest cells of a hiding place; walking about in fewer shows always the same."""
_TARGET_RADIUS = 0.3  # in cells
_SAMPLE = 0.05  # cells between points of a line of sight


class SecludedPolicy(WanderingPolicy):
    """Goes to see targets, hides from them, wanders in hiding, and begins again.

    It hides from all targets where the maze has a place for it, else from one, drawn anew every
    time. Where there is none at all, it wanders.

    Args:
        steps: how long it hides; the way there comes on top, and may still show a target.
    """

    name = "secluded"

    def __init__(self, steps: float = 1100) -> None:
        super().__init__(noise=0.0)  # a burst of random actions could leave the hiding place
        if steps < 1:
            raise ConfigError(f"steps in hiding must be at least 1, not {steps}")
        self.steps = int(steps)

    def reset(self, env: gymnasium.Env[Any, Any], seed: int) -> None:
        """Begin an episode; where to hide is decided at the first step."""
        super().reset(env, seed)
        self._to_see: list[Cell] = []
        self._region: np.ndarray | None = None
        self._left = 0

    def _walk(self, truth: dict[str, np.ndarray]) -> int:
        here = cell_of(truth["agent_pos"])
        if here in self._to_see:
            self._to_see.remove(here)
        if not self._to_see and self._left <= 0:
            self._plan(truth)
        if self._region is not None and not self._to_see and self._region[here[1], here[0]]:
            self._left -= 1
            # Within its walls the hiding place is all there is of the maze.
            truth = {**truth, "maze_layout": self._region}
        return super()._walk(truth)

    def _goal(self, truth: dict[str, np.ndarray]) -> Cell:
        if self._to_see:
            return self._to_see[0]
        here = cell_of(truth["agent_pos"])
        if self._region is not None and not self._region[here[1], here[0]]:
            self._place = None  # a place outside is no goal once inside
            cells = [(int(x), int(y)) for y, x in np.argwhere(self._region)]
            return min(cells, key=lambda cell: len(shortest_path(truth["maze_layout"], here, cell)))
        if self._place is not None and not truth["maze_layout"][self._place[1], self._place[0]]:
            self._place = None
        return super()._goal(truth)

    def _plan(self, truth: dict[str, np.ndarray]) -> None:
        """Choose what to see and where to hide from it."""
        layout, targets = truth["maze_layout"], truth["targets_pos"]
        order = [int(i) for i in self._random.permutation(len(targets))]
        self._left = self.steps
        for group in [order, *([i] for i in order)]:
            hidden = np.all([hidden_cells(layout, targets[i]) for i in group], axis=0)
            region = largest_region(hidden)
            if region.sum() >= SMALLEST:
                self._region, self._to_see = region, [cell_of(targets[i]) for i in group]
                return
        self._region = None


def hidden_cells(layout: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Free cells [y, x] from nowhere in which any part of the target at (x, y) can be seen."""
    turns = np.arange(8) * np.pi / 4
    disc = np.concatenate([[[0, 0]], _TARGET_RADIUS * np.stack([np.cos(turns), np.sin(turns)], 1)])
    side = np.linspace(0.05, 0.95, 5)
    within = np.stack(np.meshgrid(side, side), -1).reshape(-1, 1, 2)
    ends = np.asarray(target, np.float64) + disc
    hidden = np.zeros(layout.shape, np.bool_)
    for y, x in np.argwhere(layout):
        starts = np.array([x, y]) + within
        samples = 2 + int(np.abs(ends - starts).max() / _SAMPLE)
        points = starts + np.linspace(0, 1, samples)[:, None, None, None] * (ends - starts)
        columns, rows = np.floor(points).astype(int).T
        # Every line ends within the maze, which is convex, so it never leaves it.
        hidden[y, x] = not (layout[rows, columns] != 0).all(-1).any()
    return hidden


def largest_region(cells: np.ndarray) -> np.ndarray:
    """The largest part of `cells` [y, x] whose cells hang together by their sides, as 0 and 1."""
    best = np.zeros(cells.shape, np.uint8)
    left = {(int(x), int(y)) for y, x in np.argwhere(cells)}
    while left:
        region = np.zeros(cells.shape, np.uint8)
        open_cells = [left.pop()]
        while open_cells:
            x, y = open_cells.pop()
            region[y, x] = 1
            near = {(x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)} & left
            left -= near
            open_cells += near
        if region.sum() > best.sum():
            best = region
    return best
