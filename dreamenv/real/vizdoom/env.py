"""Scenarios of VizDoom with frames that can be dreamt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gymnasium
import numpy as np

from dreamenv.core.errors import ConfigError
from dreamenv.real.pictures import SIZE, Pictures, make_bare, need
from dreamenv.real.vizdoom import FRAME_SKIP

UNITS = 64.0
"""Map units in a unit of `agent_pos`: about the reach of one step."""


def make(
    game: str = "VizdoomMyWayHome-v1",
    size: int | None = SIZE,
    buttons: Sequence[str] = (),
    frame_skip: int = FRAME_SKIP,
    render_mode: str | None = None,
    **kwargs: Any,
) -> Pictures:
    """A scenario of VizDoom: frames (size, size, 3), actions doing nothing or pressing a button.

    Rewards are the scenario's, but for MyWayHome's loss of 0.0001 a tic, which no picture shows.
    Infos: `agent_pos` (2,) float32 and `agent_dir` (2,) float32, a unit vector. Time is counted by
    a wrapper and not in the game, so a time limit can be taken off.

    Args:
        game: id that the package `vizdoom` registers, with Discrete actions.
        size: of frames, in pixels, None for the picture's own.
        buttons: those to offer, such as `turn_left`; () for all of the scenario.
        frame_skip: tics that an action lasts.
        render_mode: None or "rgb_array".
        kwargs: further settings of the game.
    """
    extra = "dreamenv[vizdoom]"
    doom = need("vizdoom", "VizDoom", extra)
    # The game writes its settings down when it ends, without this where the program was started.
    kept = TemporaryDirectory(prefix="dreamenv-vizdoom-", ignore_cleanup_errors=True)
    settings: dict[str, Any] = {
        "doom_config_path": str(Path(kept.name) / "vizdoom.ini"),
        "screen_resolution": doom.ScreenResolution.RES_160X120,
        "sectors_info_enabled": True,
        "objects_info_enabled": True,
        "episode_timeout": 0,
    }
    if "MyWayHome" in game:
        settings["living_reward"] = 0.0
    env = make_bare(
        "vizdoom.gymnasium_wrapper", game, "VizDoom", extra,
        frame_skip=frame_skip, max_buttons_pressed=1, **(settings | kwargs),
    )  # fmt: skip
    names = _names(env)
    choose = None
    if buttons:
        unknown = [name for name in buttons if name not in names]
        if unknown:
            raise ConfigError(f"{game} has no button {unknown[0]!r}; it has {', '.join(names[1:])}")
        choose = [0, *(names.index(name) for name in buttons)]
    return Pictures(_Posed(env, kept), size, "screen", names, choose, 35 // frame_skip, render_mode)


def _names(env: gymnasium.Env) -> list[str]:
    """What each action presses."""
    base: Any = env.unwrapped
    buttons = [str(each).rpartition(".")[2].lower() for each in base.game.get_available_buttons()]
    return [
        "+".join(name for name, down in zip(buttons, row, strict=True) if down) or "noop"
        for row in base.button_map
    ]


class _Posed(gymnasium.Wrapper):
    """Says where the player stands and looks; at an episode's end, where it last did."""

    def __init__(self, env: gymnasium.Env, kept: TemporaryDirectory[str]) -> None:
        super().__init__(env)
        self._kept = kept

    def close(self) -> None:
        self.env.close()
        self._kept.cleanup()

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(**kwargs)
        self._pose = {"agent_pos": np.zeros(2, np.float32), "agent_dir": np.ones(2, np.float32)}
        return observation, info | self._told()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        # A scenario that times out by itself has no end that a dream should know.
        terminated = bool(terminated) and not truncated
        return observation, float(reward), terminated, bool(truncated), info | self._told()

    def _told(self) -> dict[str, Any]:
        game: Any = self.env.unwrapped.game  # type: ignore[attr-defined]
        if game.get_state() is not None:
            self._pose = pose_of(game)
        return {name: value.copy() for name, value in self._pose.items()}


def pose_of(game: Any) -> dict[str, np.ndarray]:
    """`agent_pos` and `agent_dir` of a running game."""
    import vizdoom

    known = vizdoom.GameVariable
    x, y, angle = (
        game.get_game_variable(each) for each in (known.POSITION_X, known.POSITION_Y, known.ANGLE)
    )
    facing = np.radians(angle)
    return {
        "agent_pos": np.array([x, y], np.float32) / np.float32(UNITS),
        "agent_dir": np.array([np.cos(facing), np.sin(facing)], np.float32),
    }
