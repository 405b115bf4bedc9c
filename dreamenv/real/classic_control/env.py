"""CartPole from its picture."""

from __future__ import annotations

from typing import Any

from gymnasium.wrappers import AddRenderObservation

from dreamenv.real.classic_control import ACTIONS
from dreamenv.real.pictures import SIZE, Pictures, make_bare, need


def make(size: int | None = SIZE, render_mode: str | None = None, **kwargs: Any) -> Pictures:
    """CartPole: frames (size, size, 3), two actions; 1.0 a step until the pole falls.

    Args:
        size: of frames, in pixels, None for the picture's own; the rendered picture has 400 by 600.
        render_mode: None or "rgb_array".
        kwargs: other arguments of the environment.
    """
    need("pygame", "CartPole's picture", "dreamenv[play]")
    env = make_bare(
        "", "CartPole-v1", "CartPole", "dreamenv[play]", render_mode="rgb_array", **kwargs
    )
    pictures = AddRenderObservation(env, render_only=True)
    return Pictures(pictures, size, "", ACTIONS, None, 50, render_mode)
