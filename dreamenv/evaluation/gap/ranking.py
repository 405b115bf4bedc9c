"""Does the dream rank agents as the real environment does?

Every agent has a mean return in the dream and one in the real environment, from the same spawns.
Three statistics compare the two rows of numbers: Pearson's and Spearman's correlations, and the
mean maximum rank violation of SIMPLER (Li et al., 2024), the return that is lost on average by
trusting the dream with the worst of an agent's comparisons. Intervals resample the spawns, the
same ones for all agents and both worlds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dreamenv.core.errors import ConfigError
from dreamenv.core.statistics import RESAMPLES, Interval, interval_of, resampled_means
from dreamenv.evaluation.metrics.correlation import pearson, spearman

FEWEST = 3
"""Agents without which an order is not worth a number."""
SPLITS = 200


def mmrv(dream: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Mean maximum rank violation over the last axis, in units of return; 0 is best.

    Two agents violate the ranking by the difference of their real returns if one is above the
    other in just one of the worlds. Averaged over agents: the largest violation of each.
    """
    above_in_dream = dream[..., :, None] > dream[..., None, :]
    above_in_real = real[..., :, None] > real[..., None, :]
    apart = np.abs(real[..., :, None] - real[..., None, :])
    return np.where(above_in_dream != above_in_real, apart, 0.0).max(-1).mean(-1)


Statistic = Callable[[np.ndarray, np.ndarray], np.ndarray]
STATISTICS: dict[str, Statistic] = {"pearson": pearson, "spearman": spearman, "mmrv": mmrv}


@dataclass(frozen=True)
class Ranking:
    """Agents' returns in both worlds, and how far the orders agree.

    Raises:
        ConfigError: fewer than three agents.
    """

    names: list[str]
    dream: np.ndarray
    """(agents, spawns) returns."""
    real: np.ndarray
    """(agents, spawns) returns from the same spawns."""
    groups: np.ndarray
    """(spawns,) which real episode each spawn is from; those of one are drawn together."""
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.names) < FEWEST:
            raise ConfigError(
                f"a ranking needs at least {FEWEST} agents, not {len(self.names)}; give more with "
                "--population"
            )

    def intervals(self) -> dict[str, Interval]:
        """Every statistic with its interval; NaN where all agents earn the same."""
        means = resampled_means(
            np.concatenate([self.dream, self.real]).T,
            self.groups,
            RESAMPLES,
            np.random.default_rng(self.seed),
        )
        agents = len(self.names)
        whole = self.dream.mean(1), self.real.mean(1)
        found = {}
        for name, statistic in STATISTICS.items():
            drawn = None if means is None else statistic(means[:, :agents], means[:, agents:])
            found[name] = interval_of(statistic(*whole), drawn)
        return found

    def influence(self) -> list[dict[str, Any]]:
        """Each agent with the statistics of all the others: first who lowers Spearman's most."""
        dream, real = self.dream.mean(1), self.real.mean(1)
        without = []
        for i, name in enumerate(self.names):
            rest = np.arange(len(self.names)) != i
            values = {key: float(f(dream[rest], real[rest])) for key, f in STATISTICS.items()}
            without.append({"agent": name, **values})
        return sorted(without, key=lambda entry: -np.nan_to_num(entry["spearman"], nan=-2))

    def worst_pair(self) -> dict[str, Any] | None:
        """The two agents whose order in the dream is most costly to believe; None if none is."""
        dream, real = self.dream.mean(1), self.real.mean(1)
        wrong = (dream[:, None] > dream) != (real[:, None] > real)
        cost = np.where(wrong, real[:, None] - real, 0.0)
        better, worse = np.unravel_index(cost.argmax(), cost.shape)
        if cost[better, worse] <= 0:
            return None
        pair = {"better": int(better), "worse": int(worse)}
        return {
            role: {"agent": self.names[i], "dream": float(dream[i]), "real": float(real[i])}
            for role, i in pair.items()
        }

    def ceiling(self) -> dict[str, float | None]:
        """How far one half of the real episodes ranks the agents as the other half does.

        Means over random halves of the real episodes. No dream can be expected to do better on as
        few episodes: what is missing there to 1 is chance, not the dream's fault.
        """
        labels = np.unique(self.groups, return_inverse=True)[1]
        count = int(labels.max()) + 1
        if count < 2:
            return {"pearson": None, "spearman": None}
        rng = np.random.default_rng(self.seed)
        halves = []
        for _ in range(SPLITS):
            chosen = np.isin(labels, rng.permutation(count)[: count // 2])
            halves.append([self.real[:, chosen].mean(1), self.real[:, ~chosen].mean(1)])
        one, other = np.moveaxis(np.array(halves), 1, 0)
        values = {name: STATISTICS[name](one, other) for name in ("pearson", "spearman")}
        return {
            name: float(np.nanmean(value)) if np.isfinite(value).any() else None
            for name, value in values.items()
        }

    def to_json(self) -> dict[str, Any]:
        """Everything as plain data; None where a statistic is undefined."""
        influence = [
            {key: None if value != value else value for key, value in entry.items()}
            for entry in self.influence()
        ]
        return {
            "agents": len(self.names),
            "spawns": self.dream.shape[1],
            **{name: interval.to_json() for name, interval in self.intervals().items()},
            "real_range": float(np.ptp(self.real.mean(1))),
            "real_halves_agree": self.ceiling(),
            "without": influence,
            "worst_pair": self.worst_pair(),
        }
