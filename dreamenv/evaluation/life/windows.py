"""Stretches of imagined steps that double in length: 1 … 8, 9 … 16, 17 … 32, …"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

FIRST = 8
"""Last step of the first stretch."""


class StepWindow(NamedTuple):
    """Imagined steps `first` … `last`, both included; the first imagined frame is step 1."""

    first: int
    last: int

    @property
    def columns(self) -> slice:
        """Where these steps stand in an array that begins with step 1."""
        return slice(self.first - 1, self.last)

    def picks(self, most: int) -> np.ndarray:
        """At most so many of the columns, evenly spread."""
        count = min(most, self.last - self.first + 1)
        return np.linspace(self.first - 1, self.last - 1, count).round().astype(np.int64)


def step_windows(horizon: int) -> list[StepWindow]:
    """The windows of a dream of `horizon` steps; the last ends with it."""
    found, last = [], 0
    while last < horizon:
        end = min(max(FIRST, 2 * last), horizon)
        found.append(StepWindow(last + 1, end))
        last = end
    return found
