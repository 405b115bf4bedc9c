"""Correlations by hand, with ties, and where nothing varies."""

from __future__ import annotations

import numpy as np
import pytest

from dreamenv.evaluation.metrics.correlation import pearson, spearman


def test_correlations_by_hand_and_with_ties() -> None:
    dream, real = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 3.0, 2.0, 4.0])
    assert pearson(dream, real) == pytest.approx(0.8)
    assert spearman(dream, 100**real) == pytest.approx(0.8)
    assert pearson(dream, 100**real) < 0.8
    # Ranks 0, 1.5, 1.5, 3 against 0, 1, 2, 3.
    tied = spearman(np.array([0.0, 7.0, 7.0, 9.0]), dream)
    assert tied == pytest.approx(4.5 / np.sqrt(4.5 * 5))
    assert np.isnan(pearson(dream, np.ones(4)))
    assert np.isnan(spearman(np.ones(4), dream))
