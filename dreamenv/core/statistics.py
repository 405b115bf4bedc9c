"""Percentile bootstrap: how far a mean would move if the experiment were done again.

Efron, 1979. What was measured is drawn anew with replacement many times; the interval holds the
middle 95 % of the means so found. Measurements that belong together, such as clips of one
episode, are drawn together ("cluster bootstrap"): they would otherwise pass for independent and
make the interval too narrow.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean and its confidence interval: numbers, or arrays of one shape.

    `low` and `high` are None where a single group was measured: nothing says how it would vary.
    """

    mean: Any
    low: Any = None
    high: Any = None

    def to_json(self) -> dict[str, Any]:
        """Plain data: floats or nested lists; None where there is no number."""
        parts = {"mean": self.mean, "low": self.low, "high": self.high}
        return {k: None if v is None else _plain(np.asarray(v).tolist()) for k, v in parts.items()}


def _plain(value: Any) -> Any:
    """Plain data with None for NaN, which JSON does not know."""
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return None if value is None or value != value else value


def mean_interval(
    values: np.ndarray, groups: np.ndarray | None = None, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """The mean of `values` (n, …) over n, with its interval.

    Args:
        values: n measurements, each a number or an array.
        groups: (n,) labels; measurements of equal label are drawn together. None: each alone.
        resamples: how often to draw.
        seed: of the draws.
    """
    means = resampled_means(values, groups, resamples, np.random.default_rng(seed))
    return interval_of(np.asarray(values, np.float64).mean(0), means)


def statistic_interval(
    statistic: Callable[[np.ndarray], float | None],
    groups: np.ndarray,
    resamples: int = 200,
    seed: int = 0,
) -> Interval:
    """Any statistic of n measurements, for those that are no mean.

    Args:
        statistic: takes indices into the measurements, with repetitions; None where undefined.
        groups: (n,) labels; measurements of equal label are drawn together.
        resamples: how often to draw; draws in which the statistic is undefined are left out.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(groups == label) for label in np.unique(groups)]
    whole = statistic(np.arange(len(groups)))
    if len(members) < 2 or whole is None:
        return Interval(whole)
    found = []
    for _ in range(resamples):
        drawn = rng.integers(len(members), size=len(members))
        found.append(statistic(np.concatenate([members[i] for i in drawn])))
    defined = [value for value in found if value is not None]
    return interval_of(whole, np.array(defined) if defined else None)


def ratio_interval(
    above: np.ndarray,
    below: np.ndarray,
    groups: np.ndarray | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """The sum of `above` (n, …) over n, divided by that of `below` (n, …); NaN where that is 0.

    Both parts are drawn together, so that what moves both does not widen the interval. Draws in
    which nothing can be divided are left out; where no draw can, the interval is NaN too.
    """
    parts = np.stack(np.broadcast_arrays(above, below), 1)
    means = resampled_means(parts, groups, resamples, np.random.default_rng(seed))
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = np.divide(*np.asarray(parts, np.float64).sum(0))
        whole = np.where(np.isfinite(whole), whole, np.nan)
        if means is None:
            return Interval(whole)
        drawn = means[:, 0] / means[:, 1]
    return interval_of(whole, np.where(np.isfinite(drawn), drawn, np.nan))


def resampled_means(
    values: np.ndarray, groups: np.ndarray | None, resamples: int, rng: np.random.Generator
) -> np.ndarray | None:
    """Means (resamples, …) of values (n, …) drawn anew; None if there is but one group.

    All columns of `values` are drawn together: in every draw each of them holds the same of the n
    measurements.
    """
    values = np.asarray(values, np.float64)
    labels = np.arange(len(values)) if groups is None else np.unique(groups, return_inverse=True)[1]
    count = int(labels.max()) + 1
    times = draws(count, resamples, rng)
    if times is None:
        return None
    sums = np.zeros((count, *values.shape[1:]))
    np.add.at(sums, labels, values)
    sizes = np.bincount(labels)
    drawn = (times @ sizes).reshape(-1, *[1] * (values.ndim - 1))
    return np.tensordot(times, sums, 1) / drawn


def draws(groups: int, resamples: int, rng: np.random.Generator) -> np.ndarray | None:
    """How often each group is drawn, (resamples, groups); None if there is but one."""
    if groups < 2:
        return None
    return rng.multinomial(groups, np.full(groups, 1 / groups), size=resamples)


def interval_of(value: Any, resampled: np.ndarray | None) -> Interval:
    """A value (…) with what it was in draws (resamples, …); NaN draws are left out."""
    if resampled is None:
        return Interval(value)
    tail = (1 - CONFIDENCE) / 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # where every draw is NaN, so is this
        low, high = np.nanquantile(resampled, [tail, 1 - tail], axis=0)
    return Interval(value, low, high)
