"""A policy that goes to a world's red box by the ground truth, for collecting rollouts."""

from __future__ import annotations

from typing import Any, cast

import gymnasium
import numpy as np

from dreamenv.core.errors import EnvironmentUsageError
from dreamenv.real.noise import NoisyPolicy
from dreamenv.real.ways import Ways, clear_of, turn_or_go

_LEFT, _RIGHT, _FORWARD = 0, 1, 2
_CELL = 0.3  # metres; a step is 0.15
_HALF_TURN = np.radians(8)  # a step turns by 15 degrees
_ARRIVED = 0.5


class Approach(NoisyPolicy):
    """Walks to up to two drawn places and then to the box.

    Args:
        noise: chance, at every step, that a burst of 2 to 8 random actions begins.
    """

    name = "approach"

    def __init__(self, noise: float = 0.05) -> None:
        super().__init__(noise)

    def reset(self, env: gymnasium.Env[Any, Any], seed: int) -> None:
        """Begin an episode.

        Raises:
            EnvironmentUsageError: `env` is no world of MiniWorld with a box.
        """
        self._world = cast(Any, env.unwrapped)
        known = (getattr(self._world, name, None) for name in ("wall_segs", "agent", "box"))
        if any(each is None for each in known):
            raise EnvironmentUsageError(
                f"the policy 'approach' goes to the box of a world of MiniWorld; {env!r} has none: "
                "use sticky"
            )
        super().reset(env, seed)
        walls = np.asarray(self._world.wall_segs, float)[:, :, [0, 2]] * [1, -1]
        radius = 1.3 * float(self._world.agent.radius)
        self._free, self._origin = clear_of(walls, radius, _CELL)
        self._detours = int(self._random.integers(3))
        self._go_on(self._place())

    def _choose(self) -> Any:
        """Return 0, left, 1, right, or 2, forward."""
        place = self._place()
        if self._detours and np.linalg.norm(self._goal - place) < _ARRIVED:
            self._detours -= 1
            self._go_on(place)
        ahead = self._ways.ahead(place)
        if ahead is None or np.linalg.norm(self._goal - place) < 3 * _CELL:
            ahead = self._goal
        turn = turn_or_go(place, float(self._world.agent.dir), ahead, _HALF_TURN)
        return (_FORWARD, _LEFT, _RIGHT)[turn]

    def _place(self) -> np.ndarray:
        return np.array([self._world.agent.pos[0], -self._world.agent.pos[2]])

    def _go_on(self, place: np.ndarray) -> None:
        """Set where to go next."""
        if self._detours:
            self._goal = Ways(self._free, self._origin, _CELL, place).some_place(self._random)
        else:
            self._goal = np.array([self._world.box.pos[0], -self._world.box.pos[2]])
        self._ways = Ways(self._free, self._origin, _CELL, self._goal)
