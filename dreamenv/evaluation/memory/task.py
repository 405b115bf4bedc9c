"""One memory task: what is watched, what is asked for, and what should then be seen."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from dreamenv.evaluation.metrics.open_loop import MEAN, REPEAT
from dreamenv.evaluation.metrics.similarity import Similarity, similarity


@dataclass(frozen=True)
class MemoryTask:
    """n clips of T watched and h asked frames, ready for any model of that conditioning."""

    name: str
    conditioning: str
    """"action" or "pose": what `given` is, and what the model must take."""
    watched: np.ndarray
    """(n, T, H, W, C) uint8."""
    truth: np.ndarray
    """(n, h, H, W, C) uint8: what should be seen."""
    given: np.ndarray
    """(n, T + h, …) actions or poses, of watched and asked frames."""
    episodes: np.ndarray
    """(n,) which episode each clip is from."""
    starts: np.ndarray
    """(n,) which recorded frame of it is watched first."""
    distances: np.ndarray
    """(n, h) frames since the asked frame, or one near it, was watched; 0 where none was."""
    groups: dict[str, np.ndarray] = field(default_factory=dict)
    """Name → (n, h) bool: frames that are also scored by themselves."""
    contrast: tuple[str, str] | None = None
    """Two groups to compare at equal steps of the imagination."""
    copies: dict[str, np.ndarray] = field(default_factory=dict)
    """Name → (n, h) index of the watched frame that a rule without a model would show."""
    about: dict[str, Any] = field(default_factory=dict)
    """What the clips are of, as plain data: store, stride, seed, thresholds."""

    @property
    def context(self) -> int:
        """T, frames watched."""
        return self.watched.shape[1]

    @property
    def horizon(self) -> int:
        """h, frames asked for."""
        return self.truth.shape[1]

    @functools.cached_property
    def references(self) -> dict[str, Similarity]:
        """What needs no model, compared with the truth: name → metric → (n, h).

        The last watched frame, the mean of all watched frames, and `copies`.
        """
        cpu, clips = torch.device("cpu"), np.arange(len(self.watched))
        mean = self.watched.mean((0, 1), np.float64).round().astype(np.uint8)
        found = {
            REPEAT: similarity(self.watched[:, -1:], self.truth, cpu),
            MEAN: similarity(mean, self.truth, cpu),
        }
        for name, index in self.copies.items():
            # Frame by frame: all copies at once would be as large as the truth.
            parts = [
                similarity(self.watched[clips, column], self.truth[:, frame], cpu)
                for frame, column in enumerate(index.T)
            ]
            found[name] = {metric: np.stack([p[metric] for p in parts], 1) for metric in parts[0]}
        return found
