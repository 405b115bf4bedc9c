"""What goes to the model's device and back arrives unchanged, and is the caller's to keep."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dreamenv.dream.device_transfer import constant, to_device, to_host

DEVICES = ["cpu"] + ["cuda"] * torch.cuda.is_available()


@pytest.mark.parametrize("name", DEVICES)
@pytest.mark.parametrize("slots", [1, 3])
def test_there_and_back(name: str, slots: int, rng: np.random.Generator) -> None:
    device = torch.device(name)
    frames = rng.integers(0, 256, (slots, 4, 5, 3)).astype(np.uint8)
    columns = [rng.standard_normal((slots, k)).astype(np.float32) for k in (4, 7)]
    sent = [to_device(x, device) for x in (frames, *columns)]
    assert all(x.device.type == name for x in sent)
    received = to_host(*sent)
    for one, other in zip(received, (frames, *columns), strict=True):
        assert np.array_equal(one, other) and one.dtype == other.dtype
    to_host(*(torch.zeros_like(x) for x in sent))
    assert np.array_equal(received[0], frames), "a later transfer wrote into an earlier one's"


@pytest.mark.parametrize("name", DEVICES)
def test_constants_are_sent_once(name: str) -> None:
    like = torch.zeros(2, device=name, dtype=torch.float64)
    first = constant((0.0, 2.5), like)
    assert first.tolist() == [0, 2.5] and (first.dtype, first.device) == (like.dtype, like.device)
    assert constant((0.0, 2.5), like) is first
    assert constant((0.0, 2.5), like.float()) is not first
