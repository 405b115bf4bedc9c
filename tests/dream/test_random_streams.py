"""Each slot draws from its own generator, whoever does it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dreamenv.dream import random_streams
from dreamenv.dream.random_streams import RandomStreams

SLOTS = 13


def drawn(threads: int, sampled: bool) -> tuple[NDArray, NDArray, list[float]]:
    """Noise and chances of all slots but two, and what each generator draws next."""
    generators = [np.random.default_rng(i) for i in range(SLOTS)]
    noise = np.full((SLOTS, 2, 3), 7, np.float32)
    chances = np.zeros(SLOTS, np.float32)
    slots = [i for i in range(SLOTS) if i not in (2, 5)]
    RandomStreams(threads).draw(generators, slots, noise[:, :1], chances if sampled else None)
    return noise, chances, [g.random() for g in generators]


@pytest.mark.parametrize("sampled", [True, False])
def test_threads_draw_what_one_would(sampled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random_streams, "SHARE", 2)
    for one, other in zip(drawn(1, sampled), drawn(4, sampled), strict=True):
        assert np.array_equal(one, other)


def test_a_slot_draws_noise_and_then_a_number() -> None:
    noise, chances, after = drawn(1, sampled=True)
    for i in range(SLOTS):
        generator = np.random.default_rng(i)
        if i in (2, 5):
            assert (noise[i] == 7).all() and chances[i] == 0
        else:
            assert np.array_equal(noise[i, 0], generator.standard_normal(3, np.float32))
            assert chances[i] == generator.random(dtype=np.float32)
        assert (noise[i, 1] == 7).all() and after[i] == generator.random()


def test_only_beside_cuda_there_are_threads() -> None:
    assert RandomStreams.beside(torch.device("cpu")).threads == 1
    assert RandomStreams.beside(torch.device("cuda")).threads >= 1
