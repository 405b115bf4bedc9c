"""The frames that a training window shows: stretches of episodes, drawn so that all count alike."""

from __future__ import annotations

import numpy as np


class Stretches:
    """Stretches of up to `frames` frames of one episode; every frame is scored equally often.

    A stretch's first frame is only looked at: nothing comes before it. So that the last frame of
    an episode is scored as often as those in its middle, stretches also begin before an episode
    and end behind it, and are cut to what lies inside. With F frames a stretch and L an episode,
    starts go from 2 − F to L − 2, and each frame but the episode's first is scored in F − 1 of
    them. An episode of L ≤ F is always shown whole, F − 1 times as often as one start of a longer
    one. Under a stride k an episode counts as k of them, of every k-th frame each.

    A retraced stretch is gone back over, so one frame is enough, and each frame but the first is
    scored in 2F − 1 places: forth in F − 1 stretches, back in F.

    Args:
        lengths: (E,) frames of each episode; they follow each other in the arrays to be cut.
        terminated: (E,) whether an episode ends by itself, so that its last frame says so.
        frames: F, the most frames of a stretch, at least 2, or 1 if retraced.
        stride: every so many frames of an episode make a stretch.
        retraced: whether windows go back over the stretch.

    Attributes:
        episodes: how many episodes have any frame that is ever scored.
        shorter: how many episodes are shorter than a stretch.
        endings: how many episodes' ends `draw` can be asked for.
        filled: share of a stretch's F places that are filled on average.
    """

    def __init__(
        self,
        lengths: np.ndarray,
        terminated: np.ndarray,
        frames: int,
        stride: int = 1,
        retraced: bool = False,
    ) -> None:
        self.frames, self.stride = frames, stride
        self._least = least = 1 if retraced else 2
        offsets = np.cumsum(lengths) - lengths
        phase = np.arange(stride)
        counts = np.maximum(-(-(lengths[:, None] - phase) // stride), 0)
        keep = counts >= least
        self._base = (offsets[:, None] + phase)[keep]
        self._length = counts[keep]
        whole, each = (2 * frames - 1, 2) if retraced else (frames - 1, 1)
        starts = self._length + frames - 2 * least + 1
        long = self._length > frames
        self._each = each
        self._weight = np.where(long, each * starts, whole)
        self._until = np.cumsum(self._weight)
        # Of the phases of an episode, the one whose last frame is the episode's.
        last = (np.arange(stride) == (lengths[:, None] - 1) % stride) & terminated[:, None]
        self._ends = np.flatnonzero(last[keep])
        self.episodes = int(keep.any(1).sum())
        self.shorter = int((lengths < (frames - 1) * stride + 1).sum())
        self.endings = len(self._ends)
        shown = each * (self._length * frames - least * (least - 1))
        shown = np.where(long, shown, whole * self._length)
        self.filled = float(shown.sum() / frames / max(1, self._weight.sum()))

    def draw(
        self, rows: int, rng: np.random.Generator, ends: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw stretches.

        Args:
            rows: how many.
            rng: draws them.
            ends: share of them that end where an episode terminated, all those equally likely.

        Returns:
            Index (rows,) of each stretch's first frame among all frames of all episodes, and the
            number (rows,) of its frames; the next ones are `stride` further each.
        """
        drawn = rng.integers(self._until[-1], size=rows)
        track = np.searchsorted(self._until, drawn, side="right")
        within = (drawn - (self._until - self._weight)[track]) // self._each
        length = self._length[track]
        start = np.where(length > self.frames, within + self._least - self.frames, 0)
        at_end = (rng.random(rows) < ends) & bool(self.endings)
        if at_end.any():
            track[at_end] = self._ends[rng.integers(self.endings, size=int(at_end.sum()))]
            length = self._length[track]
            start = np.where(at_end, length - self.frames, start)
        first = np.maximum(start, 0)
        count = np.minimum(start + self.frames, length) - first
        count = np.where(length <= self.frames, length, count)
        first = np.where(length <= self.frames, 0, first)
        return self._base[track] + first * self.stride, count
