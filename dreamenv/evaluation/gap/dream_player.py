"""Playing an agent in the dream, from given spawns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dreamenv.agents.loading import Agent
from dreamenv.core.progress import progress_bar
from dreamenv.dream.vector_env import DreamVectorEnv
from dreamenv.evaluation.gap.episodes import Episodes, join_episodes

Act = Callable[[Any, np.ndarray], np.ndarray]


def play_dream(
    dream: DreamVectorEnv,
    agent: Agent,
    count: int,
    horizon: int,
    seed: int = 0,
    progress: str | None = None,
) -> Episodes:
    """One episode from each of the first `count` spawns of a dream, in rounds of its slots.

    The noise of an episode follows from `seed` and its spawn alone. No frames are kept.

    Args:
        dream: resets a slot in the step after its end (Gymnasium's `NEXT_STEP`).
        agent: begins every episode without memory of others.
        count: of spawns.
        horizon: steps of an episode at most.
        seed: of the agent's randomness and the dream's noise.
        progress: name of a progress bar, None for none.
    """
    agent.reset(seed)
    bar = progress_bar(
        title=progress, unit=" steps", total=count * horizon, show=progress is not None
    )
    parts = []
    for first in range(0, count, dream.num_envs):
        played = min(count - first, dream.num_envs)
        parts.append(_round(dream, agent.act, first, played, horizon, seed)[0])
        bar.update(played * horizon)
    bar.close()
    return join_episodes(parts)


def dream_again(
    dream: DreamVectorEnv, episodes: Episodes, episode: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """An episode of `play_dream` once more, for its frames.

    Args:
        dream: the one that was played in.
        episodes: what came of it.
        episode: index into them.
        seed: the one that was played with.

    Returns:
        Frames (h, H, W, C) uint8 that were arrived at, and rewards (h,).
    """
    first = episode // dream.num_envs * dream.num_envs
    taken = episodes.actions[first : first + dream.num_envs]
    # The whole round, because in another batch sums may be rounded otherwise.
    slots = np.minimum(np.arange(dream.num_envs), len(taken) - 1)
    steps = iter(np.moveaxis(taken[slots], 1, 0))
    horizon = episodes.rewards.shape[1]
    again, frames = _round(dream, lambda *_: next(steps), first, len(taken), horizon, seed)
    return frames[:, episode - first], again.rewards[episode - first]


def _round(
    dream: DreamVectorEnv, act: Act, first: int, played: int, horizon: int, seed: int
) -> tuple[Episodes, np.ndarray]:
    """Episodes from the spawns `first`, … in all slots; also all frames (h, slots, H, W, C)."""
    slots = dream.num_envs
    # Slots left over play the last spawn once more, and nobody looks.
    spawns = first + np.minimum(np.arange(slots), played - 1)
    seeds = [int(np.random.SeedSequence([seed, s]).generate_state(1)[0]) for s in spawns]
    observation, _ = dream.reset(seed=seeds, options={"spawn": spawns})
    rewards, trust = np.zeros((slots, horizon)), np.full((slots, horizon), np.nan)
    lengths = np.full(slots, horizon)
    actions, frames = [], []
    start, ended, over = np.ones((3, slots), np.bool_) * np.array([[1], [0], [0]], np.bool_)
    for t in range(horizon):
        action = np.asarray(act(observation, start))
        observation, reward, terminated, truncated, info = dream.step(action)
        rewards[:, t] = np.where(over, 0.0, reward)
        trust[:, t] = np.where(over, np.nan, info.get("trust", np.nan))
        lengths[terminated & ~over] = t + 1
        actions.append(action.copy())
        frame = observation["frame"] if isinstance(observation, dict) else observation
        frames.append(frame.copy())
        # A slot that ended shows its next episode's first frame in the step after.
        start, ended = ended, terminated | truncated
        over = over | terminated
    shape = (played, 0, *frames[0].shape[1:])
    episodes = Episodes(
        rewards[:played],
        np.stack(actions, 1)[:played],
        lengths[:played],
        np.zeros(shape, np.uint8),
        trust[:played],
    )
    return episodes, np.stack(frames)
