"""Finding and walking a way through a known maze.

Positions are in cells, x first, from the lower left corner; a layout is indexed [y, x] and holds
1 where one can walk, as `MemoryMazeEnv.ground_truth()` returns them.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np

NOOP, FORWARD, LEFT, RIGHT, FORWARD_LEFT, FORWARD_RIGHT = range(6)
Cell = tuple[int, int]

# One step turns by 18.4 degrees and walks a quarter of a cell. Half a turn off is straight
# ahead; beyond this angle the walker turns on the spot instead of walking an arc into a wall.
_STRAIGHT = math.radians(9.2)
_ON_THE_SPOT = math.radians(65)
# A straight line keeps this distance from walls, in cells, the walker being 0.1 in radius.
_CLEARANCE = 0.15


def cell_of(position: np.ndarray) -> Cell:
    """The cell (x, y) that holds a position (2,)."""
    return int(position[0]), int(position[1])


def shortest_path(layout: np.ndarray, start: Cell, goal: Cell) -> list[Cell]:
    """Cells from `start` to `goal`, both included, along sides; empty if there is no way."""
    height, width = layout.shape
    came_from: dict[Cell, Cell] = {start: start}
    queue = deque([start])
    while queue and goal not in came_from:
        x, y = queue.popleft()
        for near in ((x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)):
            inside = 0 <= near[0] < width and 0 <= near[1] < height
            if inside and near not in came_from and layout[near[1], near[0]]:
                came_from[near] = (x, y)
                queue.append(near)
    if goal not in came_from:
        return []
    path = [goal]
    while path[-1] != start:
        path.append(came_from[path[-1]])
    return path[::-1]


def next_waypoint(layout: np.ndarray, position: np.ndarray, path: list[Cell]) -> np.ndarray:
    """The furthest cell centre (2,) of `path` that a straight walk from `position` reaches.

    If a wall's edge is in the way of all of them, it is the centre of the present cell.
    """
    for cell in reversed(path):
        centre = np.array(cell) + 0.5
        if _is_clear(layout, position, centre):
            return centre
    return np.floor(position) + 0.5


def steer(position: np.ndarray, direction: np.ndarray, waypoint: np.ndarray) -> int:
    """The action, 0 to 5, that brings a walker looking along `direction` closer to `waypoint`."""
    wanted = waypoint - position
    cross = direction[0] * wanted[1] - direction[1] * wanted[0]
    angle = math.atan2(cross, float(np.dot(direction, wanted)))  # positive: to the left
    if abs(angle) <= _STRAIGHT:
        return FORWARD
    if abs(angle) <= _ON_THE_SPOT:
        return FORWARD_LEFT if angle > 0 else FORWARD_RIGHT
    return LEFT if angle > 0 else RIGHT


def _is_clear(layout: np.ndarray, start: np.ndarray, end: np.ndarray) -> bool:
    """Whether a walker of width twice the clearance can walk the straight line."""
    length = float(np.linalg.norm(end - start))
    if length < 1e-6:
        return True
    along = (end - start) / length
    across = np.array([-along[1], along[0]]) * _CLEARANCE
    line = start + np.linspace(0, 1, 2 + int(length * 8))[:, None] * (end - start)
    # The first samples are left out: a walker that stands at a wall may still walk away from it.
    sides = np.concatenate([line[2:] - across, line, line[2:] + across])
    x, y = np.floor(sides).astype(int).T
    inside = (x >= 0) & (y >= 0) & (x < layout.shape[1]) & (y < layout.shape[0])
    return bool(inside.all() and layout[y, x].all())
