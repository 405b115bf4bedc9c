"""Reward events: scores against a reference, matching in time, and honesty without events."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dreamenv.evaluation.metrics.rewards import (
    CHUNK,
    EventReadings,
    average_precision,
    event_readings,
    match,
    read_teacher_forced,
    score_events,
)
from dreamenv.rollouts.store import RolloutStore
from dreamenv.rollouts.timing import model_time
from dreamenv.world_model.checkpoint import load_world_model
from dreamenv.world_model.config import RewardConfig
from dreamenv.world_model.network.heads import Outcome
from dreamenv.world_model.preprocessing import fit_frames
from tests.evaluation.ring_env import RingOracle


def readings(score: list[float], real: list[int]) -> EventReadings:
    """One clip; an event is predicted where its score is above one half."""
    scores, received = np.array([score]), np.array([real], float)
    return EventReadings(scores, scores > 0.5, scores, (scores > 0.5).astype(float), received)


def outcome(probabilities: list[list[float]]) -> Outcome:
    tensor = torch.tensor([probabilities])
    return Outcome(tensor[..., 0], tensor, tensor[..., 0])


@pytest.mark.parametrize("digits", [1, 12])
def test_average_precision_is_the_usual_one_with_and_without_ties(digits: int) -> None:
    from torchmetrics.functional.classification import binary_average_precision

    rng = np.random.default_rng(digits)
    for _ in range(20):
        score = rng.random(60).round(digits)
        real = rng.random(60) < 0.2 + 0.5 * score
        expected = binary_average_precision(torch.from_numpy(score), torch.from_numpy(real).long())
        found = average_precision(score, real, int(real.sum()))
        assert found == pytest.approx(float(expected), abs=1e-6)


def test_scores_of_a_known_case() -> None:
    scores = score_events(readings([0.9, 0.8, 0.1, 0.6, 0.2], [1, 0, 1, 1, 0]))
    assert (scores.events, scores.predicted, scores.correct) == (3, 3, 2)
    assert scores.precision == pytest.approx(2 / 3)
    assert scores.recall == pytest.approx(2 / 3)
    assert scores.average_precision == pytest.approx((1 / 1 + 2 / 3 + 3 / 5) / 3)


def test_without_events_there_are_no_numbers() -> None:
    silent = score_events(readings([0.1, 0.2], [0, 0]))
    assert (silent.average_precision, silent.precision, silent.recall) == (None, None, None)
    false_alarm = score_events(readings([0.9, 0.2], [0, 0]))
    assert (false_alarm.average_precision, false_alarm.recall) == (None, None)
    assert false_alarm.precision == 0.0


def test_tolerance_forgives_one_step_and_no_more() -> None:
    late_by_one = readings([0.0, 0.0, 0.9, 0.0, 0.0], [0, 1, 0, 0, 0])
    assert score_events(late_by_one, tolerance=0).recall == 0
    assert score_events(late_by_one, tolerance=1).recall == 1
    late_by_two = readings([0.0, 0.0, 0.0, 0.9, 0.0], [0, 1, 0, 0, 0])
    assert score_events(late_by_two, tolerance=1).recall == 0


def test_an_event_is_met_by_one_prediction_only() -> None:
    twice = score_events(readings([0.0, 0.8, 0.9, 0.0], [0, 1, 0, 0]), tolerance=1)
    assert (twice.correct, twice.precision, twice.recall) == (1, 0.5, 1.0)


def test_each_prediction_takes_the_nearest_free_event() -> None:
    met = match(np.array([[0.9, 0.8, 0.7]]), np.array([[1, 1, 0]], np.bool_), tolerance=1)
    assert met.tolist() == [[True, True, False]]


def test_events_do_not_reach_into_the_next_clip() -> None:
    score = np.array([[0.0, 0.9], [0.0, 0.0]])
    real = np.array([[0, 0], [1, 0]], np.bool_)
    assert not match(score, real, tolerance=1)[0].any()


def test_an_event_is_any_value_but_zero() -> None:
    config = RewardConfig((-1.0, 0.0, 2.0))
    read = event_readings(
        outcome([[0.3, 0.4, 0.3], [0.6, 0.2, 0.2]]), np.array([[0.0, -1.0]]), config
    )
    np.testing.assert_allclose(read.score, [[0.6, 0.8]], rtol=1e-6)
    assert read.predicted.tolist() == [[False, True]]
    assert read.real.tolist() == [[False, True]]
    np.testing.assert_allclose(read.expected, [[0.3, -0.2]], rtol=1e-6)


def test_small_probabilities_are_not_rounded_away() -> None:
    read = event_readings(outcome([[1.0, 1e-12]]), np.zeros((1, 1)), RewardConfig((0.0, 1.0)))
    assert read.score[0, 0] == pytest.approx(1e-12)


def test_values_without_zero() -> None:
    always = event_readings(outcome([[0.9, 0.1]]), np.ones((1, 1)), RewardConfig((1.0, 2.0)))
    assert always.score[0, 0] == pytest.approx(1) and always.predicted.all()
    grid = RewardConfig((-0.1, 0.5, 1.0), exact=False)
    nearest = event_readings(outcome([[0.8, 0.1, 0.1]]), np.zeros((1, 1)), grid)
    assert nearest.score[0, 0] == pytest.approx(0.2) and not nearest.predicted.any()


def test_a_perfect_model_reads_every_event(ring_rollouts: Path) -> None:
    store = RolloutStore(ring_rollouts)
    for episode in range(store.num_episodes):
        window = model_time(store.read(episode), store.action_space)
        scores = score_events(read_teacher_forced(RingOracle(), window))  # type: ignore[arg-type]
        assert scores.frames == store.lengths[episode]
        assert scores.events == store.reward_events[episode] > 0
        assert (scores.average_precision, scores.precision, scores.recall) == (1.0, 1.0, 1.0)


def test_chunks_carry_the_memory(ring_rollouts: Path, ring_checkpoint: Path) -> None:
    model = load_world_model(ring_checkpoint).double()
    store = RolloutStore(ring_rollouts)
    window = model_time(store.read(0), store.action_space)
    window = replace(window, frames=fit_frames(window.frames, model.config.frame_size))
    assert len(window) > CHUNK
    read = read_teacher_forced(model, window)
    _, at_once = model.observe(
        model.initial_state(1),
        torch.from_numpy(window.frames)[None],
        torch.from_numpy(window.action)[None],
    )
    expected = at_once.reward_probabilities[:, 1:, 1].numpy()
    np.testing.assert_allclose(read.score, expected, rtol=1e-9)
    assert read.score.std() > 0
