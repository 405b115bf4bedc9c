"""A worker's progress, in memory that it shares with its parent, who reads it when it is gone."""

from __future__ import annotations

from multiprocessing.context import SpawnContext
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Larger actions are cut off.
_LARGEST_ACTION = 256
_COUNT, _STEP, _SIZE, _ACTION = range(4)


class Noted:
    """What a worker has noted: the step that it is taking, and its action.

    Args:
        values: as `Progress.values` gives them.
    """

    def __init__(self, values: NDArray[np.float64]) -> None:
        self._values = values

    @property
    def count(self) -> float:
        """A number that changes whenever something is noted."""
        return float(self._values[_COUNT])

    @property
    def step(self) -> int:
        """The step that is being taken, -1 in a reset and before it."""
        return int(self._values[_STEP])

    def action(self, discrete: bool) -> Any:
        """The action of the step that is being taken, flat; None if there is none."""
        flat = self._values[_ACTION : _ACTION + int(self._values[_SIZE])]
        if len(flat) == 0:
            return None
        return int(flat[0]) if discrete else flat.tolist()


NOTHING = Noted(np.array([-1.0, -1.0, 0.0]))
"""Of a worker of which nothing has been heard."""


class Progress(Noted):
    """The step that is being taken, and its action, noted in memory that two processes share.

    A message for every step would cost more than the step of a fast environment; this costs two
    microseconds.
    """

    def __init__(self, context: SpawnContext) -> None:
        self._memory = context.RawArray("d", _ACTION + _LARGEST_ACTION)
        super().__init__(np.frombuffer(self._memory))
        self.clear()

    def __getstate__(self) -> Any:
        return self._memory

    def __setstate__(self, memory: Any) -> None:
        self._memory, self._values = memory, np.frombuffer(memory)

    def note(self, step: int, action: Any) -> None:
        """Say what is done next: step number `step`, or -1 for the reset, with its action."""
        values = self._values
        flat = np.zeros(0) if action is None else np.ravel(action)[:_LARGEST_ACTION]
        values[_ACTION : _ACTION + len(flat)] = flat
        values[_STEP], values[_SIZE] = step, len(flat)
        values[_COUNT] += 1

    def clear(self) -> None:
        """Forget the last task."""
        self._values[_STEP], self._values[_SIZE] = -1, 0
        self._values[_COUNT] += 1

    def values(self) -> NDArray[np.float64]:
        """A copy of all that is noted, for `Noted`."""
        return self._values[: _ACTION + int(self._values[_SIZE])].copy()
