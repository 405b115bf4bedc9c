"""Ranking: hand-worked statistics, intervals that draw spawns for all agents together."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dreamenv.core.errors import ConfigError
from dreamenv.evaluation.gap.ranking import STATISTICS, Ranking, mmrv

FOUR = ["a", "b", "c", "d"]


def ranking(dream: np.ndarray, real: np.ndarray, groups: np.ndarray | None = None) -> Ranking:
    names = [f"agent {i}" for i in range(len(dream))]
    return Ranking(names, dream, real, np.arange(dream.shape[1]) if groups is None else groups)


def test_mean_maximum_rank_violation_by_hand() -> None:
    dream, real = np.array([1.0, 2.0, 3.0, 0.0]), np.array([0.0, 3.0, 2.0, 5.0])
    # a–b and a–c agree. a–d: d is last in the dream, first in reality, 5 apart. b–c swapped, 1
    # apart. b–d swapped, 2 apart. c–d swapped, 3 apart. The worst of a, b, c, d: 5, 2, 3, 5.
    assert mmrv(dream, real) == pytest.approx((5 + 2 + 3 + 5) / 4)
    assert mmrv(real, real) == 0
    assert mmrv(10 * real - 3, real) == 0


def test_a_dream_that_tells_two_agents_not_apart_violates_their_order() -> None:
    # As in SIMPLER's own code: the better agent is not above the other in the dream.
    assert mmrv(np.array([1.0, 1.0]), np.array([2.0, 5.0])) == pytest.approx(3 / 2)


def test_rows_are_treated_one_by_one() -> None:
    rng = np.random.default_rng(0)
    dream, real = rng.normal(size=(2, 5, 7)).round(1)
    for statistic in STATISTICS.values():
        together = statistic(dream, real)
        np.testing.assert_allclose(
            together, [statistic(*row) for row in zip(dream, real, strict=True)]
        )


def test_an_exact_dream_ranks_perfectly_in_every_draw() -> None:
    returns = np.random.default_rng(0).normal(size=(12, 30))
    found = ranking(returns, returns)
    for name, best in (("pearson", 1), ("spearman", 1), ("mmrv", 0)):
        interval = found.intervals()[name]
        assert (interval.mean, interval.low, interval.high) == pytest.approx((best,) * 3)
    assert found.worst_pair() is None


def test_the_same_spawns_are_drawn_for_all_agents_and_both_worlds() -> None:
    # Spawns differ far more than agents do. Drawn together, this cancels: the order is certain.
    # Drawn agent by agent, or world by world, it would drown the order.
    spawns = np.random.default_rng(0).normal(0, 100, 40)
    skill = np.arange(10.0)[:, None]
    found = ranking(skill + spawns, skill + spawns[::-1]).intervals()
    for name in ("pearson", "spearman"):
        assert found[name].low == pytest.approx(1)
    assert found["mmrv"].high == pytest.approx(0)


def test_noise_widens_the_interval_and_groups_widen_it_more() -> None:
    rng = np.random.default_rng(1)
    skill = np.arange(10.0)[:, None]
    dream, real = skill + rng.normal(0, 5, (2, 10, 20))
    single = ranking(dream, real).intervals()["spearman"]
    assert single.low < single.mean <= 1 and single.high - single.low > 0.05
    copies = np.repeat(dream, 6, 1), np.repeat(real, 6, 1)
    grouped = ranking(*copies, groups=np.repeat(np.arange(20), 6)).intervals()["spearman"]
    assert (grouped.low, grouped.high) == pytest.approx((single.low, single.high))
    careless = ranking(*copies).intervals()["spearman"]
    assert careless.high - careless.low < 0.7 * (single.high - single.low)


def test_one_episode_gives_no_interval() -> None:
    returns = np.arange(8.0).reshape(4, 2)
    found = ranking(returns, returns, groups=np.zeros(2))
    assert found.intervals()["pearson"].low is None
    assert found.ceiling() == {"pearson": None, "spearman": None}


def test_who_lowers_the_ranking_most_and_the_worst_pair() -> None:
    real = np.array([0.0, 1.0, 2.0, 3.0])
    dream = np.array([9.0, 1.0, 2.0, 3.0])  # the dream overrates a
    found = Ranking(FOUR, dream[:, None], real[:, None], np.zeros(1))
    worst = found.influence()[0]
    assert worst["agent"] == "a" and worst["spearman"] == pytest.approx(1) and worst["mmrv"] == 0
    assert [entry["agent"] for entry in found.influence()][-1] != "a"
    pair = found.worst_pair()
    assert pair is not None
    assert pair["better"] == {"agent": "d", "dream": 3.0, "real": 3.0}
    assert pair["worse"] == {"agent": "a", "dream": 9.0, "real": 0.0}


def test_halves_of_the_real_episodes_say_what_can_be_expected() -> None:
    rng = np.random.default_rng(0)
    skill = np.arange(12.0)[:, None]
    clear = skill + rng.normal(0, 0.1, (12, 40))
    noise = rng.normal(0, 1, (12, 40))
    high, low = ranking(clear, clear).ceiling(), ranking(noise, noise).ceiling()
    assert high["spearman"] == pytest.approx(1, abs=0.01)
    assert low["spearman"] is not None and low["spearman"] < 0.5


def test_without_any_reward_nothing_is_made_up() -> None:
    nothing = np.zeros((4, 6))
    text = json.dumps(ranking(nothing, nothing).to_json(), allow_nan=False)
    written = json.loads(text)
    assert written["pearson"] == {"mean": None, "low": None, "high": None}
    assert written["mmrv"]["mean"] == 0 and written["worst_pair"] is None
    assert written["without"][0]["spearman"] is None


def test_two_agents_are_no_population() -> None:
    with pytest.raises(ConfigError, match="at least 3 agents, not 2.*--population"):
        ranking(np.ones((2, 3)), np.ones((2, 3)))
