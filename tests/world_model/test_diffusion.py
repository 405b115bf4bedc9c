"""Noise levels and the belief that preconditions the network."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dreamenv.world_model.diffusion import add_noise, belief, sample_levels, sampling_levels
from tests.world_model.models import TOLERANCE


def scalar(value: float) -> Tensor:
    return torch.full((1, 1), value, dtype=torch.float64)


def frames(seed: int, count: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, count, 4, 3, generator=generator, dtype=torch.float64)


UNIT = st.floats(0, 1)


@settings(max_examples=60)
@given(previous_level=UNIT, change=st.floats(0.05, 2), seed=st.integers(0, 1000))
def test_a_clean_frame_is_believed_as_it_is(
    previous_level: float, change: float, seed: int
) -> None:
    frame, previous = frames(seed), frames(seed + 1)
    s = torch.tensor(change, dtype=torch.float64)
    mean, scale = belief(frame, scalar(1.0), previous, scalar(previous_level), s)
    torch.testing.assert_close(mean, frame, **TOLERANCE)
    assert (scale == 0).all()


@settings(max_examples=60)
@given(level=UNIT, previous_level=UNIT, change=st.floats(0.05, 2))
def test_the_belief_is_the_posterior_of_the_three_gaussians(
    level: float, previous_level: float, change: float
) -> None:
    """Conditioning the joint normal of (z', z, z̃', z̃) gives the same mean and variance."""
    noisy, previous = frames(0), frames(1)
    s = torch.tensor(change, dtype=torch.float64)
    mean, scale = belief(noisy, scalar(level), previous, scalar(previous_level), s)
    # First z' given its view, with prior N(0, 1); then z = z' + N(0, s²) given its own view.
    a, v = previous_level, (1 - previous_level) ** 2
    prior_mean = a * previous / (a**2 + v)
    prior_variance = 1 - a**2 / (a**2 + v) + change**2
    b, w = level, (1 - level) ** 2
    gain = prior_variance * b / (b**2 * prior_variance + w)
    torch.testing.assert_close(mean, prior_mean + gain * (noisy - b * prior_mean), **TOLERANCE)
    variance = (1 - gain * b) * prior_variance
    torch.testing.assert_close(
        scale, torch.full_like(scale, math.sqrt(max(variance, 0.0))), rtol=1e-6, atol=1e-7
    )


def test_pure_noise_after_a_clean_frame_is_believed_to_repeat_it() -> None:
    s = torch.tensor(0.3, dtype=torch.float64)
    mean, scale = belief(frames(0), scalar(0.0), frames(1), scalar(1.0), s)
    torch.testing.assert_close(mean, frames(1), **TOLERANCE)
    torch.testing.assert_close(scale, torch.full_like(scale, 0.3), **TOLERANCE)


def test_pure_noise_after_nothing_is_a_unit_guess_around_zero() -> None:
    s = torch.tensor(0.5, dtype=torch.float64)
    mean, scale = belief(frames(0), scalar(0.0), frames(1), scalar(0.0), s)
    assert (mean == 0).all()
    torch.testing.assert_close(scale, torch.full_like(scale, math.sqrt(1.25)), **TOLERANCE)


def test_noise_is_a_straight_path() -> None:
    clean, noise = frames(0, 3), frames(1, 3)
    level = torch.tensor([[0.0, 0.25, 1.0]], dtype=torch.float64)
    noisy = add_noise(clean, level, noise)
    assert torch.equal(noisy[:, 0], noise[:, 0]) and torch.equal(noisy[:, 2], clean[:, 2])
    torch.testing.assert_close(noisy[:, 1], 0.25 * clean[:, 1] + 0.75 * noise[:, 1])


def test_levels_of_a_grid_are_those_that_samplers_see() -> None:
    level = sample_levels((200, 100), torch.Generator().manual_seed(0), 0.5, grid=4)
    shares = [float((level == i / 4).float().mean()) for i in range(4)]
    assert sum(shares) == pytest.approx(1) and shares[0] == pytest.approx(0.625, abs=0.02)
    assert shares[1:] == pytest.approx([0.125] * 3, abs=0.02)


def test_training_levels_are_a_third_pure_noise_and_else_uniform() -> None:
    level = sample_levels((200, 100), torch.Generator().manual_seed(0))
    assert level.min() == 0 and level.max() < 1
    assert float((level == 0).double().mean()) == pytest.approx(1 / 3, abs=0.02)
    rest = level[level > 0]
    assert float(rest.mean()) == pytest.approx(0.5, abs=0.02)
    counts = torch.histc(rest, 10, 0, 1) / len(rest)
    torch.testing.assert_close(counts, torch.full((10,), 0.1), atol=0.02, rtol=0)


@pytest.mark.parametrize("steps", [1, 2, 3, 8])
def test_sampling_goes_from_noise_to_clean_in_equal_steps(steps: int) -> None:
    levels = sampling_levels(steps)
    assert len(levels) == steps and levels[0][0] == 0.0 and levels[-1][1] == 1.0
    for (_, after), (before, _) in zip(levels, levels[1:], strict=False):
        assert after == before
    assert all(after - before == pytest.approx(1 / steps) for before, after in levels)
