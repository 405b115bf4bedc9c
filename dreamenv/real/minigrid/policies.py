"""A policy that goes to the goal of a room by the ground truth, for collecting rollouts."""

from __future__ import annotations

from collections import deque
from typing import Any

import gymnasium
import numpy as np

from dreamenv.core.errors import EnvironmentUsageError
from dreamenv.real.minigrid import ACTIONS
from dreamenv.real.noise import NoisyPolicy

Cell = tuple[int, int]
_STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))  # as MiniGrid numbers directions


class Gridwise(NoisyPolicy):
    """Walks to up to two drawn cells and then to the goal, fetching the key of a locked door.

    Args:
        noise: chance, at every step, that a burst of 2 to 8 random actions begins.
    """

    name = "gridwise"

    def __init__(self, noise: float = 0.1) -> None:
        super().__init__(noise)

    def reset(self, env: gymnasium.Env[Any, Any], seed: int) -> None:
        """Begin an episode.

        Raises:
            EnvironmentUsageError: `env` is no room of MiniGrid.
        """
        self._room: Any = env.unwrapped
        if not hasattr(self._room, "agent_dir") or not hasattr(self._room, "grid"):
            raise EnvironmentUsageError(f"the policy 'gridwise' walks MiniGrid, not {env!r}")
        names = env.get_wrapper_attr("get_action_meanings")()
        self._numbers = {name.lower(): number for number, name in enumerate(names)}
        super().reset(env, seed)
        self._detours = int(self._random.integers(3))
        self._drawn: Cell | None = None

    def _choose(self) -> Any:
        """Return the number of an action."""
        return self._numbers.get(self._wanted(), int(self._random.integers(3)))

    def _wanted(self) -> str:
        """The name of the action that leads on; "" where nothing does."""
        place = self._place()
        if self._detours:
            if self._drawn is None or place == self._drawn:
                self._detours -= self._drawn is not None
                self._drawn = self._draw()
            path = self._path(self._drawn)
            if self._detours and path:
                return self._towards(path[0])
            self._detours = 0
        goal = self._goal()
        if goal is None:
            return ""
        path = self._path(goal)
        if path:
            return self._towards(path[0])
        return self._open_the_way()

    def _open_the_way(self) -> str:
        door = self._find("door", lambda thing: not thing.is_open)
        key = self._find("key")
        carried = self._room.carrying is not None
        if door is None or (not carried and key is None):
            return ""
        target = door if carried or key is None else key
        path = self._path(target, beside=True)
        if path is None:
            return ""
        if path:
            return self._towards(path[0])
        turn = self._towards(target)
        return turn if turn != "forward" else "toggle" if target == door else "pickup"

    def _place(self) -> Cell:
        x, y = self._room.agent_pos
        return int(x), int(y)

    def _goal(self) -> Cell | None:
        found = self._find("goal")
        if found is None and hasattr(self._room, "success_pos"):
            x, y = self._room.success_pos
            return int(x), int(y)
        return found

    def _find(self, kind: str, such: Any = lambda thing: True) -> Cell | None:
        grid = self._room.grid
        for y in range(grid.height):
            for x in range(grid.width):
                thing = grid.get(x, y)
                if thing is not None and thing.type == kind and such(thing):
                    return x, y
        return None

    def _draw(self) -> Cell:
        grid = self._room.grid
        free = [(x, y) for x in range(grid.width) for y in range(grid.height) if self._open((x, y))]
        x, y = self._random.choice(free)
        return int(x), int(y)

    def _open(self, cell: Cell) -> bool:
        thing = self._room.grid.get(*cell)
        return thing is None or (thing.can_overlap() and thing.type not in ("lava", "goal"))

    def _path(self, goal: Cell, beside: bool = False) -> list[Cell] | None:
        """Cells to walk to, the goal last, or without it if only beside it; None for no way."""
        start = self._place()
        came_from: dict[Cell, Cell] = {start: start}
        queue = deque([start])
        while queue and goal not in came_from:
            cell = queue.popleft()
            for dx, dy in _STEPS:
                near = (cell[0] + dx, cell[1] + dy)
                if near not in came_from and (near == goal or self._open(near)):
                    came_from[near] = cell
                    if near != goal or beside or self._enterable(near):
                        queue.append(near)
                    else:
                        del came_from[near]
        if goal not in came_from:
            return None
        path = [goal]
        while path[-1] != start:
            path.append(came_from[path[-1]])
        path = path[::-1][1:]
        return path[:-1] if beside else path

    def _enterable(self, cell: Cell) -> bool:
        thing = self._room.grid.get(*cell)
        return thing is None or thing.can_overlap()

    def _towards(self, cell: Cell) -> str:
        x, y = self._place()
        wanted = _STEPS.index((int(np.sign(cell[0] - x)), int(np.sign(cell[1] - y))))
        turn = (wanted - int(self._room.agent_dir)) % 4
        return ACTIONS[2] if turn == 0 else ACTIONS[0] if turn == 3 else ACTIONS[1]
