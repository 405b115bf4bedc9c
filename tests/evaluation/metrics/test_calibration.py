"""Calibration and k-step rewards: by hand, and on forecasts that are right by construction."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dreamenv.evaluation.metrics.calibration import EDGES, calibration
from dreamenv.evaluation.metrics.reward_sums import reward_sum_errors
from dreamenv.evaluation.metrics.rewards import EventReadings


def readings(score: np.ndarray, received: np.ndarray) -> EventReadings:
    """Rewards of 0 and 1."""
    return EventReadings(score, score > 0.5, score, (score > 0.5) * 1.0, received)


def test_scores_by_hand() -> None:
    score = np.array([[0.5, 0.5], [0.005, 0.9]])
    found = calibration(readings(score, np.array([[1.0, 0.0], [0.0, 1.0]])), np.arange(2))
    assert found["frames"] == 4 and found["events"] == 2
    assert [(b["from"], b["to"], b["frames"], b["events"]) for b in found["bins"]] == [
        (0.0, 0.01, 1, 0),
        (0.4, 0.6, 2, 1),
        (0.8, 1.0, 1, 1),
    ]
    assert [b["mean_forecast"] for b in found["bins"]] == pytest.approx([0.005, 0.5, 0.9])
    assert [b["frequency"]["mean"] for b in found["bins"]] == [0, 0.5, 1]
    assert found["brier"]["mean"] == pytest.approx((0.25 + 0.25 + 0.005**2 + 0.1**2) / 4)
    assert found["brier_of_base_rate"] == 0.25
    assert found["expected_calibration_error"]["mean"] == pytest.approx((0.005 + 0 + 0.1) / 4)


def test_true_probabilities_are_calibrated_and_doubled_ones_are_not() -> None:
    rng = np.random.default_rng(0)
    truth = np.repeat([0.005, 0.05, 0.3, 0.45], 2500).reshape(4, -1).T
    received = (rng.random(truth.shape) < truth) * 1.0
    groups = np.arange(len(truth)) // 10
    good = calibration(readings(truth, received), groups)
    assert good["expected_calibration_error"]["high"] < 0.02
    for part in good["bins"]:
        frequency = part["frequency"]
        width = frequency["high"] - frequency["low"]
        assert abs(frequency["mean"] - part["mean_forecast"]) < width < 0.05
    bad = calibration(readings(2 * truth, received), groups)
    assert bad["expected_calibration_error"]["low"] > 0.1
    assert bad["brier"]["mean"] > good["brier"]["mean"]


def test_every_probability_has_a_bin() -> None:
    score = np.array([[*EDGES]])
    found = calibration(readings(score, np.zeros(score.shape)), np.zeros(1))
    assert sum(part["frames"] for part in found["bins"]) == len(EDGES)
    json.dumps(found, allow_nan=False)


def test_sums_over_k_steps_by_hand() -> None:
    score = np.array([[0.25, 0.75, 0.0], [0.5, 0.0, 0.5]])
    found = reward_sum_errors(
        readings(score, np.array([[0.0, 0.0, 1.0], [2.0, 0.0, 0.0]])), np.arange(2)
    )
    assert [row["k"] for row in found] == [1, 2]
    one, two = found
    assert one["real"]["mean"] == 1 and one["absolute_error_of_zero"]["mean"] == 1
    assert one["expected"]["bias"]["mean"] == pytest.approx((0.25 - 1.5) / 2)
    assert one["expected"]["absolute_error"]["mean"] == pytest.approx((0.25 + 1.5) / 2)
    assert one["likeliest"]["bias"]["mean"] == pytest.approx((0 - 2) / 2)
    assert two["expected"]["bias"]["mean"] == pytest.approx((1.0 - 1.5) / 2)
    assert two["likeliest"]["absolute_error"]["mean"] == pytest.approx((1 + 2) / 2)


def test_an_early_reward_is_no_error_over_more_steps() -> None:
    early, real = np.array([[1.0, 0, 0, 0]]), np.array([[0, 0, 0, 1.0]])
    found = {row["k"]: row for row in reward_sum_errors(readings(early, real), np.zeros(1))}
    assert found[2]["expected"]["absolute_error"]["mean"] == 1
    assert found[4]["expected"]["absolute_error"]["mean"] == 0
