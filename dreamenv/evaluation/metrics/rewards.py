"""Does the model know when a reward comes? Precision, recall and average precision of events.

An event is a reward other than 0. The model's score of a frame is the probability it gives to all
values but 0; it predicts an event where its likeliest value is not 0, which is also where a dream
pays. A model whose values lack 0 predicts an event at every frame; one whose values are a grid
takes the value nearest to 0 for 0.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch

from dreamenv.rollouts.timing import Window
from dreamenv.world_model.config import RewardConfig
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.network.heads import Outcome

CHUNK = 64
"""Frames watched in one call; bounds the memory of long episodes."""


@dataclass(frozen=True)
class EventReadings:
    """What a model said about the reward of some frames, and what it was; all arrays (n, t)."""

    score: np.ndarray
    """Probability of any value but 0, float64."""
    predicted: np.ndarray
    """Whether the likeliest value is not 0."""
    expected: np.ndarray
    """The expected reward, float64."""
    likeliest: np.ndarray
    """The likeliest reward; the expected one where rewards are a grid of values."""
    received: np.ndarray
    """The real reward."""

    @property
    def real(self) -> np.ndarray:
        """Whether there was a reward."""
        return self.received != 0


@dataclass(frozen=True)
class EventScores:
    """How well predicted events meet the real ones; None where there is nothing to divide by."""

    frames: int
    events: int
    predicted: int
    correct: int
    """Predicted events that meet a real one, each real one counted once."""
    tolerance: int
    """How many frames apart they may be."""
    average_precision: float | None
    precision: float | None
    recall: float | None

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def event_readings(outcome: Outcome, rewards: np.ndarray, config: RewardConfig) -> EventReadings:
    """Read the events from a model's outcome of n × t frames.

    Args:
        outcome: of arriving at each frame, (n, t).
        rewards: (n, t) real rewards on arriving there.
        config: which values the model's probabilities belong to.
    """
    probabilities = outcome.reward_probabilities.double().cpu().numpy()
    other = np.ones(len(config.values), np.bool_)
    zero = int(np.abs(config.values).argmin())
    if config.values[zero] == 0 or not config.exact:
        other[zero] = False
    # A sum, because 1 − P(0) would round the smallest probabilities to nothing.
    score = np.minimum(1.0, probabilities[..., other].sum(-1))
    return EventReadings(
        score,
        other[probabilities.argmax(-1)],
        probabilities @ np.array(config.values),
        outcome.reward.double().cpu().numpy(),
        np.asarray(rewards, np.float64),
    )


def read_teacher_forced(model: WorldModel, episode: Window) -> EventReadings:
    """What the model says while it watches one whole episode of real frames.

    The memory is carried through the episode, as in a dream that has lasted as long. The first
    frame is left out: no step led there.

    Args:
        model: the world model.
        episode: T + 1 frames of the model's size.

    Returns:
        Readings of shape (1, T).
    """
    frames = torch.from_numpy(episode.frames).unsqueeze(0)
    actions = torch.from_numpy(episode.action).unsqueeze(0)
    rewards = episode.reward[None]
    state = model.initial_state(1)
    parts = []
    for start in range(0, frames.shape[1], CHUNK):
        part = slice(start, start + CHUNK)
        state, outcome = model.observe(
            state, frames[:, part].to(model.device), actions[:, part].to(model.device)
        )
        parts.append(event_readings(outcome, rewards[:, part], model.config.rewards))
    readings = concatenate(parts, axis=1)
    return EventReadings(*(getattr(readings, field.name)[:, 1:] for field in fields(readings)))


def concatenate(parts: list[EventReadings], axis: int) -> EventReadings:
    """Join readings along time (axis 1) or clips (axis 0)."""
    return EventReadings(
        *(
            np.concatenate([getattr(part, field.name) for part in parts], axis)
            for field in fields(EventReadings)
        )
    )


def score_events(readings: EventReadings, tolerance: int = 0) -> EventScores:
    """Compare predicted events with real ones.

    Args:
        readings: (n, t); with a tolerance, each row a clip of consecutive frames.
        tolerance: frames by which a prediction may miss its event. Each real event is met by at
            most one prediction: the surest first, each taking the nearest event still free.
    """
    events = int(readings.real.sum())
    predicted = int(readings.predicted.sum())
    met = match(readings.score, readings.real, tolerance)
    # Only the frames that pay compete for the events when precision is counted.
    paid = np.where(readings.predicted, readings.score, -np.inf)
    correct = int(match(paid, readings.real, tolerance).sum())
    return EventScores(
        frames=readings.real.size,
        events=events,
        predicted=predicted,
        correct=correct,
        tolerance=tolerance,
        average_precision=average_precision(readings.score, met, events),
        precision=correct / predicted if predicted else None,
        recall=correct / events if events else None,
    )


def match(score: np.ndarray, real: np.ndarray, tolerance: int) -> np.ndarray:
    """Which frames (n, t) meet an event (n, t), each event met once; score −inf meets none."""
    met = np.zeros(real.shape, np.bool_)
    if tolerance == 0:
        return real & (score > -np.inf)
    for row in np.flatnonzero(real.any(1)):
        free = real[row].copy()
        for t in np.argsort(-score[row], kind="stable"):
            near = np.arange(max(0, t - tolerance), min(len(free), t + tolerance + 1))
            near = near[free[near]]
            if len(near) and score[row, t] > -np.inf:
                free[near[np.abs(near - t).argmin()]] = False
                met[row, t] = True
    return met


def average_precision(score: np.ndarray, met: np.ndarray, events: int) -> float | None:
    """Area under the precision-recall curve as a sum of steps; None if there is no event.

    Σ (R_k − R_{k−1}) P_k over the distinct scores from high to low: frames of equal score are
    told apart by no threshold, so they count together. Events that no frame meets stay missed.
    """
    if not events:
        return None
    order = np.argsort(-score, axis=None, kind="stable")
    ranked, hit = score.ravel()[order], np.cumsum(met.ravel()[order])
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    precision = hit[last] / (last + 1)
    return float((np.diff(hit[last], prepend=0) * precision).sum() / events)
