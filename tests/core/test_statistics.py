"""Bootstrap intervals cover the truth, respect groups, and admit when there is nothing to say."""

from __future__ import annotations

import numpy as np
import pytest

from dreamenv.core.statistics import (
    mean_interval,
    statistic_interval,
)


def test_interval_covers_the_true_mean_about_95_times_in_100() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(300):
        interval = mean_interval(rng.normal(3.0, 2.0, 40), resamples=400, seed=trial)
        covered += interval.low <= 3.0 <= interval.high
    assert 0.90 <= covered / 300 <= 0.98


def test_arrays_are_treated_entry_by_entry() -> None:
    values = np.random.default_rng(0).normal(size=(30, 4))
    together = mean_interval(values, seed=5)
    for column in range(4):
        alone = mean_interval(values[:, column], seed=5)
        assert together.mean[column] == pytest.approx(alone.mean)
        assert together.low[column] == pytest.approx(alone.low)
        assert together.high[column] == pytest.approx(alone.high)


def test_copies_within_a_group_make_nothing_more_certain() -> None:
    values = np.random.default_rng(1).normal(size=12)
    single = mean_interval(values)
    copied = mean_interval(np.repeat(values, 7), groups=np.repeat(np.arange(12), 7))
    assert (copied.low, copied.high) == pytest.approx((single.low, single.high))
    careless = mean_interval(np.repeat(values, 7))
    assert careless.high - careless.low < 0.6 * (single.high - single.low)


def test_groups_of_unequal_size_keep_the_plain_mean() -> None:
    interval = mean_interval(np.array([0.0, 0.0, 0.0, 4.0]), groups=np.array([7, 7, 7, 9]))
    assert interval.mean == 1.0
    assert interval.low == 0.0 and interval.high == 4.0


def test_one_measurement_or_one_group_has_no_interval() -> None:
    assert mean_interval(np.array([2.0])).to_json() == {"mean": 2.0, "low": None, "high": None}
    assert mean_interval(np.array([1.0, 3.0]), groups=np.array([0, 0])).low is None


def test_the_seed_decides() -> None:
    values = np.random.default_rng(3).normal(size=20)
    assert mean_interval(values, seed=1) == mean_interval(values, seed=1)
    assert mean_interval(values, seed=1).low != mean_interval(values, seed=2).low


def test_statistic_leaves_out_draws_where_it_is_undefined() -> None:
    values = np.array([0.0, 0.0, 0.0, 5.0])

    def largest_if_any(index: np.ndarray) -> float | None:
        return float(values[index].max()) or None

    interval = statistic_interval(largest_if_any, np.arange(4))
    assert (interval.mean, interval.low, interval.high) == (5.0, 5.0, 5.0)
    assert statistic_interval(lambda _: None, np.arange(4)).mean is None
