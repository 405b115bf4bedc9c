"""Are rollouts of the environment, the actions and the frames that a world model knows?"""

from __future__ import annotations

from dreamenv.core.errors import RolloutError
from dreamenv.rollouts.spaces import space_to_dict
from dreamenv.rollouts.store import RolloutStore
from dreamenv.world_model.action_config import ActionConfig
from dreamenv.world_model.config import WorldModelConfig


def require_rollouts_of(store: RolloutStore, config: WorldModelConfig, env_id: str | None) -> None:
    """Check that rollouts are of the environment and the actions that a model dreams.

    Raises:
        RolloutError: they are not; says what to collect instead.
    """
    if env_id is not None and store.env_id != env_id:
        raise RolloutError(
            f"{store.path} holds rollouts of {store.env_id}, but the model dreams {env_id}; "
            f"collect some with: dreamenv collect --env {env_id} ..."
        )
    space, actions = store.action_space, config.actions
    fits = ActionConfig.of(space_to_dict(space)).told == actions.told
    if store.image_key != config.image_key:
        raise RolloutError(
            f"the frames of {store.path} are the entry {store.image_key!r} of the observations, "
            f"those of the model {config.image_key!r}; collect with that --image-key"
        )
    channels = store.observation_space.shape[-1]
    if not fits or channels != config.frame_channels:
        raise RolloutError(
            f"{store.path} holds actions from {space} and frames of {channels} channels, but the "
            f"model takes {actions} and {config.frame_channels} channels; use rollouts of the "
            "environment, and the version of it, that the model was trained on"
        )
