"""The dream's memory for agents in the real environment.

A world model watches real episodes beside the agent, frame by frame, and what it makes of them is
given to the agent as in dreams with `observation="memory"`. So a policy without memory of its own
learns in the dream and acts in the real environment, with the same memory in both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Dict, Space
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from torch import Tensor

from dreamenv.core.errors import ConfigError
from dreamenv.dream.loading import load_for_dreaming
from dreamenv.dream.registration import DEFAULT_CHECKPOINT
from dreamenv.dream.spaces import action_space, observation_space
from dreamenv.rollouts.actions import to_model
from dreamenv.rollouts.timing import led_by
from dreamenv.world_model.isolation import isolated
from dreamenv.world_model.preprocessing import fit_frames
from dreamenv.world_model.state import State

Context = tuple[NDArray, NDArray]
"""Frames (t, h, w, C) uint8 and the t − 1 actions between them; episodes go on from the last."""

EPISODE_CONTEXT = "episode_context"
"""The method of a real environment that returns the `Context` which its episode began with."""


class EpisodeMemory:
    """What a world model remembers of several real episodes under way.

    Args:
        num_envs: number of episodes.
        checkpoint, device, dtype: of the world model, as for `DreamVectorEnv`.

    Attributes:
        observation_space: of one episode: `frame`, of the model's size, and `memory`.
        action_space: that the model knows.

    Raises:
        CheckpointError: the checkpoint is missing or damaged.
        ConfigError: its model is told poses, not actions.
    """

    def __init__(
        self,
        num_envs: int,
        checkpoint: str | Path = DEFAULT_CHECKPOINT,
        device: str = "auto",
        dtype: str = "auto",
    ) -> None:
        self.num_envs = num_envs
        self.model = load_for_dreaming(checkpoint, device, dtype).model
        config = self.model.config
        if config.conditioning != "action":
            raise ConfigError(
                f"the world model {checkpoint} is told {config.conditioning}s, which an agent's "
                "actions do not give; choose one trained on actions"
            )
        space = observation_space(self.model, "memory")
        assert isinstance(space, Dict)
        self.observation_space, self.action_space = space, action_space(config.actions)
        self._frames = np.zeros((num_envs, *space["frame"].shape), np.uint8)  # type: ignore[misc]
        self._features = np.zeros((num_envs, self.model.feature_size), np.float32)
        self._state = self.model.initial_state(num_envs)

    def require_same_spaces(self, observations: Space, actions: Space) -> None:
        """Check the spaces of the real environment (one episode) against the model's.

        Raises:
            ConfigError: other actions, or other frames than the model can be shown.
        """
        channels = self.model.config.frame_channels
        if actions != self.action_space:
            raise ConfigError(
                f"the environment takes actions from {actions}, the world model knows "
                f"{self.action_space}; choose the environment that it was trained on"
            )
        shape = observations.shape or ()
        is_image = isinstance(observations, Box) and observations.dtype == np.uint8
        if not is_image or len(shape) != 3 or shape[-1] != channels:
            raise ConfigError(
                f"the environment shows {observations}, the world model takes uint8 frames "
                f"(height, width, {channels}); choose the environment that it was trained on"
            )

    @isolated
    def begin(self, slots: Iterable[int], contexts: Sequence[Context]) -> None:
        """Begin an episode in each of `slots`, whose memory so far is dropped."""
        together: dict[int, list[tuple[int, Context]]] = {}
        for slot, context in zip(slots, contexts, strict=True):
            together.setdefault(len(context[0]), []).append((slot, context))
        for group in together.values():
            frames = np.stack([context[0] for _, context in group])
            between = to_model(self.action_space, np.stack([context[1] for _, context in group]))
            actions = led_by(between, time=1)
            start = self.model.initial_state(len(group))
            here = [slot for slot, _ in group]
            state, self._frames[here], self._features[here] = self._observe(start, frames, actions)
            self._state = self._state.put(here, state)

    @isolated
    def watch(self, frames: NDArray, actions: NDArray) -> None:
        """Take the next frame of every episode into memory.

        Args:
            frames: (num_envs, h, w, C) uint8, of any size.
            actions: (num_envs, …) of the environment's space, which led to them.
        """
        actions = to_model(self.action_space, actions)[:, None]
        self._state, self._frames, self._features = self._observe(
            self._state, np.asarray(frames)[:, None], actions
        )

    def show(self) -> dict[str, NDArray]:
        """What the agents see: the newest `frame` of every episode and the `memory`."""
        return {"frame": self._frames.copy(), "memory": self._features.copy()}

    def get_tensors(self) -> dict[str, Tensor]:
        """All that is remembered and shown, on the CPU, for `set_tensors`."""
        parts = self._state.named_tensors()
        return {
            "frames": torch.from_numpy(self._frames.copy()),
            "features": torch.from_numpy(self._features.copy()),
            **{f"state.{name}": part.to("cpu", copy=True) for name, part in parts},
        }

    def set_tensors(self, tensors: Mapping[str, Tensor]) -> bool:
        """Go on from `get_tensors` of the same model; returns whether they are of its shapes."""
        mine = self.get_tensors()
        if {n: t.shape for n, t in mine.items()} != {n: t.shape for n, t in tensors.items()}:
            return False
        self._frames, self._features = (tensors[n].numpy() for n in ("frames", "features"))
        self._state = self._state.clone()
        for name, part in self._state.named_tensors():
            part.copy_(tensors[f"state.{name}"])
        return True

    def _observe(
        self, state: State, frames: NDArray, actions: NDArray
    ) -> tuple[State, NDArray[np.uint8], NDArray[np.float32]]:
        """Watch frames (n, t, …); returns the memory, the last frames as fitted, features."""
        frames = fit_frames(frames, self.model.config.frame_size)
        shown, led = (torch.from_numpy(x).to(self.model.device) for x in (frames, actions))
        state, outcome = self.model.observe(state, shown, led, reuse=True)
        assert outcome.features is not None
        return state, frames[:, -1].copy(), outcome.features[:, -1].float().cpu().numpy()


class WithMemory(gymnasium.Wrapper):
    """One real environment, observed as a dream with `observation="memory"`.

    An episode's memory begins with what the environment's method `episode_context` returns, if it
    has one, as `dreamenv.real.replayed.SpawnedEnv` does, else with its first frame.

    Args:
        env: a real environment that shows uint8 frames (height, width, channels).
        checkpoint, device, dtype: of the world model, as for `DreamVectorEnv`.

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
        frame, info = self.env.reset(seed=seed, options=options)
        if self.env.has_wrapper_attr(EPISODE_CONTEXT):
            context = self.env.get_wrapper_attr(EPISODE_CONTEXT)()
        else:
            context = only(frame, self.action_space)
        self._memory.begin([0], [context])
        return self._show(), info

    def step(self, action: Any) -> tuple[dict[str, NDArray], Any, bool, bool, dict[str, Any]]:
        """Take one action and remember the frame that it leads to."""
        frame, *rest = self.env.step(action)
        self._memory.watch(np.asarray(frame)[None], np.asarray(action)[None])
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
        frames, info = self.env.reset(seed=seed, options=options)  # type: ignore[arg-type]
        self._begin(mask, frames)
        self._ended &= ~mask
        return self._memory.show(), info

    def step(self, actions: Any) -> tuple[dict[str, NDArray], Any, Any, Any, dict[str, Any]]:
        """Step every slot; with same-step autoreset `final_obs` holds memory as well."""
        frames, rewards, terminated, truncated, info = self.env.step(actions)
        ended = terminated | truncated
        if self._mode == AutoresetMode.SAME_STEP and ended.any():
            last = np.array(frames)
            for i in np.flatnonzero(ended):
                last[i] = info["final_obs"][i]
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
            contexts = [given[i] for i in slots]
        else:
            contexts = [only(frames[i], self.single_action_space) for i in slots]
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


def only(frame: NDArray, space: Space) -> Context:
    """The context of an episode of which there is one frame yet, under actions of `space`."""
    return np.asarray(frame)[None], np.zeros((0, *(space.shape or ())), space.dtype)
