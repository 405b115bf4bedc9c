"""What imagines one frame at a time: the interface of every runtime."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from dreamenv.world_model.network.heads import Outcome, OutcomeHead
from dreamenv.world_model.state import State

Shared = list[Any]
"""What all passes over one frame share; only the stepper that made it knows what it is."""


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

    def begin(self, state: State) -> Shared:
        """What all passes over the next frame share."""

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
