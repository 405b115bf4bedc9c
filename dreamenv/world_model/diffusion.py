"""Noise levels, and the preconditioning that turns the network's output into a frame.

A frame's latents z are seen through noise as z̃ = τ z + (1 − τ) ε, with signal level τ from 0
(pure noise) to 1 (clean), the straight path of flow matching. The network is asked for z itself
("x-prediction"), but only for the part that is not known yet. What is known, under the crude
belief that a frame is the previous one plus a random change of standard deviation s:

    previous frame, seen at level τ':   z' ~ N(m, v),  m = τ' z̃'/q,  v = (1 − τ')²/q,
                                        q = τ'² + (1 − τ')²           (latents have unit variance)
    this frame before looking:          z ~ N(m, v + s²)
    this frame seen at level τ:         z ~ N(m + g (z̃ − τ m), σ²),
                                        g = τ (v + s²)/r,  σ² = (v + s²)(1 − τ)²/r,
                                        r = τ² (v + s²) + (1 − τ)²

The network F gives z = mean + σ F, so its target has unit scale at every level, an untrained
network repeats the last frame, and a clean frame is returned as it is. This is the
preconditioning of Karras et al. 2022 with the previous frame instead of zero as the prior mean.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Belief(NamedTuple):
    """What is believed of a frame before the network speaks, broadcastable to its latents."""

    mean: Tensor
    scale: Tensor


def add_noise(latents: Tensor, level: Tensor, noise: Tensor) -> Tensor:
    """z̃ = τ z + (1 − τ) ε; `level` (b, t) against latents (b, t, n, c)."""
    level = level[..., None, None]
    return level * latents + (1 - level) * noise


def belief(
    noisy: Tensor, level: Tensor, previous: Tensor, previous_level: Tensor, change: Tensor
) -> Belief:
    """Mean and scale of frames given their noisy view and that of the frame before each.

    Args:
        noisy: z̃, (b, t, n, c). level: τ, (b, t).
        previous: z̃', (b, t, n, c). previous_level: τ', (b, t); 0 where there is no frame before.
        change: s, standard deviation of the change between frames, ().
    """
    level, previous_level = level[..., None, None], previous_level[..., None, None]
    clarity = previous_level**2 + (1 - previous_level) ** 2
    prior_mean = previous_level * previous / clarity
    prior_variance = (1 - previous_level) ** 2 / clarity + change**2
    total = level**2 * prior_variance + (1 - level) ** 2
    mean = prior_mean + level * prior_variance / total * (noisy - level * prior_mean)
    return Belief(mean, (prior_variance / total).sqrt() * (1 - level))


def sample_levels(
    shape: tuple[int, ...], generator: torch.Generator, pure_noise: float = 1 / 3, grid: int = 0
) -> Tensor:
    """Signal levels for training: a share `pure_noise` is 0, where every sampler begins.

    The rest is uniform, with a `grid` of K on the levels 0, 1/K … 1 − 1/K that a sampler of K steps
    sees; one of a single step sees level 0 alone.
    """
    level = torch.rand(shape, generator=generator)
    level = (level * grid).floor() / grid if grid else level
    return torch.where(torch.rand(shape, generator=generator) < pure_noise, 0.0, level)


def sampling_levels(steps: int) -> list[tuple[float, float]]:
    """(level before, level after) of every denoising pass of a `steps`-pass sampler."""
    return [(i / steps, (i + 1) / steps) for i in range(steps)]
