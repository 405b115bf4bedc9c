"""The one path from an environment's frames to the model's, for real and imagined alike."""

from __future__ import annotations

import torch
from torch import Tensor

from dreamenv.core.frames import fit_frames

__all__ = ["fit_frames", "to_uint8", "to_unit"]


def to_unit(frames: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 frames → [0, 1]."""
    return frames.to(dtype) / 255


def to_uint8(frames: Tensor) -> Tensor:
    """Frames about in [0, 1] → uint8, rounded and clipped."""
    return (frames * 255).round_().clamp_(0, 255).to(torch.uint8)
