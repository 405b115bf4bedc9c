"""The dreamt side of a gap report: dreams from its spawns, and what they are dreamt by."""

from __future__ import annotations

from functools import cache
from typing import Any

from gymnasium.spaces import Space
from gymnasium.vector import AutoresetMode

from dreamenv.core.deprecation import current_names
from dreamenv.core.environment_ids import find_spec, is_dream
from dreamenv.core.errors import ConfigError
from dreamenv.dream.arguments import RENAMED
from dreamenv.dream.registration import DEFAULT_CHECKPOINT
from dreamenv.dream.spawns import Spawns
from dreamenv.dream.trust import Trust
from dreamenv.dream.vector_env import DreamVectorEnv
from dreamenv.world_model.model import WorldModel

MOST_DREAMS = 16
"""Dreams stepped in one batch: more are hardly faster on a CPU and take more memory."""
SET_HERE = (
    "num_envs",
    "horizon",
    "max_episode_steps",
    "autoreset_mode",
    "spawns",
    "near_rewards",
    "observation",
    "min_trust",
)
"""Arguments of a dream that a comparison decides."""


def dream_arguments(env_id: str, kwargs: dict[str, Any] | None = None) -> dict[str, Any]:
    """The arguments that make a dream of an id, without those decided by the comparison.

    Raises:
        ConfigError: no dream, or an argument that is not the caller's to give.
    """
    spec = find_spec(env_id)
    if not is_dream(spec):
        raise ConfigError(
            f"{env_id} is not a dreamt environment; give DreamEnv-v0 with its checkpoint, or one "
            "of the bundled DreamEnv-...-v0"
        )
    ours = sorted(set(SET_HERE) & set(kwargs or {}))
    if ours:
        raise ConfigError(f"leave {ours[0]!r} out of the dream's arguments: it is set here")
    registered, given = (current_names(found, **RENAMED) for found in (spec.kwargs, kwargs or {}))
    own = {name: value for name, value in registered.items() if name not in SET_HERE}
    return {"checkpoint": DEFAULT_CHECKPOINT, **own, **given}


class Dreams:
    """Dreams from the spawns of a report, for agents of either kind of observation.

    Args:
        env_id: Gymnasium id of the dream.
        arguments: that make it, as `dream_arguments` gives them.
        spawns: where episodes begin.
        horizon: steps of an episode.

    Raises:
        ConfigError: arguments that a dream does not take.
        CheckpointError: the checkpoint is missing or damaged.
    """

    def __init__(
        self, env_id: str, arguments: dict[str, Any], spawns: Spawns, horizon: int
    ) -> None:
        self.env_id, self.horizon = env_id, horizon
        self.checkpoint = str(arguments["checkpoint"])
        self._make = cache(
            lambda observation: _make_dream(env_id, arguments, spawns, horizon, observation)
        )
        self._first = self.of("frame")

    def of(self, observation: str) -> DreamVectorEnv:
        """The dreams that show "frame" or "memory"."""
        return self._make(observation)

    @property
    def model(self) -> WorldModel:
        """The world model that dreams."""
        return self._first.loaded.model

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the world model's weights."""
        return self._first.loaded.fingerprint

    @property
    def env_kwargs(self) -> dict[str, Any]:
        """What the real environment was made with for the rollouts that the model learned from."""
        return dict(self._first.loaded.env_kwargs)

    @property
    def trust(self) -> Trust:
        """The trust in the model's frames, if it was calibrated."""
        return self._first.loaded.trust(self._first.denoising_steps)

    @property
    def denoising_steps(self) -> int | None:
        """Denoising steps per frame; None takes the checkpoint's."""
        return self._first.denoising_steps

    @property
    def actions(self) -> Space:
        """The action space of one dream."""
        return self._first.single_action_space

    def about(self) -> dict[str, Any]:
        """The dreams as a report describes them, in plain data."""
        return {
            "id": self.env_id,
            "weights_sha256": self.fingerprint,
            "model_trained_on": self._first.loaded.env_id,
            "denoising_passes": self.denoising_steps or self.model.config.sampler.steps,
            "reward": self._first.reward,
        }

    def identity(self) -> dict[str, Any]:
        """Plain data that decide how an episode goes on, besides its agent, spawn and noise."""
        return {
            "dream": self.fingerprint,
            "reward": self._first.reward,
            "steps": self.denoising_steps,
            "dtype": str(self.model.compute_dtype),
        }


def _make_dream(
    env_id: str, arguments: dict[str, Any], spawns: Spawns, horizon: int, observation: str
) -> DreamVectorEnv:
    """Dreams enough to play from every spawn in rounds of equal size."""
    rounds = -(-len(spawns) // MOST_DREAMS)
    try:
        return DreamVectorEnv(
            -(-len(spawns) // rounds),
            horizon=horizon,
            autoreset_mode=AutoresetMode.NEXT_STEP,
            spawns=spawns,
            observation=observation,
            **arguments,
        )
    except TypeError as error:
        raise ConfigError(f"{env_id} does not take the arguments {arguments}: {error}") from error
