"""A policy that drives along the track by the ground truth, for collecting rollouts."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from dreamenv.core.errors import EnvironmentUsageError
from dreamenv.real.noise import NoisyPolicy

_AHEAD = 5  # points of the track, which are about 3.5 units apart
_SPEED = (20.0, 45.0)  # units per second in sharp turns and on straights


class RacingPolicy(NoisyPolicy):
    """Steers for a point of the track a little ahead, slower where it bends.

    Args:
        noise: chance, at every step, that a burst of 2 to 8 equal random actions begins.
    """

    name = "racer"

    def __init__(self, noise: float = 0.1) -> None:
        super().__init__(noise)

    def reset(self, env: gymnasium.Env[Any, Any], seed: int) -> None:
        """Begin an episode.

        Raises:
            EnvironmentUsageError: `env` is no CarRacing.
        """
        if not hasattr(env.unwrapped, "track"):
            raise EnvironmentUsageError(f"the policy 'racer' drives CarRacing, not {env!r}")
        self._env: Any = env.unwrapped
        self._box = isinstance(env.action_space, gymnasium.spaces.Box)
        self._track = np.array([point[2:] for point in self._env.track])
        super().reset(env, seed)

    def _choose(self) -> Any:
        """Return steering, gas and brake, or the number of one of the five actions."""
        steer, gas, brake = self._drive()
        if self._box:
            return np.array([steer, gas, brake], np.float32)
        if abs(steer) > 0.3:
            return 1 if steer > 0 else 2
        return 3 if gas else 4 if brake else 0

    def _drive(self) -> tuple[float, float, float]:
        hull = self._env.car.hull
        place, heading = np.array(hull.position), hull.angle
        nearest = int(np.linalg.norm(self._track - place, axis=1).argmin())
        errors = []
        for ahead in (_AHEAD, 2 * _AHEAD):
            way = self._track[(nearest + ahead) % len(self._track)] - place
            # The car's nose points along its y axis.
            error = np.arctan2(way[1], way[0]) - (heading + np.pi / 2)
            errors.append(np.arctan2(np.sin(error), np.cos(error)))
        bend = min(1.0, abs(errors[1]))
        wanted = _SPEED[1] + (_SPEED[0] - _SPEED[1]) * bend
        speed = float(np.linalg.norm(hull.linearVelocity))
        steer = float(np.clip(-2.0 * errors[0], -1, 1))
        return steer, 0.6 if speed < wanted else 0.0, 0.4 if speed > 1.3 * wanted else 0.0
