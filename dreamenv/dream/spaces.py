"""The observation and action spaces of a dream, as its world model fixes them."""

from __future__ import annotations

import numpy as np
from gymnasium.spaces import Box, Dict, Space

from dreamenv.rollouts.spaces import ActionSpace, space_from_dict
from dreamenv.world_model.config import ActionConfig
from dreamenv.world_model.model import WorldModel

OBSERVATIONS = ("frame", "memory")
"""Kinds of observations: the frame, or with it the features of the world model's memory."""


def action_space(config: ActionConfig) -> ActionSpace:
    """The action space of the environment that a model learned."""
    return space_from_dict(config.space())


def observation_space(model: WorldModel, observation: str) -> Space:
    """The space of one slot's observations.

    Args:
        model: the world model.
        observation: one of `OBSERVATIONS`.

    Returns:
        For `"frame"` uint8 (H, W, C); for `"memory"` a `Dict` of that `frame` and of `memory`,
        float32 (`model.feature_size`,), unbounded.

    """
    config = model.config
    frame = Box(0, 255, (*config.frame_size, config.frame_channels), np.uint8)
    if observation == "frame":
        return frame
    memory = Box(-np.inf, np.inf, (model.feature_size,), np.float32)
    return Dict(frame=frame, memory=memory)
