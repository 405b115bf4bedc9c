"""Two groups at equal steps: fading alone makes no difference, a real one is found."""

from __future__ import annotations

import numpy as np
import pytest

from dreamenv.evaluation.memory.contrast import contrast


def test_groups_at_different_steps_differ_only_by_what_fading_does_not_explain(
    rng: np.random.Generator,
) -> None:
    episodes = np.repeat(np.arange(10), 6)
    first = rng.random((60, 8)) < np.linspace(0.1, 0.9, 8)  # mostly late
    second = ~first & (rng.random((60, 8)) < np.linspace(0.9, 0.1, 8))  # mostly early
    values = np.broadcast_to(30.0 - np.arange(8), (60, 8)) + 1.5 * first
    assert values[first].mean() < values[second].mean()
    found = contrast(values, first, second, episodes)
    assert found is not None and found.difference.mean == pytest.approx(1.5)
    assert found.difference.low == pytest.approx(1.5) == found.difference.high
    assert found.first - found.second == pytest.approx(1.5)


def test_steps_of_one_group_only_say_nothing() -> None:
    values = np.array([[10.0, 99.0, 3.0], [8.0, 0.0, 50.0]])
    first = np.array([[True, True, False], [False, False, False]])
    second = np.array([[False, False, True], [True, False, True]])
    found = contrast(values, first, second, np.array([0, 1]))
    assert found is not None and (found.first, found.second) == (10, 8)
    assert contrast(values, first, np.zeros_like(second), np.array([0, 1])) is None


def test_one_episode_has_no_interval_and_more_vary_by_episode(rng: np.random.Generator) -> None:
    values = rng.normal(size=(40, 4)) + np.repeat(rng.normal(size=20), 2)[:, None]
    half = np.arange(160).reshape(40, 4) % 2 == 0
    half[::2] = ~half[::2]
    alone = contrast(values, half, ~half, np.zeros(40))
    assert alone is not None and alone.difference.low is None
    many = contrast(values, half, ~half, np.repeat(np.arange(20), 2))
    assert many is not None and many.difference.mean == pytest.approx(alone.difference.mean)
    assert many.difference.low < many.difference.mean < many.difference.high
