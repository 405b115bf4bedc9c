"""Are the probabilities of a reward right? Reliability, Brier score and calibration error.

The forecast of a frame is the probability that its reward is not 0; the outcome is whether it was.
Rewards are rare, so the bins of the reliability diagram are narrow near 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dreamenv.core.statistics import mean_interval, ratio_interval, statistic_interval
from dreamenv.evaluation.metrics.rewards import EventReadings

EDGES = (0.0, 0.01, 0.03, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)


def calibration(readings: EventReadings, groups: np.ndarray, seed: int = 0) -> dict[str, Any]:
    """Score the probabilities of n × t frames.

    Args:
        readings: (n, t).
        groups: (n,) which episode each row is from.
        seed: of the intervals.

    Returns:
        `bins`: for each that holds frames its edges, frames, events, mean forecast, and the
        frequency of events with its interval. `brier`: mean squared difference of forecast and
        outcome, and `brier_of_base_rate`, what a forecast of the overall frequency scores.
        `expected_calibration_error`: the difference of mean forecast and frequency, averaged over
        frames by their bins; in small samples above 0 by chance.
    """
    forecast, outcome = readings.score, readings.real.astype(np.float64)
    place = np.clip(np.searchsorted(EDGES, forecast, side="right") - 1, 0, len(EDGES) - 2)
    inside = place[..., None] == np.arange(len(EDGES) - 1)
    frames = inside.sum(1).astype(np.float64)  # (n, bins), and so are the next two
    forecasts = (forecast[..., None] * inside).sum(1)
    events = (outcome[..., None] * inside).sum(1)
    frequency = ratio_interval(events, frames, groups, seed=seed).to_json()
    bins = [
        {
            "from": EDGES[i],
            "to": EDGES[i + 1],
            "frames": int(frames[:, i].sum()),
            "events": int(events[:, i].sum()),
            "mean_forecast": float(forecasts[:, i].sum() / frames[:, i].sum()),
            "frequency": {key: value and value[i] for key, value in frequency.items()},
        }
        for i in range(len(EDGES) - 1)
        if frames[:, i].any()
    ]

    def calibration_error(rows: np.ndarray) -> float:
        apart = np.abs(forecasts[rows].sum(0) - events[rows].sum(0)).sum()
        return float(apart / frames[rows].sum())

    rate = outcome.mean()
    return {
        "frames": int(outcome.size),
        "events": int(outcome.sum()),
        "bins": bins,
        "brier": mean_interval(np.square(forecast - outcome).mean(1), groups, seed=seed).to_json(),
        "brier_of_base_rate": float(rate * (1 - rate)),
        "expected_calibration_error": statistic_interval(
            calibration_error, groups, seed=seed
        ).to_json(),
    }
