"""A worker's progress, in memory that it shares with its parent, who reads it when it is gone."""

from __future__ import annotations

from multiprocessing.context import SpawnContext
from typing import Any

import numpy as np

# Larger actions are cut off.
_LARGEST_ACTION = 256
_COUNT, _STEP, _SIZE, _ACTION = range(4)


class Progress:
    """The step that is being taken, and its action.

    A message for every step would cost more than the step of a fast environment; this costs two
    microseconds.
    """

    def __init__(self, context: SpawnContext) -> None:
        self._memory = context.RawArray("d", _ACTION + _LARGEST_ACTION)
        self.clear()

    def note(self, step: int, action: Any) -> None:
        """Say what is done next: step number `step`, or -1 for the reset, with its action."""
        values = np.frombuffer(self._memory)
        flat = np.zeros(0) if action is None else np.ravel(action)[:_LARGEST_ACTION]
        values[_ACTION : _ACTION + len(flat)] = flat
        values[_STEP], values[_SIZE] = step, len(flat)
        values[_COUNT] += 1

    def clear(self) -> None:
        """Forget the last episode."""
        values = np.frombuffer(self._memory)
        values[_STEP], values[_SIZE] = -1, 0
        values[_COUNT] += 1

    @property
    def count(self) -> float:
        """A number that changes whenever something is noted."""
        return float(np.frombuffer(self._memory)[_COUNT])

    @property
    def step(self) -> int:
        """The step that is being taken, -1 in a reset and before it."""
        return int(np.frombuffer(self._memory)[_STEP])

    def action(self, discrete: bool) -> Any:
        """The action of the step that is being taken, flat; None if there is none."""
        values = np.frombuffer(self._memory)
        flat = values[_ACTION : _ACTION + int(values[_SIZE])]
        if len(flat) == 0:
            return None
        return int(flat[0]) if discrete else flat.tolist()
