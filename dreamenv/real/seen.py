"""What environments of this package share: numbered, named actions and a last picture."""

from __future__ import annotations

from collections.abc import Sequence

import gymnasium
import numpy as np
from gymnasium import spaces

from dreamenv.core.errors import ConfigError, InvalidActionError, ResetNeededError


class SeenEnv(gymnasium.Env[np.ndarray, np.int64]):
    """An environment that observes a square picture, and renders the one that it showed last.

    Args:
        actions: name of each.
        size: pixels along a side.
        render_mode: None or "rgb_array".

    Raises:
        ConfigError: unknown render mode.
    """

    def __init__(self, actions: Sequence[str], size: int, render_mode: str | None) -> None:
        if render_mode not in (None, "rgb_array"):
            raise ConfigError(f"render_mode is None or 'rgb_array', not {render_mode!r}.")
        self.render_mode = render_mode
        self.observation_space = spaces.Box(0, 255, (size, size, 3), np.uint8)
        self.action_space = spaces.Discrete(len(actions))
        self._actions = tuple(actions)
        self._frame: np.ndarray | None = None

    def get_action_meanings(self) -> list[str]:
        """A name for each action, by which wrappers find the one that does nothing."""
        return [name.upper() for name in self._actions]

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        """The last observation, (size, size, 3) uint8, in mode "rgb_array"; otherwise None."""
        if self.render_mode is None:
            return None
        self._require_reset("render")
        assert self._frame is not None
        return self._frame.copy()

    def _require_action(self, action: object) -> int:
        if not self.action_space.contains(action):
            raise InvalidActionError(
                f"Action {action!r} is outside the action space: give one integer from 0 to "
                f"{len(self._actions) - 1} ({', '.join(self._actions)})."
            )
        return int(action)  # type: ignore[call-overload]

    def _require_reset(self, call: str) -> None:
        if self._frame is None:
            raise ResetNeededError(
                f"{call}() was called before reset(); call reset() first to begin an episode."
            )
