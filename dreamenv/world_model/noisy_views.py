"""Frames as training shows them: through noise of levels that are drawn."""

from __future__ import annotations

import torch
from torch import Tensor

from dreamenv.world_model.diffusion import add_noise, sample_levels
from dreamenv.world_model.network.dynamics import Stream


def forcing_levels(
    shape: tuple[int, int],
    clean_prefix: float,
    generator: torch.Generator,
    pure_noise: float = 1 / 3,
    valid: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Signal levels (b, t) of diffusion forcing, and which frames are scored.

    A level of its own for every frame; a share `clean_prefix` of rows keeps a prefix longer than
    half the window clean, and scores only what follows. `valid` (b, 1): how many frames of each
    window are no padding, by default all.
    """
    rows, frames = shape
    valid = torch.full((rows, 1), frames) if valid is None else valid
    level = 0.98 * sample_levels(shape, generator, pure_noise)
    earliest = valid // 2 + 1
    length = whole_numbers(earliest, torch.maximum(valid, earliest + 1), generator)
    chosen = torch.rand((rows, 1), generator=generator) < clean_prefix
    prefix = chosen & (torch.arange(frames) < length)
    return torch.where(prefix, 1.0, level), ~prefix


def whole_numbers(low: Tensor, high: Tensor, generator: torch.Generator) -> Tensor:
    """Uniform whole numbers from `low` to below `high`, element by element."""
    share = torch.rand(low.shape, generator=generator)
    return torch.minimum(low + (share * (high - low)).long(), high - 1)


def context_levels(shape: tuple[int, ...], noise: float, generator: torch.Generator) -> Tensor:
    """Signal levels of written frames: half are clean, half carry noise up to `noise`."""
    level = 1 - noise * torch.rand(shape, generator=generator)
    return torch.where(torch.rand(shape, generator=generator) < 0.5, 1.0, level)


def noisy_view(latents: Tensor, level: Tensor, generator: torch.Generator) -> Stream:
    """Clean latents (b, t, n, c) through noise of the levels (b, t)."""
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    level = level.to(latents)
    return Stream(add_noise(latents, level, noise), level)
