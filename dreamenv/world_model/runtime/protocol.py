"""What imagines one frame at a time: the interface of every runtime."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from dreamenv.world_model.network.dynamics import Dynamics
from dreamenv.world_model.network.heads import Outcome, OutcomeHead
from dreamenv.world_model.network.landmarks import Sighting
from dreamenv.world_model.state import LayerState, State


class Shared(NamedTuple):
    """What all passes over one frame share."""

    parts: list[Any]
    """Only the stepper that made them knows what they are."""
    sighting: Sighting | None = None
    """What the frame has of landmarks, of models that have such a memory."""
    landmarks: LayerState = {}
    """That memory at the frame's pose, still without the frame."""


class View(NamedTuple):
    """How a pass sees its frame: signal level, and the jump it is asked for (`Stream.jump`)."""

    level: float
    jump: int


class Written(NamedTuple):
    """A frame that was written into the memory."""

    features: Tensor
    """(b, d): what reward and continuation are read from."""
    regions: Tensor
    """(b, 4 · d): what agents may observe as memory."""
    state: State
    """The memory with the frame in it."""


class Stepper(Protocol):
    """Passes of the network over single frames, with its weights as they are now.

    `Dynamics.forward` defines what is computed; `runtime/reference.py` calls it, the others compute
    the same faster and may overwrite the state that they are given. Shapes: noisy and clean latents
    (b, latents, channels), actions (b, …), the action that leads to the frame.
    """

    def is_current(self, dtype: torch.dtype) -> bool:
        """Whether products are to be in `dtype` and the weights are still those it was made of."""

    def begin(self, state: State, actions: Tensor, frame: Tensor | None = None) -> Shared:
        """What all passes over the next frame share; `frame` are its latents if it is real."""

    def denoise(
        self, state: State, shared: Shared, noisy: Tensor, view: View, actions: Tensor, pull: float
    ) -> Tensor:
        """Latents drawn by `pull`, 0 to 1, from a noisy view towards those predicted from it."""

    def write(
        self, state: State, shared: Shared, noisy: Tensor, view: View, actions: Tensor
    ) -> Written:
        """Write a frame, seen at the level of `view`, into the memory."""

    def outcome(self, head: OutcomeHead, features: Tensor) -> Outcome:
        """What the model's head says of a frame's features (b, d)."""

    def decode(self, latents: Tensor) -> Tensor:
        """Latents → frames (b, H, W, C), about in [0, 1]."""


def look_at_landmarks(
    dynamics: Dynamics, state: State, actions: Tensor, frame: Tensor | None
) -> tuple[Sighting | None, LayerState]:
    """Sighting and memory of `Shared`, for the frame that actions (b, …) lead to."""
    if dynamics.landmarks is None:
        return None, {}
    before = state.latents, state.level
    sight, memory = dynamics.landmarks.look(state.landmarks, *before, actions[:, None], frame)
    return dynamics.landmarks.encode(sight), memory


def remember_landmark(dynamics: Dynamics, shared: Shared, latents: Tensor) -> LayerState:
    """The landmark memory with the frame that was written in it."""
    if dynamics.landmarks is None:
        return {}
    return dynamics.landmarks.remember(shared.landmarks, latents)
