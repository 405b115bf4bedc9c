"""`WithMemory`: real environments, observed with the memory that agents have in dreams.

A world model watches real episodes beside the agent, frame by frame, and what it makes of them is
given to the agent as in dreams with `observation="memory"`. So a policy without memory of its own
learns in the dream and acts in the real environment, with the same memory in both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from dreamenv.dream.episode_memory import EPISODE_CONTEXT, Context, EpisodeMemory, context_of_one
from dreamenv.dream.registration import DEFAULT_CHECKPOINT
from dreamenv.rollouts.actions import rows_of


class WithMemory(gymnasium.Wrapper):
    """One real environment, observed as a dream with `observation="memory"`.

    An episode's memory begins with what the environment's method `episode_context` returns, if it
    has one, as `dreamenv.real.replayed.SpawnedEnv` does, else with its first frame.

    Args:
        env: a real environment that shows the pictures that the model's rollouts were made of.
        checkpoint: checkpoint folder of the world model, or `"bundled:NAME"`.
        device: torch device, or `"auto"`.
        dtype: of the model, as for `DreamVectorEnv`.

    Raises:
        CheckpointError: the checkpoint is missing or damaged.
        ConfigError: the model was trained on another kind of environment.
    """

    def __init__(
        self,
        env: gymnasium.Env,
        checkpoint: str | Path = DEFAULT_CHECKPOINT,
        device: str = "auto",
        dtype: str = "auto",
    ) -> None:
        super().__init__(env)
        self._memory = EpisodeMemory(1, checkpoint, device, dtype)
        self._memory.require_same_spaces(env.observation_space, env.action_space)
        self.observation_space = self._memory.observation_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray], dict[str, Any]]:
        """Begin an episode, and its memory anew."""
        observation, info = self.env.reset(seed=seed, options=options)
        if self.env.has_wrapper_attr(EPISODE_CONTEXT):
            context = self._memory.context_of(self.env.get_wrapper_attr(EPISODE_CONTEXT)())
        else:
            frame = self._memory.frames_of(observation)
            context = context_of_one(frame, self.action_space)
        self._memory.begin([0], [context])
        return self._show(), info

    def step(self, action: Any) -> tuple[dict[str, NDArray], Any, bool, bool, dict[str, Any]]:
        """Take one action and remember the frame that it leads to."""
        observation, *rest = self.env.step(action)
        frame = self._memory.frames_of(observation)
        self._memory.watch(frame[None], rows_of(self.action_space, action)[None])
        return self._show(), *rest  # type: ignore[return-value]

    def _show(self) -> dict[str, NDArray]:
        return {name: values[0] for name, values in self._memory.show().items()}


class WithMemoryVector(VectorWrapper):
    """`WithMemory` for a Gymnasium vector environment: the model watches all slots in one batch.

    Contexts, arguments and errors as for `WithMemory`; every autoreset mode is followed.
    """

    def __init__(
        self,
        env: VectorEnv,
        checkpoint: str | Path = DEFAULT_CHECKPOINT,
        device: str = "auto",
        dtype: str = "auto",
    ) -> None:
        super().__init__(env)
        self._memory = EpisodeMemory(env.num_envs, checkpoint, device, dtype)
        spaces = env.single_observation_space, env.single_action_space
        self._memory.require_same_spaces(*spaces)
        self.single_observation_space = self._memory.observation_space
        self.observation_space = batch_space(self.single_observation_space, env.num_envs)
        self._mode = env.metadata["autoreset_mode"]
        self._contexts = _contexts_of(env)
        self._ended = np.zeros(env.num_envs, np.bool_)

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[dict[str, NDArray], dict[str, Any]]:
        """Begin an episode in every slot, or in those of `options["reset_mask"]`."""
        everyone = np.ones(self.num_envs, np.bool_)
        mask = np.array((options or {}).get("reset_mask", everyone))
        shown, info = self.env.reset(seed=seed, options=options)  # type: ignore[arg-type]
        self._begin(mask, self._memory.frames_of(shown))
        self._ended &= ~mask
        return self._memory.show(), info

    def step(self, actions: Any) -> tuple[dict[str, NDArray], Any, Any, Any, dict[str, Any]]:
        """Step every slot; with same-step autoreset `final_obs` holds memory as well."""
        observations, rewards, terminated, truncated, info = self.env.step(actions)
        frames = self._memory.frames_of(observations)
        ended = terminated | truncated
        if self._mode == AutoresetMode.SAME_STEP and ended.any():
            last = np.array(frames)
            for i in np.flatnonzero(ended):
                last[i] = self._memory.frames_of(info["final_obs"][i])
            self._memory.watch(last, actions)
            shown = self._memory.show()
            for i in np.flatnonzero(ended):
                info["final_obs"][i] = {name: values[i] for name, values in shown.items()}
            self._begin(ended, frames)
        else:
            self._memory.watch(frames, actions)
            if self._mode == AutoresetMode.NEXT_STEP and self._ended.any():
                self._begin(self._ended, frames)  # this step was their reset
            self._ended = ended
        return self._memory.show(), rewards, terminated, truncated, info

    def _begin(self, mask: NDArray[np.bool_], frames: NDArray) -> None:
        slots = np.flatnonzero(mask).tolist()
        if self._contexts is not None:
            given = self._contexts()
            contexts = [self._memory.context_of(given[i]) for i in slots]
        else:
            contexts = [context_of_one(frames[i], self.single_action_space) for i in slots]
        self._memory.begin(slots, contexts)


def _contexts_of(env: VectorEnv) -> Callable[[], Sequence[Context]] | None:
    """What returns the contexts of all slots; None where not every one has such a method."""
    call = getattr(env.unwrapped, "call", None)
    if call is None:
        return None
    try:  # asked for what it lacks, an environment in a process of its own would end
        told = all(call("has_wrapper_attr", EPISODE_CONTEXT))
    except AttributeError:  # its slots are no environments of their own
        return None
    return (lambda: call(EPISODE_CONTEXT)) if told else None
