"""Every k-th frame of an episode, and the k actions between two of them as one.

So the video models of Minecraft are trained and scored: every second frame, actions stacked. A
model of such rollouts takes a `Tuple` of k actions and dreams k steps at once; in the real
environment `dreamenv.real.stacked_steps.StackedSteps` takes the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from gymnasium.spaces import Tuple

from dreamenv.core.errors import RolloutError
from dreamenv.rollouts.episode import Episode
from dreamenv.rollouts.spaces import ActionSpace


def stacked_space(space: ActionSpace, every: int) -> ActionSpace:
    """The space of `every` actions of a space, one after the other; itself for 1."""
    return space if every == 1 else Tuple((space,) * every)


def thinned(episode: Episode, every: int) -> Episode:
    """Keep frames 0, k, 2k, …; what was received between two of them belongs to the later one.

    Steps left over at the end are dropped and the episode truncated there; those that lead to a
    terminal state are kept, with the last action repeated for those that were not taken any more.

    Args:
        episode: of T steps, as `check_episode` lets it pass.
        every: k, at least 1; 1 changes nothing.

    Raises:
        RolloutError: k is below 1, or the episode has not as many steps.
    """
    if every < 1:
        raise RolloutError(f"every so many frames are at least 1, not {every}")
    if every == 1:
        return episode
    steps = len(episode)
    ended = bool(steps) and bool(episode.terminated[-1])
    kept = -(-steps // every) if ended else steps // every
    if not kept:
        raise RolloutError(f"an episode of {steps} steps has no frame {every} steps further")
    frames = np.minimum(every * np.arange(kept + 1), steps)
    taken = np.minimum(np.arange(every * kept), steps - 1)
    rows = episode.action[taken].reshape(kept, -1).astype(np.float64)
    padded = np.zeros(every * kept, np.float64)
    count = min(steps, every * kept)
    padded[:count] = episode.reward[:count]
    last = np.arange(kept) == kept - 1
    return replace(
        episode,
        observation=episode.observation[frames],
        action=rows,
        reward=padded.reshape(kept, every).sum(1).astype(np.float32),
        terminated=last & ended,
        truncated=last & ((not ended) | bool(episode.truncated[-1])),
        info={name: values[frames] for name, values in episode.info.items()},
    )


def every_of(metadata: Mapping[str, Any]) -> int:
    """Every how many steps of its environment a store has a frame, by its metadata."""
    said = metadata.get("import", metadata.get("collect"))
    said = said if isinstance(said, Mapping) else {}
    kwargs = said.get("env_kwargs")
    every = said.get("every", kwargs.get("every", 1) if isinstance(kwargs, Mapping) else 1)
    return every if type(every) is int else 1
