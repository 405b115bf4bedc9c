"""`AnyDream`: what a single dream and a batch of them have in common as Gymnasium environments."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Self

from gymnasium.envs.registration import EnvSpec

from dreamenv.dream.arguments import a_folder, whole_number
from dreamenv.dream.registration import DEFAULT_CHECKPOINT
from dreamenv.dream.spawn_drawing import spawns_from_rollouts
from dreamenv.world_model.checkpoint import checkpoint_folder


class AnyDream:
    """An environment that can be made from rollouts and tells its horizon in its specification."""

    horizon: int
    _spec: EnvSpec | None = None

    @classmethod
    def from_rollouts(
        cls,
        rollouts: str | Path,
        checkpoint: str | Path = DEFAULT_CHECKPOINT,
        count: int = 64,
        length: int = 32,
        seed: int = 0,
        **kwargs: Any,
    ) -> Self:
        """An environment whose episodes begin from stretches of a rollout store.

        Args:
            rollouts: a rollout store of the environment that the model learned.
            checkpoint: checkpoint folder, or `"bundled:NAME"`.
            count: how many stretches are drawn, evenly over the store's episodes.
            length: frames of each.
            seed: of the draw.
            kwargs: the other arguments of the environment.

        Raises:
            RolloutError: the store does not fit the model, or its episodes are too short.
            ConfigError: an argument is out of range.
        """
        spawns = spawns_from_rollouts(
            checkpoint_folder(a_folder("checkpoint", checkpoint)),
            a_folder("rollouts", rollouts),
            whole_number("count", count),
            whole_number("length", length),
            whole_number("seed", seed, least=0),
        )
        make: Any = cls
        return make(checkpoint=checkpoint, spawns=spawns, **kwargs)

    @property
    def spec(self) -> EnvSpec | None:
        """How the environment was made, with its `horizon` as `max_episode_steps`.

        Agents and wrappers look the length of episodes up there.
        """
        if self._spec is None:
            return None
        return dataclasses.replace(self._spec, max_episode_steps=self.horizon)

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        self._spec = spec
