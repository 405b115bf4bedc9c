"""The scan that forgets by place is its recurrence, however it is cut, and keeps what it holds."""

from __future__ import annotations

import math

import pytest
import torch

from dreamenv.core.errors import ConfigError
from dreamenv.world_model.config import DynamicsConfig
from dreamenv.world_model.network.place_scan import PlaceInputs, chunk_size, place_scan

G, H, P, N = 2, 3, 2, 5


def inputs(length: int, seed: int, largest: float = 0.9) -> PlaceInputs:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(G, length, H, P, generator=generator, dtype=torch.float64)
    w = largest * torch.rand(G, length, N, generator=generator, dtype=torch.float64)
    return PlaceInputs(x, w, torch.randn(G, length, N, generator=generator, dtype=torch.float64))


def recurrence(write: PlaceInputs, state: torch.Tensor, frame: int, read: PlaceInputs):  # type: ignore[no-untyped-def]
    """Token by token, as it is defined."""

    def run(stream: PlaceInputs, first: int, state: torch.Tensor):  # type: ignore[no-untyped-def]
        told = []
        for i in range(first, first + frame):
            w, x = stream.w[:, i, :, None, None], stream.x[:, i, None]
            state = (1 - w) * state + w * x
            told.append((state * stream.c[:, i, :, None, None]).sum(1))
        return told, state

    y, y_read = [], []
    for first in range(0, write.x.shape[1], frame):
        y_read += run(read, first, state)[0]
        told, state = run(write, first, state)
        y += told
    return torch.stack(y, 1), torch.stack(y_read, 1), state


@pytest.mark.parametrize(("frame", "frames"), [(1, 60), (4, 13), (16, 3), (64, 2)])
def test_it_is_the_recurrence(frame: int, frames: int) -> None:
    write, read = inputs(frame * frames, 0), inputs(frame * frames, 1)
    start = torch.randn(G, N, H, P, dtype=torch.float64)
    largest = 1 - math.exp(-72 / chunk_size(frame)) - 1e-12
    for stream in (write, read):
        stream.w.clamp_(max=largest)
    wanted = recurrence(write, start, frame, read)
    found = place_scan(write, start, frame, read)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_a_place_that_nothing_is_written_to_keeps_what_it_holds_for_ever() -> None:
    write = inputs(5000, 0)
    write.w[:, :, 2] = 0
    start = torch.randn(G, N, H, P, dtype=torch.float64)
    _, _, after = place_scan(write, start, 4)
    assert torch.equal(after[:, 2], start[:, 2])
    assert not torch.equal(after[:, 1], start[:, 1])


def test_gradients_are_finite_where_places_are_overwritten_in_float32() -> None:
    write = inputs(96, 0, largest=1.0)
    parts = [x.float().requires_grad_(True) for x in (write.x, write.w, write.c)]
    y, _, state = place_scan(PlaceInputs(*parts), torch.zeros(G, N, H, P), 16)
    (y.square().sum() + state.sum()).backward()
    assert all(bool(part.grad.isfinite().all()) for part in parts)  # type: ignore[union-attr]


def test_only_a_state_of_places_forgets_by_place() -> None:
    with pytest.raises(ConfigError, match="set ssm_recall"):
        DynamicsConfig(ssm_place_forgetting=True)
