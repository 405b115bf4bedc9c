"""Ways through a world whose free places are known, for policies that see the ground truth."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray


class Ways:
    """Ways to one goal over a grid of cells, from wherever one stands.

    Args:
        free: (rows, columns) bool, where one can walk; row by y, column by x.
        origin: (2,) x and y of the lower corner of cell (0, 0).
        cell: side of a cell.
        goal: (2,) where to go; the free cell nearest to it is taken.
    """

    def __init__(
        self, free: NDArray[np.bool_], origin: NDArray, cell: float, goal: NDArray
    ) -> None:
        self._free, self._origin, self._cell = free, np.asarray(origin, float), cell
        self._steps = steps_to(free, self._cell_at(goal))

    def ahead(self, place: NDArray, cells: int = 3) -> NDArray | None:
        """A point (2,) some cells nearer to the goal; None where no way leads there."""
        row, column = self._cell_at(place)
        if self._steps[row, column] < 0:
            return None
        for _ in range(cells):
            row, column = min(self._around(row, column), key=lambda each: (self._steps[each], each))
        return self._origin + (np.array([column, row]) + 0.5) * self._cell

    def some_place(self, random: np.random.Generator) -> NDArray:
        """The centre (2,) of a drawn cell from which a way leads to the goal."""
        row, column = random.choice(np.argwhere(self._steps >= 0))
        return self._origin + (np.array([column, row]) + 0.5) * self._cell

    def _around(self, row: int, column: int) -> list[tuple[int, int]]:
        """The cell and its neighbours from which the goal is known, corners left out."""
        near = [(row, column), (row + 1, column), (row - 1, column)]
        near += [(row, column + 1), (row, column - 1)]
        rows, columns = self._steps.shape
        inside = [(r, c) for r, c in near if 0 <= r < rows and 0 <= c < columns]
        return [each for each in inside if self._steps[each] >= 0]

    def _cell_at(self, place: NDArray) -> tuple[int, int]:
        """The free cell nearest to a place."""
        rows, columns = np.nonzero(self._free)
        centres = self._origin + (np.stack([columns, rows], 1) + 0.5) * self._cell
        nearest = int(((centres - np.asarray(place, float)) ** 2).sum(1).argmin())
        return int(rows[nearest]), int(columns[nearest])


def steps_to(free: NDArray[np.bool_], goal: tuple[int, int]) -> NDArray[np.int64]:
    """Steps along sides from every free cell to `goal`, (rows, columns); −1 where no way leads."""
    rows, columns = free.shape
    steps = np.full(free.shape, -1, np.int64)
    steps[goal] = 0
    queue = deque([goal])
    while queue:
        row, column = queue.popleft()
        for near in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
            inside = 0 <= near[0] < rows and 0 <= near[1] < columns
            if inside and free[near] and steps[near] < 0:
                steps[near] = steps[row, column] + 1
                queue.append(near)
    return steps


def clear_of(
    segments: NDArray, radius: float, cell: float
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Cells whose centres keep `radius` from walls, and the lower corner of the first of them.

    Args:
        segments: (n, 2, 2) ends of walls, x and y.
        radius: of the walker.
        cell: side of a cell.

    Returns:
        (rows, columns) bool and (2,), as `Ways` takes them.
    """
    low, high = segments.min((0, 1)), segments.max((0, 1))
    columns, rows = (np.ceil((high - low) / cell).astype(int) + 1).tolist()
    x = low[0] + (np.arange(columns) + 0.5) * cell
    y = low[1] + (np.arange(rows) + 0.5) * cell
    free = np.ones((rows, columns), np.bool_)
    for start, end in segments:
        along = end - start
        length = float(along @ along) or 1.0
        share = ((x[None, :] - start[0]) * along[0] + (y[:, None] - start[1]) * along[1]) / length
        share = share.clip(0, 1)
        off_x = x[None, :] - (start[0] + share * along[0])
        off_y = y[:, None] - (start[1] + share * along[1])
        free &= off_x**2 + off_y**2 > radius**2
    return free, low


def turn_or_go(place: NDArray, heading: float, point: NDArray, half_turn: float) -> int:
    """1 to turn left, −1 to turn right, 0 to go, towards a point.

    Args:
        place: (2,) of the walker.
        heading: radians from x to y.
        point: (2,) where to go.
        half_turn: half of what a step turns; a smaller error is straight ahead.
    """
    way = np.asarray(point, float) - place
    error = np.arctan2(way[1], way[0]) - heading
    error = float(np.arctan2(np.sin(error), np.cos(error)))
    return 0 if abs(error) <= half_turn else 1 if error > 0 else -1
