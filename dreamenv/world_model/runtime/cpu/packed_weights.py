"""Weights in the layout in which tiles of bfloat16 are multiplied."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor
from torch.nn import functional as F


class WeightsFields(ctypes.Structure):
    """`Weights` of `csrc/tiles.h`."""

    _fields_ = [
        ("tiles", ctypes.c_void_p), ("columns", ctypes.c_long), ("depth", ctypes.c_long),
        ("bias", ctypes.c_void_p),
    ]  # fmt: skip


class Packed:
    """Weights (columns, depth) and a bias (columns,) as `csrc/tiles.h` takes them.

    A tile has 16 columns and is 32 deep; its numbers stand in pairs of depth, pair by pair for
    all columns. Columns are filled up with zeros to a multiple of 32.

    Attributes:
        fields: the addresses; good while this object is kept.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        missing = -len(weight) % 32
        weight = F.pad(weight.detach().to(torch.bfloat16), (0, 0, 0, missing))
        columns, depth = weight.shape
        tiles = weight.reshape(columns // 32, 2, 16, depth // 32, 16, 2)
        self._tiles = tiles.permute(0, 3, 1, 4, 2, 5).contiguous()
        self._bias = None if bias is None else F.pad(bias.detach().float(), (0, missing))
        self.fields = WeightsFields(
            self._tiles.data_ptr(), columns, depth,
            None if self._bias is None else self._bias.data_ptr(),
        )  # fmt: skip
