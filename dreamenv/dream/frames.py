"""`WithFrames`: real environments, observed by the frames that agents see in dreams."""

from __future__ import annotations

from pathlib import Path

import gymnasium
from gymnasium.spaces import Dict, Space, Tuple

from dreamenv.core.errors import ConfigError
from dreamenv.dream.arguments import a_folder
from dreamenv.dream.registration import DEFAULT_CHECKPOINT
from dreamenv.dream.spaces import action_space, picture_of
from dreamenv.rollouts.pictures import FrameObservation
from dreamenv.world_model.checkpoint import checkpoint_folder, read_config


class WithFrames(FrameObservation):
    """One real environment, observed as the dreams of a checkpoint are.

    What was done to the frames that the world model learnt from is done to those of the real
    environment: the entry of its observations, channels, range of values, size. So an agent of the
    dream acts in the real environment as it is.

    Args:
        env: the real environment that the world model learned.
        checkpoint: checkpoint folder of the world model, or `"bundled:NAME"`.

    Raises:
        CheckpointError: the checkpoint is missing or damaged.
        ConfigError: the model was trained on another kind of environment.
    """

    def __init__(self, env: gymnasium.Env, checkpoint: str | Path = DEFAULT_CHECKPOINT) -> None:
        config, _ = read_config(checkpoint_folder(a_folder("checkpoint", checkpoint)))
        known = action_space(config.actions)
        if env.action_space != known:
            raise ConfigError(
                f"the environment takes actions from {env.action_space}, the world model knows "
                f"{known}; choose the environment that it was trained on"
            )
        super().__init__(env, *frames_of_dreams(checkpoint, env.observation_space))


def frames_of_dreams(checkpoint: str | Path, observations: Space) -> tuple[str, tuple[int, int]]:
    """The entry of real observations that a checkpoint's dreams show, and the size they show it in.

    Args:
        checkpoint: of the world model.
        observations: space of the real environment's.

    Raises:
        CheckpointError: the checkpoint is missing or damaged.
        ConfigError: there is no such picture.
    """
    config, _ = read_config(checkpoint_folder(a_folder("checkpoint", checkpoint)))
    picture_of(config, observations)
    nested = isinstance(observations, Dict | Tuple)
    return config.image_key if nested else "", config.frame_size
