"""Correlations of two rows of numbers, for many rows at once."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata


def pearson(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Linear correlation over the last axis, (…, n) → (…); NaN where one side is constant."""
    x = a - a.mean(-1, keepdims=True)
    y = b - b.mean(-1, keepdims=True)
    scale = np.sqrt(np.square(x).sum(-1) * np.square(y).sum(-1))
    constant = (np.ptp(a, axis=-1) == 0) | (np.ptp(b, axis=-1) == 0)
    return (x * y).sum(-1) / np.where(constant, np.nan, scale)


def spearman(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Correlation of ranks over the last axis, as `pearson`; equal values share their mean rank."""
    return pearson(rankdata(a, axis=-1), rankdata(b, axis=-1))
