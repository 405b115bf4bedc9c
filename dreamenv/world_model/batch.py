"""Windows of rollouts as training takes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from dreamenv.world_model.network.landmarks import Sight

P = TypeVar("P", Tensor, Sight, None, "Tensor | None", "Sight | None", "Tensor | Sight | None")


@dataclass
class Batch:
    """Windows of rollouts in model time, (b, t, …)."""

    latents: Tensor
    """Standardised latents (b, t, tokens, channels)."""
    actions: Tensor
    """The action that led to each frame; −1 or NaN where a window begins."""
    rewards: Tensor
    """The reward on arriving at each frame; NaN where it is unknown, and not scored."""
    terminated: Tensor
    """Whether the episode terminated on arriving at each frame."""
    valid: Tensor = None  # type: ignore[assignment]
    """Whether each frame is one: windows that hold fewer frames are padded at their end with
    anything finite. Nothing of that is scored, nor seen by any frame. Default: all are."""
    sight: Sight | None = None
    """What frames have of landmarks and motion, for models with a landmark memory."""
    motions: Tensor | None = None
    """What truly led to each frame, (b, t, 3), where `sight` tells it with errors."""

    def __post_init__(self) -> None:
        if self.valid is None:
            self.valid = torch.ones_like(self.terminated, dtype=torch.bool)

    def each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """The batch with every part of it changed alike."""
        return Batch(*(changed(part, change) for part in vars(self).values()))

    def to(self, device: torch.device) -> Batch:
        """The batch on another device."""
        return self.each(lambda part: part.to(device))

    def split(self, segments: int) -> list[Batch]:
        """Consecutive segments of the windows, of equal length."""
        size = self.valid.shape[1] // segments
        starts = range(0, size * segments, size)
        return [self.each(partial(_stretch, at, at + size)) for at in starts]


def changed(part: P, change: Callable[[Tensor], Tensor]) -> P:
    """A part of a batch with its tensors changed."""
    if isinstance(part, Sight):
        return Sight(*map(change, part))
    return None if part is None else change(part)


def _stretch(start: int, stop: int, part: Tensor) -> Tensor:
    return part[:, start:stop]
