"""Fréchet distance of dreamt frames to real ones, beside that of other real frames.

The squared distance of two normal distributions with the means and covariances of two sets of
features (Fréchet, 1957): |m₁ − m₂|² + tr(C₁ + C₂ − 2 (C₁ C₂)^½). Its estimate grows as frames get
fewer, and grows with how much single mazes differ. So the episodes are split into two halves: the
dreams of the first half are compared with the real frames of the second, and beside them the real
frames of the first half, equally many, with the same. Dreams that cannot be told from real frames
have a ratio of 1. Many splits are drawn; the value is their mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dreamenv.core.statistics import interval_of

SPLITS, RESAMPLES = 8, 100
LEAST_SCALE = 1e-3
"""A feature that varies less among real frames counts as if it varied by this much."""


@dataclass(frozen=True)
class Moments:
    """Per episode: count of frames, sums of features and of their products."""

    count: np.ndarray
    """(e,)."""
    total: np.ndarray
    """(e, d)."""
    products: np.ndarray
    """(e, d, d)."""

    @staticmethod
    def of(features: np.ndarray, rows: np.ndarray) -> Moments:
        """Of features (n, t, d) whose clips are of the episodes `rows` (n,), 0 … e − 1."""
        count, width = int(rows.max()) + 1, features.shape[-1]
        features = features.astype(np.float64)
        total, products = np.zeros((count, width)), np.zeros((count, width, width))
        np.add.at(total, rows, features.sum(1))
        np.add.at(products, rows, np.einsum("ntd,nte->nde", features, features))
        return Moments(np.bincount(rows) * features.shape[1], total, products)

    def normal(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean (d,) and covariance (d, d) of episodes drawn so many `times` (e,)."""
        weight = (times * self.count).sum()
        mean = times @ self.total / weight
        second = np.tensordot(times, self.products, 1) / weight
        return mean, second - np.outer(mean, mean)


def frechet(first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray]) -> float:
    """Squared Fréchet distance of two normal distributions, each a mean and a covariance."""
    values, vectors = np.linalg.eigh(first[1])
    root = vectors * np.sqrt(values.clip(min=0)) @ vectors.T
    mixed = np.linalg.eigvalsh(root @ second[1] @ root).clip(min=0)
    apart = np.square(first[0] - second[0]).sum()
    spread = np.trace(first[1]) + np.trace(second[1]) - 2 * np.sqrt(mixed).sum()
    return float(max(0.0, apart + spread))


def distances(
    dreamt: np.ndarray, real: np.ndarray, episodes: np.ndarray, scale: np.ndarray, seed: int = 0
) -> dict[str, Any]:
    """Compare features of dreamt and of real frames (n, t, d) of the same steps.

    Args:
        dreamt: of the dreams.
        real: of the clips that were dreamt on.
        episodes: (n,) which episode each clip is from.
        scale: (d,) what counts as 1 in each feature: its spread among real frames.
        seed: of splits and draws.

    Returns:
        `same_frames`: of the dreams to the real frames of the same clips and steps, 0 if they are
        equal; `dream`, `real`: to real frames of other episodes; `ratio` of the two. The last
        three with intervals that draw episodes anew, and None of a single episode.
    """
    scale = np.maximum(scale, LEAST_SCALE)
    rows = np.unique(episodes, return_inverse=True)[1]
    count = int(rows.max()) + 1
    dreams, truth = (Moments.of(x / scale, rows) for x in (dreamt, real))
    everything = np.ones(count)
    found: dict[str, Any] = {
        "same_frames": frechet(dreams.normal(everything), truth.normal(everything))
    }
    if count < 2:
        return found | {name: None for name in ("dream", "real", "ratio")}
    rng = np.random.default_rng(seed)

    def split(resample: bool) -> tuple[float, float]:
        order = rng.permutation(count)
        halves = order[: count // 2], order[count // 2 :]
        times = np.zeros((2, count))
        for row, half in zip(times, halves, strict=True):
            chosen = rng.choice(half, len(half)) if resample else half
            np.add.at(row, chosen, 1.0)
        others = truth.normal(times[1])
        return frechet(dreams.normal(times[0]), others), frechet(truth.normal(times[0]), others)

    mean = np.mean([split(False) for _ in range(SPLITS)], 0)
    drawn = np.array([split(True) for _ in range(RESAMPLES)])
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios, ratio = drawn[:, 0] / drawn[:, 1], mean[0] / mean[1]
    for name, value, draws in (
        ("dream", mean[0], drawn[:, 0]),
        ("real", mean[1], drawn[:, 1]),
        ("ratio", ratio if np.isfinite(ratio) else np.nan, ratios),
    ):
        draws = np.where(np.isfinite(draws), draws, np.nan)
        found[name] = interval_of(float(value), draws).to_json()
    return found
