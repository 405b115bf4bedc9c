"""Play evaluation episodes without disturbing the training that goes on around them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv

from dreamenv.agents.observations import seen_frame
from dreamenv.agents.recipes import Model


@dataclass
class Evaluation:
    """Undiscounted returns and lengths (steps) of the episodes played."""

    returns: list[float]
    lengths: list[int]
    frames: list[np.ndarray] = field(default_factory=list)
    """(H, W, C) observations of the first environment's first episode, if it was recorded."""
    return_so_far: list[float] = field(default_factory=list)
    """Beside each frame: the return when it was seen."""

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(np.mean(self.returns))

    @property
    def standard_error(self) -> float | None:
        """Standard error of the mean return; None for a single episode."""
        if len(self.returns) < 2:
            return None
        return float(np.std(self.returns, ddof=1) / np.sqrt(len(self.returns)))


def evaluate(
    model: Model, env: VecEnv, episodes: int, seed: int, record_frames: int = 0
) -> Evaluation:
    """Play `episodes` episodes with sampled actions, as in training.

    The episodes and the action noise come from `seed` alone: two calls with the same weights
    give the same result, and the generators that training draws from are left as they were.
    A deterministic policy is not used because without memory it runs into walls for ever.

    Args:
        model: the agent.
        env: environments of the agent's spaces; their own random state is overwritten.
        episodes: how many, dealt evenly to the environments so that short ones are not favoured.
        seed: environment i starts from `seed + i`.
        record_frames: keep at most this many frames of the first episode.
    """
    result = Evaluation([], [])

    def record(step: dict[str, Any], _: dict[str, Any]) -> None:
        """Called by Stable-Baselines3 after each step of each environment with its locals."""
        if step["i"] == 0 and not step["episode_counts"][0] and len(result.frames) < record_frames:
            result.frames.append(np.array(seen_frame(step["observations"])[0]))
            # The reward of this step is already counted, but belongs to the next frame.
            result.return_so_far.append(float(step["current_rewards"][0] - step["reward"]))

    env.seed(seed)
    with _private_torch_generator(seed, model.device):
        returns, lengths = evaluate_policy(
            model,
            env,
            n_eval_episodes=episodes,
            deterministic=False,
            callback=record,
            return_episode_rewards=True,
        )
    assert isinstance(returns, list) and isinstance(lengths, list)
    result.returns = [float(value) for value in returns]
    result.lengths = [int(value) for value in lengths]
    return result


@contextmanager
def _private_torch_generator(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch inside the block and restore its generators after it."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
