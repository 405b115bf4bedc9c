"""A policy that moves the paddle of Pong or Breakout to the ball, by the console's memory."""

from __future__ import annotations

from typing import Any

import gymnasium

from dreamenv.core.errors import EnvironmentUsageError
from dreamenv.real.noise import NoisyPolicy

# Places in the console's 128 bytes, as published with AtariARI (Anand et al., 2019).
_BREAKOUT = {"ball": 99, "paddle": 72, "ball_y": 101}
_PONG = {"ball": 54, "paddle": 51}
_NEAR = 4
_AIM, _AIMED = 6, 30  # the ball is met up to so far off the paddle's middle, for so many steps


class Paddle(NoisyPolicy):
    """Follows the ball, and serves.

    Args:
        noise: chance, at every step, that a burst of 2 to 8 random actions begins.
    """

    name = "paddle"

    def __init__(self, noise: float = 0.1) -> None:
        super().__init__(noise)

    def reset(self, env: gymnasium.Env[Any, Any], seed: int) -> None:
        """Begin an episode.

        Raises:
            EnvironmentUsageError: `env` is neither Pong nor Breakout.
        """
        game = str(getattr(env.unwrapped, "_game", "")).lower()
        if game not in ("pong", "breakout"):
            raise EnvironmentUsageError(
                f"the policy 'paddle' plays Pong and Breakout, not {env!r}; use sticky"
            )
        self._ale: Any = env.unwrapped.ale  # type: ignore[attr-defined]
        self._breakout = game == "breakout"
        self._steps, self._aim = 0, 0
        super().reset(env, seed)

    def _choose(self) -> Any:
        """Return the number of an action: 0 nothing, 1 fire, 2 right or up, 3 left or down."""
        if self._steps % _AIMED == 0:  # a ball that is always met in the middle always goes alike
            self._aim = int(self._random.integers(-_AIM, _AIM + 1))
        self._steps += 1
        ram = self._ale.getRAM().astype(int)
        if self._breakout:
            if ram[_BREAKOUT["ball_y"]] == 0:
                return 1
            # The paddle's place is that of its left end, about 8 short of its middle.
            off = ram[_BREAKOUT["ball"]] - (ram[_BREAKOUT["paddle"]] + 8) + self._aim
            return 0 if abs(off) < _NEAR else 2 if off > 0 else 3
        # Downwards is larger; the paddle's middle is some 6 below its place.
        off = ram[_PONG["ball"]] - (ram[_PONG["paddle"]] + 6) + self._aim
        if ram[_PONG["ball"]] == 0:
            return 1
        return 0 if abs(off) < _NEAR else 3 if off > 0 else 2
