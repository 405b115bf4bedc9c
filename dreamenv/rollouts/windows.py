"""Windows of rollouts: where they lie in the episodes of a store, and reading them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from dreamenv.core.errors import RolloutError
from dreamenv.rollouts.store import RolloutStore
from dreamenv.rollouts.timing import Window, model_time


def length_of_most(store: RolloutStore, frames: int, least: int = 1, stride: int = 1) -> int:
    """The most frames, up to `frames`, `stride` steps apart, that half of the episodes have.

    Raises:
        RolloutError: half of the episodes have not even `least`.
    """
    have = np.sort(store.lengths // stride + 1)
    found = min(frames, int(have[len(have) // 2])) if len(have) else 0
    if found < least:
        raise RolloutError(
            f"half of the {len(have)} episodes of {store.path} should have at least {least} frames "
            f"{stride} step{'s' * (stride > 1)} apart, but have {found}; collect longer episodes"
        )
    return found


class Windows:
    """All windows of one length in the episodes of a store, each inside one episode.

    Args:
        store: where they are read from.
        length: frames per window, at least 1.
        episodes: indices of the episodes to use (default: all). Shorter ones are skipped.
        stride: steps from one frame of a window to its next, at least 1.

    Attributes:
        num_windows: how many there are; an episode of T steps has T + 1 − stride · (length − 1).

    Raises:
        RolloutError: no episode is long enough, or an index is out of range.
    """

    def __init__(
        self,
        store: RolloutStore,
        length: int,
        episodes: Iterable[int] | None = None,
        stride: int = 1,
    ) -> None:
        if length < 1 or stride < 1:
            raise RolloutError(
                f"a window needs at least 1 frame, and a stride of at least 1, not {length} and "
                f"{stride}"
            )
        self.store = store
        self.length, self.stride = length, stride
        everything = range(store.num_episodes)
        chosen = np.array(everything if episodes is None else list(episodes), np.int64)
        if chosen.size and not (0 <= chosen.min() and chosen.max() < store.num_episodes):
            raise RolloutError(f"{store.path} has only episodes 0..{store.num_episodes - 1}")
        counts = store.lengths[chosen] + 2 - self.span
        self._episodes, counts = chosen[counts > 0], counts[counts > 0]
        if not counts.size:
            longest = int(store.lengths[chosen].max()) + 1 if chosen.size else 0
            raise RolloutError(
                f"{store.path}: none of {chosen.size} episodes has {self.span} frames (the longest "
                f"has {longest}); use shorter windows or collect longer episodes"
            )
        self._ends = np.cumsum(counts)
        self.num_windows = int(self._ends[-1])

    @property
    def span(self) -> int:
        """Frames of an episode from a window's first to its last."""
        return self.stride * (self.length - 1) + 1

    def locate(self, index: int) -> tuple[int, int]:
        """Episode and first frame of window `index` in [0, num_windows)."""
        if not 0 <= index < self.num_windows:
            raise RolloutError(f"there are windows 0..{self.num_windows - 1}, not {index}")
        slot = int(np.searchsorted(self._ends, index, side="right"))
        before = int(self._ends[slot - 1]) if slot else 0
        return int(self._episodes[slot]), index - before

    def read(self, episode: int, start: int) -> Window:
        """Read the window of an episode that begins with frame `start`, where a memory begins.

        No action leads to its first frame, but what was received on arriving there is told.

        Raises:
            RolloutError: the window does not lie inside the episode.
        """
        front = min(start, self.stride)  # the steps that led to the first frame
        stretch = self.store.read(episode, start - front, start + self.span - 1)
        return model_time(stretch, self.store.action_space).part(front, self.length, self.stride)
