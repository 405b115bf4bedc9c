"""`EpisodeMemory`: what a world model remembers of real episodes, watched beside an agent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Dict, Space
from numpy.typing import NDArray
from torch import Tensor

from dreamenv.core.action_rows import row_type
from dreamenv.core.errors import ConfigError
from dreamenv.dream.loading import load_for_dreaming
from dreamenv.dream.registration import DEFAULT_CHECKPOINT
from dreamenv.dream.spaces import action_space, observation_space, picture_of
from dreamenv.rollouts.actions import rows_of, to_model
from dreamenv.rollouts.pictures import Picture
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
        checkpoint: checkpoint folder of the world model, or `"bundled:NAME"`.
        device: torch device, or `"auto"`.
        dtype: of the model, as for `DreamVectorEnv`.

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
        self._picture: Picture | None = None

    def require_same_spaces(self, observations: Space, actions: Space) -> None:
        """Check the spaces of the real environment (one episode) against the model's.

        Observations may be all that frames can be read from as the model's rollouts were
        (`Picture`); `frames_of` does so.

        Raises:
            ConfigError: other actions, or other frames than the model can be shown.
        """
        config = self.model.config
        channels = config.frame_channels
        if actions != self.action_space:
            raise ConfigError(
                f"the environment takes actions from {actions}, the world model knows "
                f"{self.action_space}; choose the environment that it was trained on"
            )
        try:
            self._picture = picture_of(config, observations)
        except ConfigError as error:
            raise ConfigError(
                f"the environment shows {observations}, the world model takes uint8 frames "
                f"(height, width, {channels}); choose the environment that it was trained on "
                f"({error})"
            ) from error

    def frames_of(self, observations: Any) -> NDArray[np.uint8]:
        """The frames (…, h, w, C) in observations of the real environment, of one or of many."""
        if self._picture is None:
            return np.asarray(observations)
        return self._picture(observations)

    def context_of(self, given: Context) -> Context:
        """A context of frames, from one of observations of the real environment."""
        return self.frames_of(given[0]), given[1]

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
    def watch(self, frames: NDArray, actions: Any) -> None:
        """Take the next frame of every episode into memory.

        Args:
            frames: (num_envs, h, w, C) uint8, of any size.
            actions: of all episodes, as the environment's space batched, which led to them.

        Raises:
            InvalidActionError: they are not of the form of its space.
        """
        rows = rows_of(self.action_space, actions, (self.num_envs,))
        actions = to_model(self.action_space, rows)[:, None]
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


def context_of_one(frame: NDArray, space: Space) -> Context:
    """The context of an episode of which there is one frame yet.

    Args:
        frame: (h, w, C) uint8.
        space: of the environment's actions.
    """
    shape, dtype = row_type(space)
    return np.asarray(frame)[None], np.zeros((0, *shape), dtype)
