"""What a frame looks like, in few fixed numbers that no network was trained for.

Pooled colours and gradients: the frame is cut into `CELLS` by `CELLS` parts, and of each the mean
colour and the mean absolute difference of neighbouring pixels are taken. They tell colours, what
lies where and how sharp it is; they tell neither textures nor meanings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dreamenv.world_model.open_loop import gradient_energy
from dreamenv.world_model.preprocessing import to_unit

CELLS = 4
NAME = f"mean colours and mean absolute gradients of {CELLS} by {CELLS} parts of the frame"
PIECE = 256
"""Frames described at once."""


@dataclass(frozen=True)
class Looks:
    """Descriptions of frames, arrays (n, …) or (n, h, …)."""

    sharpness: np.ndarray
    """(…): `dreamenv.world_model.open_loop.gradient_energy`, pixels in [0, 1]."""
    motion: np.ndarray
    """(…): mean absolute difference from the frame before, pixels in [0, 1]."""
    features: np.ndarray
    """(…, d) float32: pooled colours and gradients."""
    changes: np.ndarray
    """(…, CELLS²) float32: where the frame differs from the one before."""

    def of_steps(self, columns: np.ndarray) -> np.ndarray:
        """Everything about some of h steps as numbers, (n, columns, d)."""
        single = np.stack([self.sharpness, self.motion], -1)
        parts = self.features, self.changes, single
        return np.concatenate([part[:, columns] for part in parts], -1)


def look_at(frames: np.ndarray, before: np.ndarray) -> Looks:
    """Describe uint8 frames (n, H, W, C), each with the frame before it."""
    parts = [
        _describe(*(to_unit(torch.from_numpy(x[start : start + PIECE])) for x in (frames, before)))
        for start in range(0, len(frames), PIECE)
    ]
    return Looks(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def stack_looks(parts: list[Looks]) -> Looks:
    """Looks of h steps, (n, …) each, as one of (n, h, …)."""
    names = ("sharpness", "motion", "features", "changes")
    return Looks(*(np.stack([getattr(part, name) for part in parts], 1) for name in names))


def _describe(frames: Tensor, before: Tensor) -> tuple[np.ndarray, ...]:
    planes, old = (x.permute(0, 3, 1, 2) for x in (frames, before))
    across = F.pad(planes[..., 1:] - planes[..., :-1], (0, 1))
    down = F.pad(planes[..., 1:, :] - planes[..., :-1, :], (0, 0, 0, 1))
    change = (planes - old).abs().mean(1, keepdim=True)
    gradients = (across.abs() + down.abs()).mean(1, keepdim=True)
    pooled = [F.adaptive_avg_pool2d(x, CELLS).flatten(1) for x in (planes, gradients, change)]
    features = torch.cat(pooled[:2], 1)
    found = gradient_energy(frames), change.mean((1, 2, 3)), features, pooled[2]
    return tuple(part.numpy() for part in found)
