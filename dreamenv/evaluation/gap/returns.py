"""Paired returns: what one agent earned from the same spawns in both worlds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dreamenv.core.statistics import mean_interval, ratio_interval
from dreamenv.evaluation.gap.agents import GapAgent
from dreamenv.evaluation.gap.episodes import Episodes


@dataclass(frozen=True)
class Returns:
    """An agent's n episodes in the dream, and those in the real environment."""

    agent: GapAgent
    dream: Episodes
    real: Episodes
    groups: np.ndarray
    """(n,) which real episode each spawn is from."""
    seed: int = 0
    """Seed of the intervals."""

    def to_json(self) -> dict[str, Any]:
        """Means and episodes; of an agent reported in full also how they came step by step."""
        agent = self.agent
        return {
            "agent": agent.label,
            "spec": agent.spec,
            "kind": agent.kind,
            "observation": agent.observation,
            "in_full": agent.in_full,
            "return": self._returns(),
            "cumulative_reward": {
                world: self._mean(np.cumsum(episodes.rewards, 1))
                for world, episodes in (("dream", self.dream), ("real", self.real))
            }
            if agent.in_full
            else None,
            "trust": self._trust() if agent.in_full else None,
        }

    def _returns(self) -> dict[str, Any]:
        dream, real = self.dream.returns, self.real.returns
        varied = np.ptp(dream) > 0 and np.ptp(real) > 0
        return {
            "dream": self._mean(dream),
            "real": self._mean(real),
            "dream_minus_real": self._mean(dream - real),
            "correlation_over_spawns": float(np.corrcoef(dream, real)[0, 1]) if varied else None,
            "dream_episodes": dream.tolist(),
            "real_episodes": real.tolist(),
        }

    def _trust(self) -> dict[str, Any] | None:
        told = np.isfinite(self.dream.trust)
        if not told.any():
            return None
        trust = np.where(told, self.dream.trust, 0.0)
        return ratio_interval(trust, told, self.groups, seed=self.seed).to_json()

    def _mean(self, values: np.ndarray) -> dict[str, Any]:
        return mean_interval(values, self.groups, seed=self.seed).to_json()
