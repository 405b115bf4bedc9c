"""Worlds of MiniWorld with frames that can be dreamt."""

from __future__ import annotations

import os
import sys
from typing import Any

import gymnasium
import numpy as np

from dreamenv.core.errors import ConfigError
from dreamenv.real.miniworld import ACTIONS
from dreamenv.real.pictures import SIZE, Pictures, PlainReward, make_bare

NEVER = 2**31


def make(
    game: str = "MiniWorld-Hallway-v0",
    size: int = SIZE,
    render_mode: str | None = None,
    **kwargs: Any,
) -> Pictures:
    """A world of MiniWorld: frames (size, size, 3), turning left, right, and walking forward.

    Reward: 1.0 for the goal, whenever it is reached, where MiniWorld's own falls with the time that
    it took, which no picture shows. Infos: `agent_pos` (2,) float32, x and -z in metres, and
    `agent_dir` (2,) float32, a unit vector.

    Args:
        game: id that the package `miniworld` registers.
        size: of frames, in pixels.
        render_mode: None or "rgb_array".
        kwargs: other arguments of the world.
    """
    if sys.platform == "linux" and "DISPLAY" not in os.environ:
        os.environ.setdefault("PYGLET_HEADLESS", "1")  # read when pyglet is imported
        pyglet = sys.modules.get("pyglet")
        if pyglet is not None and not pyglet.options.get("headless"):
            raise ConfigError(
                "pyglet was imported before, by miniworld or another package, and expects a "
                "screen; there is none: set PYGLET_HEADLESS=1, or make the environment first"
            )
    shown = {"obs_width": size, "obs_height": size}
    env = make_bare("miniworld", game, "MiniWorld", "dreamenv[miniworld]", **(shown | kwargs))
    choose = [0, 1, 2] if env.action_space.n > len(ACTIONS) else None  # type: ignore[attr-defined]
    names = [*ACTIONS, "back", "pickup", "drop", "toggle", "complete"]
    names = names[: env.action_space.n]  # type: ignore[attr-defined]
    return Pictures(PlainReward(_Posed(env)), size, "", names, choose, 10, render_mode)


class _Posed(gymnasium.Wrapper):
    """Says where the agent stands and looks, and leaves time limits to others."""

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(**kwargs)
        self.env.unwrapped.max_episode_steps = NEVER  # type: ignore[attr-defined]
        return observation, info | self._pose()

    def step(self, action: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, reward, terminated, truncated, info | self._pose()

    def _pose(self) -> dict[str, np.ndarray]:
        agent: Any = self.env.unwrapped.agent  # type: ignore[attr-defined]
        return {
            "agent_pos": np.array([agent.pos[0], -agent.pos[2]], np.float32),
            "agent_dir": np.array([np.cos(agent.dir), np.sin(agent.dir)], np.float32),
        }
