"""A policy that balances the pole by the ground truth, for collecting rollouts."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from dreamenv.core.errors import EnvironmentUsageError
from dreamenv.real.noise import NoisyPolicy


class Balance(NoisyPolicy):
    """Pushes the cart under the pole, and the cart to the middle.

    Args:
        noise: chance, at every step, that a burst of 2 to 8 random actions begins.
    """

    name = "balance"

    def __init__(self, noise: float = 0.1) -> None:
        super().__init__(noise)

    def reset(self, env: gymnasium.Env[Any, Any], seed: int) -> None:
        """Begin an episode.

        Raises:
            EnvironmentUsageError: `env` is no CartPole.
        """
        self._env: Any = env.unwrapped
        state: Any = getattr(self._env, "state", None)
        if np.shape(state) != (4,):
            raise EnvironmentUsageError(f"the policy 'balance' is for CartPole, not {env!r}")
        super().reset(env, seed)

    def _choose(self) -> Any:
        """Return 0, left, or 1, right."""
        place, speed, angle, turning = self._env.state
        return int(angle + 0.3 * turning + 0.05 * place + 0.1 * speed > 0)
