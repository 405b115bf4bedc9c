"""The real side of a gap report: how its environment is made, and whether it fits the dream."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Dict, Space, Tuple

from dreamenv.core.environment_ids import find_spec
from dreamenv.core.errors import ConfigError, RolloutError
from dreamenv.core.frames import RESIZE
from dreamenv.dream.spaces import observation_space
from dreamenv.evaluation.gap.dreams import Dreams
from dreamenv.rollouts.pictures import as_recorded


@dataclass(frozen=True)
class RealWorld:
    """A real environment of a report, and how any process makes a copy of it."""

    spec: EnvSpec
    kwargs: dict[str, Any]
    checkpoint: str
    """Whose memory agents that observe memory are given."""
    fingerprint: str
    """SHA-256 of the weights of that checkpoint."""
    size: tuple[int, int]
    """Height and width of the frames that agents see."""
    horizon: int
    """Steps played from a spawn."""
    tolerance: float
    """Mean difference of grey levels up to which a frame is that of the spawn."""
    image_key: str = ""
    """Entry of its observations that frames are read from."""
    shown: tuple[int, int] | None = None
    """Height and width of its own frames; None if nobody looked."""

    @property
    def resized(self) -> str:
        """A line on how its frames become those that agents see; "" if they are these."""
        if self.shown is None or self.shown == self.size:
            return ""
        before, after = (f"{height}×{width}" for height, width in (self.shown, self.size))
        return (
            f"frames of {before} pixels are resized to {after} ({RESIZE} averaging), as they were "
            "for training"
        )

    def make(self) -> gymnasium.Env:
        """One copy, without a time limit, which would count the steps that lead to a spawn.

        Raises:
            ConfigError: the environment does not take its arguments.
            MissingDependencyError: a part of it is not installed.
        """
        try:
            env = gymnasium.make(
                self.spec, max_episode_steps=-1, disable_env_checker=True, **self.kwargs
            )
        except TypeError as error:
            raise ConfigError(
                f"{self.spec.id} does not take the arguments {self.kwargs}: {error}"
            ) from error
        # Agents see frames as they were recorded; of the model's size they become where they play.
        key = self.image_key if isinstance(env.observation_space, Dict | Tuple) else ""
        try:
            return as_recorded(env, key)
        except RolloutError as error:
            env.close()
            raise ConfigError(f"{self.spec.id}: {error}") from error


def find_real_world(
    env_id: str, kwargs: dict[str, Any], dreams: Dreams, horizon: int, tolerance: float
) -> RealWorld:
    """The real environment of an id, made once and checked against the dream.

    Raises:
        ConfigError: other spaces, or arguments that it does not take.
        MissingDependencyError: a part of it is not installed.
    """
    spec, config = find_spec(env_id), dreams.model.config
    world = RealWorld(
        spec,
        kwargs,
        dreams.checkpoint,
        dreams.fingerprint,
        config.frame_size,
        horizon,
        tolerance,
        config.image_key,
    )
    env = world.make()
    try:
        _require_alike(spec, kwargs, env.observation_space, env.action_space, dreams)
        height, width = (env.observation_space.shape or ())[:2]
    finally:
        env.close()
    return dataclasses.replace(world, shown=(height, width))


def require_limit(spec: EnvSpec, steps: int) -> None:
    """Check that an environment's own time limit leaves room for `steps` from its reset.

    Raises:
        ConfigError: it does not.
    """
    limit = spec.max_episode_steps
    if limit is not None and limit < steps:
        raise ConfigError(
            f"{spec.id} ends its episodes after {limit} steps, but {steps} are to be played from "
            "its reset, those that lead to a spawn included; choose a shorter horizon or an "
            "earlier --latest-start"
        )


def _require_alike(
    spec: EnvSpec, kwargs: dict[str, Any], observations: Space, actions: Space, dreams: Dreams
) -> None:
    advice = "compare the dream with the environment that its model was trained on"
    if dreams.env_kwargs != kwargs:
        recorded = json.dumps(dreams.env_kwargs, sort_keys=True)
        given = f"with --real-kwargs '{recorded}'" if dreams.env_kwargs else "without --real-kwargs"
        advice += f": its rollouts were made {given}"
    if actions != dreams.actions:
        raise ConfigError(
            f"{spec.id} takes actions from {actions}, the dream from {dreams.actions}; {advice}"
        )
    shape = observation_space(dreams.model, "frame").shape
    assert shape is not None
    found = observations.shape or ()
    if observations.dtype != np.uint8 or len(found) != 3 or found[-1] != shape[-1]:
        raise ConfigError(
            f"{spec.id} shows {observations}, the dream uint8 frames of shape {shape}; {advice}"
        )
