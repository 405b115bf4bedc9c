"""What chance brings to a step: noise, and where rewards are sampled a number, for every slot."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray

SHARE = 64
"""Least slots for a thread: below, sharing the work costs more than it saves."""


class Chance:
    """Draws for many slots, each from its own generator, so that none depends on the others.

    Args:
        threads: among which slots are shared; NumPy draws without holding Python's lock.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool: ThreadPoolExecutor | None = None

    @classmethod
    def beside(cls, device: torch.device) -> Chance:
        """With threads on CUDA, where many slots are dreamt in the time that drawing takes."""
        return cls(min(8, os.cpu_count() or 1) if device.type == "cuda" else 1)

    def draw(
        self,
        generators: Sequence[np.random.Generator | None],
        slots: Sequence[int],
        noise: NDArray[np.float32],
        chances: NDArray[np.float32] | None,
    ) -> None:
        """Fill what belongs to `slots`; the rest stays as it is.

        Args:
            generators: of all slots.
            slots: those that draw.
            noise: (N, …), standard normal.
            chances: (N,), a number in [0, 1) drawn after the noise, or None.
        """

        def draw(share: Sequence[int]) -> None:
            for i in share:
                generator = generators[i]
                assert generator is not None
                generator.standard_normal(dtype=np.float32, out=noise[i])
                if chances is not None:
                    chances[i] = generator.random(dtype=np.float32)

        parts = min(self.threads, len(slots) // SHARE)
        if parts < 2:
            draw(slots)
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.threads, "dreamenv-chance")
        for _ in self._pool.map(draw, [slots[part::parts] for part in range(parts)]):
            pass
