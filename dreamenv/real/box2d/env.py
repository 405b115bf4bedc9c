"""CarRacing with frames that can be dreamt."""

from __future__ import annotations

from typing import Any

from dreamenv.real.box2d import DISCRETE_ACTIONS
from dreamenv.real.pictures import SIZE, Pictures, make_bare


def make(
    size: int | None = SIZE,
    continuous: bool = True,
    render_mode: str | None = None,
    **kwargs: Any,
) -> Pictures:
    """CarRacing: frames (size, size, 3), actions steering, gas and brake as a box, or five.

    Reward: -0.1 a frame and 1000/N for each of the N tiles of the track that is new; an episode
    terminates when all are, or at -100 when the car leaves the field.

    Args:
        size: of frames, in pixels, None for the picture's own; the environment's own are 96.
        continuous: False offers the five discrete actions.
        render_mode: None or "rgb_array".
        kwargs: other arguments of the environment.
    """
    env = make_bare(
        "", "CarRacing-v3", "CarRacing", "dreamenv[box2d]", continuous=continuous, **kwargs
    )
    return Pictures(env, size, "", () if continuous else DISCRETE_ACTIONS, None, 50, render_mode)
