"""Two groups of imagined frames compared at equal steps of the imagination.

Imagined frames get worse step by step, so groups that lie at different steps differ for that
reason alone. Here each step's difference is taken, and their mean, weighted by how many frames
the first group has there; steps that only one group has say nothing and are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dreamenv.core.statistics import RESAMPLES, Interval, draws, interval_of


@dataclass(frozen=True)
class Contrast:
    """Means of two groups over their common steps, and the first minus the second."""

    first: float
    second: float
    difference: Interval


def contrast(
    values: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    episodes: np.ndarray,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Contrast | None:
    """Compare `values` (n, h) where `first` (n, h) is True with where `second` is.

    The interval draws whole episodes (n,) anew, and is None for a single one. None is returned
    where no step has frames of both groups.
    """
    labels = np.unique(episodes, return_inverse=True)[1]
    count = int(labels.max()) + 1
    tables = np.zeros((4, count, values.shape[1]))
    for table, part in zip(tables, (values * first, first, values * second, second), strict=True):
        np.add.at(table, labels, part)
    ones, twos = _means(tables, np.ones((1, count)))
    if np.isnan(ones[0]):
        return None
    times = draws(count, resamples, np.random.default_rng(seed))
    drawn = None if times is None else np.subtract(*_means(tables, times))
    one, two = float(ones[0]), float(twos[0])
    return Contrast(one, two, interval_of(one - two, drawn))


def _means(tables: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted means of both groups for episodes drawn `times` (r, episodes); (r,), maybe NaN."""
    sums, frames, other_sums, other_frames = (times @ table for table in tables)
    weight = frames * (other_frames > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        total = weight.sum(1)
        theirs = np.where(weight > 0, other_sums / other_frames, 0)
        ours = np.where(weight > 0, sums / frames, 0)
        return (weight * ours).sum(1) / total, (weight * theirs).sum(1) / total
