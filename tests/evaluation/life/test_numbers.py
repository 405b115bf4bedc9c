"""The numbers behind the measures, against their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from dreamenv.evaluation.life.classifier import auc, telling_apart
from dreamenv.evaluation.life.distance import Moments, distances, frechet
from dreamenv.evaluation.life.features import look_at
from dreamenv.evaluation.life.windows import StepWindow, step_windows


def test_windows_double_and_cover_every_step_once() -> None:
    assert [tuple(window) for window in step_windows(1000)] == [
        (1, 8), (9, 16), (17, 32), (33, 64), (65, 128), (129, 256), (257, 512), (513, 1000),
    ]  # fmt: skip
    for horizon in (1, 7, 8, 9, 64, 977):
        steps = [s for first, last in step_windows(horizon) for s in range(first, last + 1)]
        assert steps == list(range(1, horizon + 1))
    assert StepWindow(9, 16).columns == slice(8, 16)
    assert StepWindow(9, 16).picks(3).tolist() == [8, 12, 15]
    assert StepWindow(9, 16).picks(99).tolist() == list(range(8, 16))


def test_the_frechet_distance_of_known_normal_distributions() -> None:
    zero, shift = np.zeros(3), np.array([1.0, 2.0, 0.0])
    one = np.eye(3)
    assert frechet((zero, one), (zero, one)) == pytest.approx(0)
    assert frechet((zero, one), (shift, one)) == pytest.approx(5)
    # Of commuting covariances: the sum of squared differences of the standard deviations.
    assert frechet((zero, one), (zero, np.diag([4.0, 9.0, 1.0]))) == pytest.approx(1 + 4)
    assert frechet((zero, np.zeros((3, 3))), (zero, one)) == pytest.approx(3)


def test_moments_of_drawn_episodes_are_those_of_their_frames(rng: np.random.Generator) -> None:
    features = rng.normal(size=(3, 7, 2))
    mean, covariance = Moments.of(features, np.array([0, 1, 1])).normal(np.array([2.0, 1.0]))
    frames = np.concatenate([features[0], features[0], features[1], features[2]])
    np.testing.assert_allclose(mean, frames.mean(0))
    np.testing.assert_allclose(covariance, np.cov(frames.T, ddof=0))


def test_dreams_of_another_look_are_far_in_units_of_real_mazes(rng: np.random.Generator) -> None:
    episodes = np.repeat(np.arange(6), 2)
    real = rng.normal(size=(12, 50, 4))
    found = distances(real + 3, real, episodes, np.ones(4))
    assert found["same_frames"] == pytest.approx(4 * 9)
    assert found["ratio"]["low"] > 10
    equal = distances(real, real, episodes, np.ones(4))
    assert equal["ratio"] == pytest.approx({"mean": 1, "low": 1, "high": 1})
    alone = distances(real, real, np.zeros(12, np.int64), np.ones(4))
    assert alone["ratio"] is None and alone["same_frames"] == pytest.approx(0, abs=1e-9)


def test_auc_counts_pairs_and_ties_half() -> None:
    labels = np.array([0, 0, 1, 1])
    assert auc(np.array([1.0, 2.0, 3.0, 4.0]), labels) == 1
    assert auc(np.array([3.0, 4.0, 1.0, 2.0]), labels) == 0
    assert auc(np.array([1.0, 1.0, 1.0, 1.0]), labels) == 0.5
    assert auc(np.array([1.0, 3.0, 2.0, 4.0]), labels) == 0.75
    assert auc(np.array([1.0]), np.array([1])) is None


def test_what_one_episode_looks_like_is_no_help_with_others(rng: np.random.Generator) -> None:
    real, dreamt = rng.normal(size=(2, 8, 20, 5))
    episodes = np.arange(8)
    found = telling_apart(dreamt, real, episodes)
    assert found is not None and abs(found["mean"] - 0.5) < 0.15
    marked = telling_apart(dreamt + [0, 0, 4, 0, 0], real, episodes)
    assert marked is not None and marked["low"] > 0.95
    assert telling_apart(dreamt, real, np.zeros(8)) is None


def test_looks_are_means_over_parts_of_the_frame() -> None:
    before = np.zeros((1, 8, 8, 3), np.uint8)
    frames = before.copy()
    frames[0, :2, :2] = 255  # the first of 4 by 4 parts
    looks = look_at(frames, before)
    assert looks.motion[0] == pytest.approx(4 / 64)
    # A pixel of the edge to the right and one of the one below: all else lies in the outer eighth.
    assert looks.sharpness[0] == pytest.approx(2 / 36)
    changes = np.zeros(16)
    changes[0] = 1
    np.testing.assert_allclose(looks.changes[0], changes)
    assert looks.features.shape == (1, 4 * 4 * (3 + 1))
    np.testing.assert_allclose(looks.features[0, :48:16], 1)
    np.testing.assert_allclose(looks.features[0, 48], 1)
    assert look_at(frames[..., :1], before[..., :1]).features.shape == (1, 4 * 4 * 2)
