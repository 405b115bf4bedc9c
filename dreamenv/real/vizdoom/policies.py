"""A policy that finds its way through a map of Doom by the ground truth."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from dreamenv.core.errors import EnvironmentUsageError
from dreamenv.real.noise import NoisyPolicy
from dreamenv.real.vizdoom.env import UNITS, pose_of
from dreamenv.real.ways import Ways, clear_of, turn_or_go

GOALS = ("GreenArmor", "CustomMedikit", "Medikit", "Stimpack")
"""Names of things to go to."""
_CELL, _RADIUS = 16.0, 20.0  # map units; the player's radius is 16
_ARRIVED = 48.0
_HALF_TURN = np.radians(9)
_MOST_DETOURS = 3


class HomingPolicy(NoisyPolicy):
    """Walks to up to three drawn places and then to the nearest thing that is a goal.

    Args:
        noise: chance, at every step, that a burst of 2 to 8 random actions begins.
    """

    name = "homing"

    def __init__(self, noise: float = 0.05) -> None:
        super().__init__(noise)

    def reset(self, env: gymnasium.Env[Any, Any], seed: int) -> None:
        """Begin an episode.

        Raises:
            EnvironmentUsageError: `env` is no VizDoom with buttons to turn and to move forward.
        """
        self._game: Any = getattr(env.unwrapped, "game", None)
        names = [name.lower() for name in getattr(env, "get_wrapper_attr", lambda _: list)(
            "get_action_meanings")()] if self._game is not None else []  # fmt: skip
        try:
            self._left, self._right, self._forward = (
                names.index(name) for name in ("turn_left", "turn_right", "move_forward")
            )
        except ValueError:
            raise EnvironmentUsageError(
                f"the policy 'homing' turns and walks through VizDoom, not {env!r}; use sticky"
            ) from None
        super().reset(env, seed)
        random = self._random
        segments = self._walls()
        self._free, self._origin = clear_of(segments, _RADIUS, _CELL)
        self._detours = int(random.integers(_MOST_DETOURS + 1))
        self._ways: Ways | None = None
        self._goal: np.ndarray | None = None

    def _choose(self) -> Any:
        """Return the number of a button."""
        if self._game.get_state() is None:
            return self._forward
        pose = pose_of(self._game)
        place = pose["agent_pos"].astype(float) * UNITS
        heading = float(np.arctan2(*pose["agent_dir"][::-1]))
        if self._goal is None or np.linalg.norm(self._goal - place) < _ARRIVED:
            self._set_out(place)
        ahead = self._ways.ahead(place) if self._ways is not None else None
        if ahead is None:
            self._goal = None
            return self._forward
        turn = turn_or_go(place, heading, ahead, _HALF_TURN)
        return (self._forward, self._left, self._right)[turn]

    def _set_out(self, place: np.ndarray) -> None:
        """Set where to go next."""
        reach = Ways(self._free, self._origin, _CELL, place)
        things = [
            np.array([each.position_x, each.position_y])
            for each in self._game.get_state().objects
            if each.name in GOALS
        ]
        if self._detours or not things:
            self._detours = max(0, self._detours - 1)
            self._goal = reach.some_place(self._random)
        else:
            self._goal = min(things, key=lambda each: float(np.linalg.norm(each - place)))
        self._ways = Ways(self._free, self._origin, _CELL, self._goal)

    def _walls(self) -> np.ndarray:
        lines = [line for sector in self._game.get_state().sectors for line in sector.lines]
        walls = {(each.x1, each.y1, each.x2, each.y2) for each in lines if each.is_blocking}
        return np.array(sorted(walls), float).reshape(-1, 2, 2)
