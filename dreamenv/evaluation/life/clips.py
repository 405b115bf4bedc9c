"""The stretches of held-out episodes that dreams begin in, read as they are needed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dreamenv.core.errors import ConfigError
from dreamenv.evaluation.life.dreaming import BATCH
from dreamenv.evaluation.metrics.held_out_data import draw_places, read_clips
from dreamenv.evaluation.metrics.open_loop import Clips
from dreamenv.rollouts.store import RolloutStore


@dataclass(frozen=True)
class LongClips:
    """Clips of `context` watched frames and as many more as are imagined, batch by batch."""

    store: RolloutStore
    places: list[tuple[int, int]]
    """Episode and first frame of each."""
    context: int
    horizon: int
    size: tuple[int, int]

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.places)

    @property
    def episodes(self) -> np.ndarray:
        """(n,) which episode each is from."""
        return np.array([episode for episode, _ in self.places])

    def batches(self, horizon: int | None = None) -> Iterator[tuple[int, Clips]]:
        """Number of the first clip and the clips, `BATCH` at a time, perhaps only their begin."""
        length = self.context + (self.horizon if horizon is None else horizon)
        for first in range(0, len(self), BATCH):
            part = self.places[first : first + BATCH]
            yield first, read_clips(self.store, part, length, self.size)


def long_clips(
    store: RolloutStore, count: int, context: int, horizon: int, size: tuple[int, int], seed: int
) -> LongClips:
    """Draw clips of `horizon` imagined steps, or of as many as the longest episode has.

    Raises:
        ConfigError: the longest episode is all watched.
    """
    possible = int(store.lengths.max(initial=0)) + 1 - context
    if possible < 1:
        raise ConfigError(
            f"the longest episode of {store.path} has {possible + context} frames, and {context} "
            "are watched before a dream begins; watch fewer, or collect longer episodes"
        )
    horizon = min(horizon, possible)
    places = draw_places(store, count, context + horizon, seed)
    return LongClips(store, places, context, horizon, size)
