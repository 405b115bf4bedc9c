"""`SpawnChoice`: which spawn an episode begins from, where nobody names one."""

from __future__ import annotations

import numpy as np

from dreamenv.core.errors import ConfigError
from dreamenv.dream.spawns import Spawns


class SpawnChoice:
    """Draws one spawn of a checkpoint at random.

    Args:
        spawns: to draw from.
        near_rewards: share of the draws that are of spawns which end shortly before a reward; all
            of them are equally likely, and so are all others. None draws from all alike.

    Raises:
        ConfigError: there are none of a kind that is wanted.
    """

    def __init__(self, spawns: Spawns, near_rewards: float | None = None) -> None:
        self._count, self._share = len(spawns), near_rewards
        near = np.array([s.get("near_reward") is not None for s in spawns.sources], bool)
        self._near, self._others = np.flatnonzero(near), np.flatnonzero(~near)
        if near_rewards and not len(self._near):
            raise ConfigError(
                "near_rewards asks for episodes that begin shortly before a reward, but none of "
                f"the {self._count} spawns does; store such with dreamenv.dream.spawn_drawing."
                "save_spawns(folder, rollouts, count, length, near_rewards=0.5)"
            )
        if near_rewards is not None and near_rewards < 1 and not len(self._others):
            raise ConfigError(
                f"all {self._count} spawns end shortly before a reward, so near_rewards can only "
                f"be 1, or None, not {near_rewards}"
            )

    def draw(self, generator: np.random.Generator) -> int:
        """The index of a spawn."""
        if self._share is None:
            return int(generator.integers(self._count))
        group = self._near if generator.random() < self._share else self._others
        return int(generator.choice(group))
