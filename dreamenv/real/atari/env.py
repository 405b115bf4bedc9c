"""Games of the Arcade Learning Environment with frames that can be dreamt."""

from __future__ import annotations

from typing import Any

import gymnasium
from gymnasium.wrappers import MaxAndSkipObservation

from dreamenv.core.errors import ConfigError
from dreamenv.real.pictures import SIZE, Pictures, make_bare

MOST_NOOPS = 30
"""An episode begins after up to so many frames of doing nothing, drawn by its seed."""
HEIGHT = 210


def make(
    game: str = "ALE/Pong-v5",
    size: int | None = SIZE,
    rows: tuple[int, int] | None = None,
    end_on_life_loss: bool = False,
    frame_skip: int = 4,
    render_mode: str | None = None,
    **kwargs: Any,
) -> Pictures:
    """A game: frames (size, size, 3), the actions that the game knows, no chance but the seed's.

    A frame is the brighter of the last two of the four that an action lasts, pixel by pixel, since
    the console could not draw everything in each. Rewards are the game's points.

    Args:
        game: id that the package `ale_py` registers.
        size: of frames, in pixels, None for the picture's own.
        rows: first and last row of the picture that is kept, of 210; None keeps all.
        end_on_life_loss: an episode terminates when a life is lost.
        frame_skip: frames that an action lasts.
        render_mode: None or "rgb_array".
        kwargs: other arguments of the game; `repeat_action_probability` is 0 if it is not given.

    Raises:
        ConfigError: there are no such rows.
    """
    if rows is not None and not 0 <= rows[0] < rows[1] <= HEIGHT:
        raise ConfigError(f"rows are two numbers from 0 to {HEIGHT}, not {rows}.")
    settings = {"frameskip": 1, "repeat_action_probability": 0.0} | kwargs
    env = make_bare("ale_py", game, "Atari", "dreamenv[atari]", **settings)
    names = [name.lower() for name in env.unwrapped.get_action_meanings()]  # type: ignore[attr-defined]
    played = _Played(MaxAndSkipObservation(env, frame_skip), rows, end_on_life_loss)
    return Pictures(played, size, "", names, None, 60 // frame_skip, render_mode)


class _Played(gymnasium.Wrapper):
    """Begins at a drawn moment, crops the picture, and may end with a life."""

    def __init__(
        self, env: gymnasium.Env, rows: tuple[int, int] | None, end_on_life_loss: bool
    ) -> None:
        super().__init__(env)
        self._rows = slice(*rows) if rows else slice(None)
        self._lives = 0 if end_on_life_loss else None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        observation, _ = self.env.reset(seed=seed, options=options)
        for _ in range(int(self.env.unwrapped.np_random.integers(MOST_NOOPS // 4 + 1))):
            observation, _, _, _, _ = self.env.step(0)
        if self._lives is not None:
            self._lives = self._left()
        return observation[self._rows], {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, _ = self.env.step(action)
        if self._lives is not None:
            terminated = bool(terminated) or self._left() < self._lives
        return observation[self._rows], reward, bool(terminated), bool(truncated), {}

    def _left(self) -> int:
        return int(self.env.unwrapped.ale.lives())  # type: ignore[attr-defined]
