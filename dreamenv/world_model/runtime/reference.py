"""Imagining with the network itself: any architecture, and the numbers that others must give."""

from __future__ import annotations

import torch
from torch import Tensor

from dreamenv.world_model.network.dynamics import Dynamics, Stream
from dreamenv.world_model.network.heads import Outcome, OutcomeHead
from dreamenv.world_model.network.tokenizer import Tokenizer
from dreamenv.world_model.runtime.protocol import (
    Shared,
    View,
    Written,
    look_at_landmarks,
    remember_landmark,
)
from dreamenv.world_model.state import State


class ReferenceStepper:
    """A `Stepper` that calls the network. The state that it is given stays as it is.

    Args:
        dynamics: the network, of any architecture.
        tokenizer: its latents are decoded.
        dtype: of matrix products.
    """

    def __init__(self, dynamics: Dynamics, tokenizer: Tokenizer, dtype: torch.dtype) -> None:
        self.dynamics, self.tokenizer, self.dtype = dynamics, tokenizer, dtype

    def is_current(self, dtype: torch.dtype) -> bool:
        """It reads the weights at every call."""
        return dtype == self.dtype

    def begin(self, state: State, actions: Tensor, frame: Tensor | None = None) -> Shared:
        """What the frame has of landmarks."""
        with self._autocast():
            return Shared([], *look_at_landmarks(self.dynamics, state, actions, frame))

    def denoise(
        self, state: State, shared: Shared, noisy: Tensor, view: View, actions: Tensor, pull: float
    ) -> Tensor:
        """As the protocol says. The frame in the making sees the memory, which does not see it."""
        level = torch.full_like(noisy[:, :1, 0], view.level)
        stream = Stream(noisy[:, None], level, torch.full_like(level, view.jump).long())
        with self._autocast():
            _, prediction, _ = self.dynamics(
                state, stream, actions.unsqueeze(1), keep=False, sight=shared.sighting
            )
            return noisy + pull * (prediction.latents[:, 0] - noisy)

    def write(
        self, state: State, shared: Shared, noisy: Tensor, view: View, actions: Tensor
    ) -> Written:
        """As the protocol says."""
        level = torch.full_like(noisy[:, :1, 0], view.level)
        with self._autocast():
            stream = Stream(noisy[:, None], level)
            state, prediction, _ = self.dynamics(
                state, stream, actions.unsqueeze(1), sight=shared.sighting
            )
        state.landmarks = remember_landmark(self.dynamics, shared, noisy)
        return Written(prediction.features[:, 0], prediction.regions[:, 0], state)

    def outcome(self, head: OutcomeHead, features: Tensor) -> Outcome:
        """As the protocol says."""
        with self._autocast():
            return head(features)

    def decode(self, latents: Tensor) -> Tensor:
        """As the protocol says."""
        with self._autocast():
            return self.tokenizer.decode(latents, self.dynamics.grid)

    def _autocast(self) -> torch.autocast:
        position = self.dynamics.position
        return torch.autocast(
            position.device.type, self.dtype, enabled=self.dtype != position.dtype
        )
