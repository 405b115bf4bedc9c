"""`RandomStreams`: every slot draws noise, and its reward, from a generator of its own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dreamenv.core.errors import EnvironmentUsageError

SHARE = 64
"""Least slots for a thread: below, sharing the work costs more than it saves."""

Generators = list[np.random.Generator | None]
"""One for each slot; None before its first use."""


class RandomStreams:
    """Draws for many slots, each from its own generator, so that none depends on the others.

    Args:
        threads: among which slots are shared; NumPy draws without holding Python's lock.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool: ThreadPoolExecutor | None = None

    @classmethod
    def beside(cls, device: torch.device) -> RandomStreams:
        """Streams with threads on CUDA, where many slots are dreamt while their noise is drawn."""
        return cls(min(8, os.cpu_count() or 1) if device.type == "cuda" else 1)

    def draw(
        self,
        generators: Sequence[np.random.Generator | None],
        slots: Sequence[int],
        noise: NDArray[np.float32],
        uniforms: NDArray[np.float32] | None,
    ) -> None:
        """Fill what belongs to `slots`; the rest stays as it is.

        Args:
            generators: of all slots.
            slots: those that draw.
            noise: (N, …), standard normal.
            uniforms: (N,), a number in [0, 1) drawn after the noise, or None.
        """

        def draw(share: Sequence[int]) -> None:
            for i in share:
                generator = generators[i]
                assert generator is not None
                generator.standard_normal(dtype=np.float32, out=noise[i])
                if uniforms is not None:
                    uniforms[i] = generator.random(dtype=np.float32)

        parts = min(self.threads, len(slots) // SHARE)
        if parts < 2:
            draw(slots)
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.threads, "dreamenv-random-streams")
        for _ in self._pool.map(draw, [slots[part::parts] for part in range(parts)]):
            pass


def seeded(seed: Any, offset: int = 0) -> np.random.Generator:
    """The generator of a seed, `offset` added.

    Raises:
        EnvironmentUsageError: the seed is no integer of at least 0.
    """
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise EnvironmentUsageError(f"a seed is an integer of at least 0, not {seed!r}")
    return np.random.default_rng(int(seed) + offset)


def reseeded(
    own: Generators, mask: NDArray[np.bool_], seed: int | Sequence[int | None] | None
) -> Generators:
    """The generators of all slots after a reset of some with a seed.

    Args:
        own: those that the slots have.
        mask: (slots,): which begin; the others keep theirs.
        seed: slot i is seeded with seed + i, or with seed[i]; None goes on with its own stream.

    Raises:
        EnvironmentUsageError: not as many seeds as slots, or one is no integer of at least 0.
    """
    new: Generators
    if seed is None or isinstance(seed, int | np.integer):
        new = [None if seed is None else seeded(seed, i) for i in range(len(own))]
    elif not isinstance(seed, Sequence | np.ndarray) or len(seed) != len(own):
        raise EnvironmentUsageError(f"{len(own)} slots need as many seeds, got {seed!r}")
    else:
        new = [None if one is None else seeded(one) for one in seed]
    return [
        (fresh or kept or np.random.default_rng()) if begins else kept
        for fresh, kept, begins in zip(new, own, mask.tolist(), strict=True)
    ]
