"""Transfers between NumPy and the model's device: there without a wait, back with a single one."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def constant(numbers: tuple[float, ...], like: Tensor) -> Tensor:
    """A tensor of the dtype and on the device of another, sent there once and kept."""
    return _kept(numbers, like.device, like.dtype)


@lru_cache(maxsize=64)
def _kept(numbers: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.tensor(numbers, device=device, dtype=dtype)


def to_device(array: NDArray, device: torch.device) -> Tensor:
    """A copy on CUDA, under way when this returns; elsewhere as `Tensor.to` does it."""
    tensor = torch.from_numpy(array)
    if device.type != "cuda":
        return tensor.to(device)
    # A transfer from ordinary memory would wait for all that the device was told before.
    return tensor.pin_memory().to(device, non_blocking=True)


def to_host(frames: Tensor, *columns: Tensor) -> list[NDArray]:
    """Frames (n, …) uint8 and float32 columns (n, k) as NumPy arrays, in a single transfer."""
    if frames.device.type == "cpu":  # nothing to transfer; features stay the dream's own
        return [frames.contiguous().numpy(), *(column.numpy().copy() for column in columns)]
    parts = [column.contiguous().view(torch.uint8) for column in columns]
    rows = _wait_for(torch.cat([*parts, frames.flatten(1)], 1)).numpy()
    taken, start = [], 0
    for part in parts:
        stop = start + part.shape[1]
        taken.append(np.ascontiguousarray(rows[:, start:stop]).view(np.float32))
        start = stop
    return [np.ascontiguousarray(rows[:, start:]).reshape(frames.shape), *taken]


def _wait_for(tensor: Tensor) -> Tensor:
    """The tensor on the host."""
    if not tensor.is_cuda:
        return tensor.cpu()
    # Pinned memory is several times as fast, and torch hands out again what was let go of.
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    host.copy_(tensor, non_blocking=True)
    torch.cuda.current_stream(tensor.device).synchronize()
    return host
