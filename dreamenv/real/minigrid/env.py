"""Rooms of MiniGrid with frames that can be dreamt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np

from dreamenv.core.errors import ConfigError
from dreamenv.real.minigrid import ACTIONS, MOVE
from dreamenv.real.pictures import SIZE, Pictures, PlainReward, make_bare

NEVER = 2**31


def make(
    game: str = "MiniGrid-Empty-8x8-v0",
    size: int = SIZE,
    view: str = "agent",
    actions: Sequence[int] = MOVE,
    render_mode: str | None = None,
    **kwargs: Any,
) -> Pictures:
    """A room of MiniGrid: frames (size, size, 3), rendered, where its own observation is codes.

    Reward: 1.0 for the goal, whenever it is reached, where MiniGrid's own falls with the time that
    it took, which no picture shows. Infos: `agent_pos` (2,) float32, in cells, and `agent_dir` (2,)
    float32, a unit vector.

    Args:
        game: id that the package `minigrid` registers.
        size: of frames, in pixels.
        view: `agent`, the 7 x 7 cells before the agent, or `whole`, the room.
        actions: numbers of MiniGrid's actions to offer.
        render_mode: None or "rgb_array".
        kwargs: other arguments of the room.

    Raises:
        ConfigError: there is no such view, or no such action.
    """
    if view not in ("agent", "whole"):
        raise ConfigError(f"view is agent or whole, not {view!r}.")
    env = make_bare("minigrid", game, "MiniGrid", "dreamenv[minigrid]", **kwargs)
    drawn = _Drawn(env, size, view)
    return Pictures(PlainReward(drawn), size, "", ACTIONS, actions, 10, render_mode)


class _Drawn(gymnasium.Wrapper):
    """Observes the picture, says where the agent is, and leaves time limits to others."""

    def __init__(self, env: gymnasium.Env, size: int, view: str) -> None:
        super().__init__(env)
        self._size, self._view = size, view

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        _, info = self.env.reset(**kwargs)
        self._room.max_steps = NEVER
        return self._draw(), info | self._pose()

    def step(self, action: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        _, reward, terminated, truncated, info = self.env.step(action)
        return self._draw(), reward, terminated, truncated, info | self._pose()

    @property
    def _room(self) -> Any:
        return self.env.unwrapped

    def _draw(self) -> np.ndarray:
        room, ahead = self._room, self._view == "agent"
        cells = room.agent_view_size if ahead else max(room.width, room.height)
        tile = max(1, math.ceil(self._size / cells))
        return room.get_frame(highlight=False, tile_size=tile, agent_pov=ahead)

    def _pose(self) -> dict[str, np.ndarray]:
        room = self._room
        return {
            "agent_pos": np.array(room.agent_pos, np.float32),
            "agent_dir": np.array(room.dir_vec, np.float32),
        }
