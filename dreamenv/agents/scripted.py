"""Agents that nothing was learnt for: baselines, and a spread of skill to rank.

They see what any agent sees, so they play alike in a dream and in the real environment.
"""

from __future__ import annotations

from copy import deepcopy

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from dreamenv.rollouts.actions import rows_of

Observation = NDArray | dict[str, NDArray]
"""Of N episodes: frames (N, H, W, C), or a dictionary with `frame`."""

FORWARD = 1
"""The action that goes forward in first-person environments, as far as they agree."""


class RandomAgent:
    """Draws actions uniformly, or one action with a share of its own; repeats them at will.

    Args:
        name: how reports call it.
        action_space: of one episode.
        seed: of its draws.
        stickiness: probability that the last action is repeated.
        forward: share of action 1, which goes forward in many first-person worlds; the others
            share the rest evenly. None treats all alike.
    """

    observation = "frame"

    def __init__(
        self,
        name: str,
        action_space: spaces.Space,
        seed: int,
        stickiness: float = 0.0,
        forward: float | None = None,
    ) -> None:
        self.name = name
        self._action_space = deepcopy(action_space)
        self._stickiness, self._forward = stickiness, forward
        self._seed = seed
        self.reset()

    def reset(self, seed: int | None = None) -> None:
        """Forget everything, as if newly made, with another seed if one is given."""
        self._seed = self._seed if seed is None else seed
        self._action_space.seed(self._seed)
        self._generator = np.random.default_rng([self._seed, 1])
        self._previous: NDArray | None = None

    def act(self, observation: Observation, episode_start: NDArray[np.bool_]) -> NDArray:
        """Actions of all episodes, (N, …): rows (`dreamenv.core.action_rows`) of nested ones."""
        actions = np.stack([self._draw() for _ in range(len(episode_start))])
        repeats = self._generator.random(len(actions)) < self._stickiness
        if self._previous is not None and len(self._previous) == len(actions):
            repeats &= ~np.asarray(episode_start, dtype=bool)
            actions[repeats] = self._previous[repeats]
        self._previous = actions.copy()
        return actions

    def _draw(self) -> NDArray:
        if self._forward is None:
            return rows_of(self._action_space, self._action_space.sample())
        if self._generator.random() < self._forward:
            return np.int64(FORWARD)  # type: ignore[return-value]
        while (action := self._action_space.sample()) == FORWARD:
            pass
        return action
