"""k-step reward error: does what a dream pays over k steps add up to what the real one pays?"""

from __future__ import annotations

from typing import Any

import numpy as np

from dreamenv.core.statistics import mean_interval
from dreamenv.evaluation.metrics.rewards import EventReadings

STEPS = (1, 2, 4, 8, 16)


def reward_sum_errors(
    readings: EventReadings, groups: np.ndarray, seed: int = 0
) -> list[dict[str, Any]]:
    """Compare sums of dreamt and real rewards over the first k imagined frames of each clip.

    Args:
        readings: (n, t) of imagined frames.
        groups: (n,) which episode each clip is from.
        seed: of the intervals.

    Returns:
        For each k of `STEPS` up to t: the mean real sum; `absolute_error_of_zero`, what always
        saying 0 misses it by; and for the expected and the likeliest rewards the bias (mean of
        dreamt minus real) and the mean absolute error, all with intervals.
    """
    rows = []
    for k in (k for k in STEPS if k <= readings.received.shape[1]):
        real = readings.received[:, :k].sum(1)
        row: dict[str, Any] = {
            "k": k,
            "real": mean_interval(real, groups, seed=seed).to_json(),
            "absolute_error_of_zero": mean_interval(np.abs(real), groups, seed=seed).to_json(),
        }
        for name in ("expected", "likeliest"):
            error = getattr(readings, name)[:, :k].sum(1) - real
            row[name] = {
                "bias": mean_interval(error, groups, seed=seed).to_json(),
                "absolute_error": mean_interval(np.abs(error), groups, seed=seed).to_json(),
            }
        rows.append(row)
    return rows
