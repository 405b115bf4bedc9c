"""Actions at the border between environments and world models: converted here, nowhere else.

Rollouts, agents, dreams and real environments speak the environment's own action space. A world
model counts discrete actions from 0 and takes boxes, of whatever shape and dtype, as flat float32.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete, Space
from numpy.typing import NDArray


def fit_actions(space: Space, actions: Any, batch: tuple[int, ...] = ()) -> NDArray | None:
    """Actions in the dtype of their space, or None if one of them lies outside it.

    Args:
        space: of a single action, Discrete or Box.
        actions: (*batch, *space.shape) integers, or for a box of floats any numbers.
        batch: the dimensions in front.
    """
    try:
        given = np.asarray(actions)
    except ValueError:  # ragged
        return None
    assert isinstance(space, Discrete | Box) and space.dtype is not None
    kinds = "iu" if space.dtype.kind in "iu" else "iuf"
    if given.shape != (*batch, *(space.shape or ())) or given.dtype.kind not in kinds:
        return None
    if isinstance(space, Discrete):
        inside = (given >= int(space.start)) & (given < int(space.start) + int(space.n))
        return given.astype(space.dtype) if inside.all() else None
    low, high = space.low, space.high
    if given.dtype.kind == "f":
        # Compared in the coarser of both types: 0.1 as float32 lies above 0.1 as float64, and an
        # agent that computes in one must be able to reach the bounds of the other.
        coarser = min(given.dtype, space.dtype, key=lambda dtype: dtype.itemsize)
        given = given.astype(coarser)
        low, high = low.astype(coarser), high.astype(coarser)
    if not ((given >= low) & (given <= high)).all():
        return None
    return np.asarray(given.astype(space.dtype).clip(space.low, space.high))


def to_model(space: Space, actions: NDArray) -> NDArray:
    """Actions (..., *space.shape) as a world model takes them.

    Returns:
        (...) int64 counted from 0 for Discrete; (..., dims) float32 for Box, a scalar one too.
    """
    if isinstance(space, Discrete):
        return np.asarray(actions, np.int64) - int(space.start)
    actions, shape = np.asarray(actions), space.shape or ()
    batch = actions.shape[: actions.ndim - len(shape)]
    return actions.reshape(*batch, math.prod(shape)).astype(np.float32)
