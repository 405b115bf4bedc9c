"""Real environments whose episodes under way can be played again in another process."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np

SEEDS = 2**31


class RepeatableEpisodes(gymnasium.Wrapper):
    """Gives every episode a seed of its own and remembers the actions taken in it.

    An environment that is a function of its seed and its actions, as Gymnasium asks, can so be
    brought back to the middle of an episode without a way to save its state.

    Args:
        env: the real environment.

    Attributes:
        number: which of several environments it is, for `play_again`.
    """

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        self.number = 0
        self._seeds = np.random.default_rng()
        self._seed, self._actions = 0, list[np.ndarray]()
        self._observation: Any = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode with `seed`, or with one drawn by the seed given last."""
        if seed is not None:
            self._seeds = np.random.default_rng(seed)
        self._seed = int(self._seeds.integers(SEEDS)) if seed is None else seed
        self._actions = []
        self._observation, info = self.env.reset(seed=self._seed, options=options)
        return self._observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take one action and remember it."""
        self._actions.append(np.array(action))
        self._observation, *rest = self.env.step(action)
        return (self._observation, *rest)  # type: ignore[return-value]

    def set_number(self, number: int) -> None:
        """Set `number`."""
        self.number = number

    def episode_so_far(self) -> dict[str, Any]:
        """What `play_again` needs, as plain data."""
        return {
            "seeds": json.dumps(self._seeds.bit_generator.state),
            "seed": self._seed,
            "actions": [action.tolist() for action in self._actions],
            "dtype": self._actions[0].dtype.str if self._actions else "",
            "shows": fingerprint(self._observation),
        }

    def play_again(self, episodes: Sequence[dict[str, Any]]) -> bool:
        """Go to where `episode_so_far` was called, of the episodes of all environments.

        Returns:
            Whether the environment shows there what it showed then.
        """
        episode = episodes[self.number]
        try:
            self.reset(seed=episode["seed"])
            for action in episode["actions"]:
                taken = np.array(action, episode["dtype"])
                _, _, terminated, truncated, _ = self.step(taken if taken.ndim else taken[()])
                if terminated or truncated:
                    return False
        except Exception:  # whatever an environment raises that went another way than before
            return False
        self._seeds.bit_generator.state = json.loads(episode["seeds"])
        return fingerprint(self._observation) == episode["shows"]


def fingerprint(observation: Any) -> str:
    """Equal for equal observations, which may be nested."""
    if isinstance(observation, dict):
        return "".join(f"{key}:{fingerprint(observation[key])};" for key in sorted(observation))
    if isinstance(observation, tuple):
        return ",".join(map(fingerprint, observation))
    array = np.ascontiguousarray(observation)
    return hashlib.sha256(array.dtype.str.encode() + array.tobytes()).hexdigest()
