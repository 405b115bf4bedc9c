"""The observation and action spaces of a dream, as its world model fixes them."""

from __future__ import annotations

import numpy as np
from gymnasium.spaces import Box, Dict, Space, Tuple

from dreamenv.core.errors import ConfigError, RolloutError
from dreamenv.rollouts.pictures import Picture
from dreamenv.rollouts.spaces import ActionSpace, space_from_dict
from dreamenv.world_model.config import ActionConfig, WorldModelConfig
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


def picture_of(config: WorldModelConfig, observations: Space) -> Picture:
    """How frames are read from observations of the real environment, as its rollouts were.

    Args:
        config: of the world model.
        observations: space of the real environment's.

    Raises:
        ConfigError: they hold no such picture, or one of other channels.
    """
    # An environment may come already wrapped in what shows the entry alone.
    key = config.image_key if isinstance(observations, Dict | Tuple) else ""
    try:
        picture = Picture.of(observations, key)
    except RolloutError as error:
        raise ConfigError(str(error)) from error
    channels = picture.space.shape[-1]
    if channels != config.frame_channels:
        raise ConfigError(
            f"its frames have {channels} channels, those of the model {config.frame_channels}"
        )
    return picture
