"""Rotary encoding of where a token of a view lies, so that tokens of the same sight match.

A token lies on a ray: an angle from the heading of the camera, and a row. A landmark's token lies,
for one who looks from elsewhere, on a ray turned by the difference of headings, and its camera is
shifted. Queries and keys are turned by all that [Su et al. 2021, per axis], so what an attention
sees is the difference of rays and the shift, whatever the tokens show.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

FIELD_OF_VIEW = math.radians(80)
"""Horizontal, that rays begin with; training adapts them."""
ANGLE, FORWARD, LEFT, ROW = range(4)
ORDER = (ANGLE, FORWARD, LEFT, ANGLE, ROW, ANGLE, FORWARD, LEFT)
"""Axis of each pair of numbers, over and over."""


class ViewRotation(nn.Module):
    """Turns queries and keys, (…, n, head dim), by the rays of n tokens.

    Args:
        head_dim: even.
        queries, keys: rows and columns of the two grids of tokens.
        unit: what shifts are measured in.
    """

    rates: Tensor
    query_rows: Tensor
    key_rows: Tensor

    def __init__(
        self, head_dim: int, queries: tuple[int, int], keys: tuple[int, int], unit: float
    ) -> None:
        super().__init__()
        self.unit = unit
        pairs = head_dim // 2
        with torch.device("cpu"):  # not stored, so made in earnest even where weights are not yet
            rates = torch.zeros(4, pairs)
            for pair in range(pairs):
                axis = ORDER[pair % len(ORDER)]
                rates[axis, pair] = _rate(axis, int((rates[axis, :pair] > 0).sum()))
            rows = [_rows(grid) for grid in (queries, keys)]
        self.register_buffer("rates", rates, persistent=False)
        self.register_buffer("query_rows", rows[0], persistent=False)
        self.register_buffer("key_rows", rows[1], persistent=False)
        self.query_rays = nn.Parameter(_rays(queries))
        self.key_rays = nn.Parameter(_rays(keys))

    def query_angles(self) -> Tensor:
        """By how much each pair of a query is turned, (n, head dim / 2)."""
        rates = self.rates.to(self.query_rays)
        return self.query_rays[:, None] * rates[ANGLE] + self.query_rows[:, None] * rates[ROW]

    def key_angles(self, where: Tensor) -> Tensor:
        """The same of keys of landmarks at relative poses (…, 3): (…, n, head dim / 2)."""
        rates = self.rates.to(where)
        forward, left, turn = where.unsqueeze(-1).unbind(-2)  # (…, 1) each
        shift = forward / self.unit * rates[FORWARD] + left / self.unit * rates[LEFT]
        ray = turn + self.key_rays.to(where)  # (…, n)
        rows = self.key_rows.to(where)[:, None] * rates[ROW]
        return shift.unsqueeze(-2) + ray.unsqueeze(-1) * rates[ANGLE] + rows


def _rate(axis: int, number: int) -> float:
    """Radians of turning per radian, unit of shifts, or row."""
    if axis == ANGLE:  # whole numbers: headings that differ by a full turn are the same
        return float((1, 2, 3, 4, 6, 8)[number] if number < 6 else 4 * (number - 3))
    return math.pi / (4 if axis == ROW else 8) * 2.0**number


def _rows(grid: tuple[int, int]) -> Tensor:
    rows = torch.arange(grid[0], dtype=torch.float32).repeat_interleave(grid[1])
    return rows * 4 / grid[0]  # as if there were four


def _rays(grid: tuple[int, int]) -> Tensor:
    """Angles to the left (n,) of the columns' middles in a flat picture."""
    columns = (torch.arange(grid[1], dtype=torch.float32) + 0.5) / grid[1] * 2 - 1
    return torch.atan(-columns * math.tan(FIELD_OF_VIEW / 2)).repeat(grid[0])
