"""`DreamEnv`: one dream as a `gymnasium.Env`, a `DreamVectorEnv` of a single slot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from dreamenv.core.deprecation import renamed_arguments
from dreamenv.core.errors import EnvironmentUsageError, InvalidActionError
from dreamenv.dream.any_dream import AnyDream
from dreamenv.dream.arguments import RENAMED, RENDER_MODES
from dreamenv.dream.keys import Keys
from dreamenv.dream.observations import Observation
from dreamenv.dream.random_streams import seeded
from dreamenv.dream.registration import DEFAULT_CHECKPOINT
from dreamenv.dream.state import DreamState
from dreamenv.dream.vector_env import DreamVectorEnv
from dreamenv.rollouts.actions import fit_actions


class _SingleDream(DreamVectorEnv):
    """The batch of one behind a `DreamEnv`, whose errors do not speak of slots."""

    _single = True


# Env by name: libraries tell what an environment is by its class's direct bases.
class DreamEnv(AnyDream, gymnasium.Env):
    """A dreamt environment: a `DreamVectorEnv` of one slot, whose observations are its own.

    `info` holds the keys of `DreamVectorEnv` without their masks, as NumPy scalars.

    Args:
        checkpoint: checkpoint folder, or `"bundled:NAME"`.
        horizon: steps after which an episode is truncated; may be set later.
        denoising_steps: passes per frame; by default what the checkpoint says.
        arguments: the others of `DreamVectorEnv`, but for `num_envs` and `autoreset_mode`.

    Attributes:
        vector: the `DreamVectorEnv`.

    Raises:
        CheckpointError: as `DreamVectorEnv`.
        ConfigError: an argument is out of range.
    """

    metadata = {"render_modes": list(RENDER_MODES), "render_fps": 10}

    @renamed_arguments(**RENAMED)
    def __init__(
        self,
        checkpoint: str | Path = DEFAULT_CHECKPOINT,
        horizon: int = 256,
        denoising_steps: int | None = None,
        **arguments: Any,
    ) -> None:
        self.vector: DreamVectorEnv = _SingleDream(
            1, checkpoint, horizon, denoising_steps, AutoresetMode.DISABLED, **arguments
        )
        self.observation_space = self.vector.single_observation_space
        self.action_space = self.vector.single_action_space
        self.render_mode = self.vector.render_mode

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode; `seed` decides its spawn and every frame after it.

        Args:
            seed: of the episode and of those after it.
            options: `spawn`, or `context` and `actions`, as of `DreamVectorEnv.reset`.

        Raises:
            EnvironmentUsageError: an option or the seed does not fit; nothing has changed then.
        """
        generators, before = self.vector.generators, self.vector.generators[0]
        generators[0] = self.np_random if seed is None else seeded(seed)
        try:
            observations, info = self.vector.reset(options=options)
        except BaseException:
            generators[0] = before
            raise
        self._share_generator()
        if seed is not None:
            self._np_random_seed = int(seed)
        return _first(observations), _of_first(info)

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Dream one step.

        Raises:
            ResetNeededError: before `reset`, or after the episode's end.
            InvalidActionError: the action is outside the space.
        """
        fitting = fit_actions(self.vector.single_action_space, action)
        if fitting is None:
            raise InvalidActionError(
                f"action {action!r} is not in the action space {self.action_space}"
            )
        observations, rewards, terminated, truncated, info = self.vector.step(fitting[None])
        observation, info = _first(observations), _of_first(info)
        return observation, float(rewards[0]), bool(terminated[0]), bool(truncated[0]), info

    def render(self) -> NDArray[np.uint8] | None:  # type: ignore[override]
        """The present frame, (H, W, C) uint8; or None, and a window shows it."""
        frames = self.vector.render()
        return None if frames is None else frames[0]

    def close(self) -> None:
        """Close the window, if there is one; weights are shared and stay."""
        self.vector.close()

    def get_keys_to_action(self) -> Keys:
        """The keys that play this dream, for `gymnasium.utils.play`.

        Raises:
            EnvironmentUsageError: actions are continuous, or too many for plain keys.
        """
        return self.vector.get_keys_to_action()

    def get_action_meanings(self) -> list[str]:
        """A name for each discrete action, by which wrappers find the one that does nothing.

        Raises:
            EnvironmentUsageError: actions are continuous.
        """
        return self.vector.get_action_meanings()

    @property
    def horizon(self) -> int:
        """Steps after which an episode is truncated; may be set, for the present episode too.

        Raises:
            ConfigError: it is set to what is no whole number, or less than 1.
        """
        return self.vector.horizon

    @horizon.setter
    def horizon(self, steps: int) -> None:
        self.vector.horizon = steps

    def source(self) -> dict[str, Any] | None:
        """The real rollout that the present episode began in, as `DreamVectorEnv.source` tells it.

        Raises:
            ResetNeededError: before `reset`.
        """
        return self.vector.source()[0]

    def get_state(self) -> DreamState:
        """Everything that the future of this dream depends on, as a state of one slot.

        Raises:
            ResetNeededError: before `reset`.
        """
        return self.vector.get_state()

    def set_state(self, state: DreamState) -> None:
        """Go on from a state, as the environment went on that it was taken from.

        Raises:
            EnvironmentUsageError: it is of other weights, of more than one slot, or no state that
                a dream can be in; nothing has changed then.
        """
        ours = self.vector.loaded.fingerprint
        if isinstance(state, DreamState) and state.fingerprint == ours and len(state) != 1:
            raise EnvironmentUsageError(
                f"the state holds {len(state)} dreams, this is one; take one of them with "
                "state.select(index), or go on with all in a DreamVectorEnv"
            )
        self.vector.set_state(state)
        self._share_generator()

    def fork(self, n: int, seed: int | None = None, **changes: Any) -> DreamVectorEnv:
        """This dream continued in n ways, in the slots of a `DreamVectorEnv`.

        Args:
            n: forks.
            seed: fork j draws its noise as seeded with seed + j; without one all draw the same.
            changes: arguments in which the forks' environment differs from this one. Forks that
                end begin anew in the same step, unless `autoreset_mode` is among them.

        Raises:
            ResetNeededError: before `reset`.
            EnvironmentUsageError: n is less than 1.
            ConfigError: as when an environment is made.
        """
        return self.vector.fork(n, seed, **{"autoreset_mode": AutoresetMode.SAME_STEP} | changes)

    def __setstate__(self, kept: dict[str, Any]) -> None:
        """Restore what pickle and copy took along, as `DreamVectorEnv` does."""
        vars(self).update(kept)
        self._share_generator()

    def _share_generator(self) -> None:
        """Make Gymnasium's random generator that of the slot."""
        generator = self.vector.generators[0]
        if generator is not None and generator is not self._np_random:
            self.np_random = generator


def _first(observations: Observation) -> Observation:
    """The observation of the only slot."""
    if isinstance(observations, dict):
        return {name: values[0] for name, values in observations.items()}
    return observations[0]


def _of_first(info: dict[str, Any]) -> dict[str, Any]:
    """What a vector's info tells of its only slot, as NumPy scalars."""
    return {name: values[0] for name, values in info.items() if not name.startswith("_")}
