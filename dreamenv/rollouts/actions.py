"""Actions at the border between environments and world models: converted here, nowhere else.

Rollouts, agents, dreams and real environments speak the environment's own action space; where
arrays are wanted, actions are rows of it (`dreamenv.core.action_rows`). A world model counts
discrete actions from 0 and takes all others, of whatever shape and dtype, as flat float32: the
numbers of a box, and the categories of everything that is chosen from a few, counted from 0.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Space, Tuple
from numpy.typing import NDArray

from dreamenv.core.action_rows import columns_of, leaf_values, row_type
from dreamenv.core.errors import InvalidActionError


def fit_actions(space: Space, actions: Any, batch: tuple[int, ...] = ()) -> NDArray | None:
    """Actions as rows of their space, or None if one of them lies outside it.

    Args:
        space: of a single action.
        actions: (*batch, *space.shape) integers, or for a box of floats any numbers; for a `Tuple`
            or `Dict` nested as the space is, with such arrays at the leaves, or rows.
        batch: the dimensions in front.
    """
    if not isinstance(space, Tuple | Dict):
        try:
            return _fit_leaf(space, np.asarray(actions), batch)
        except ValueError:  # ragged
            return None
    values = leaf_values(space, actions, batch)
    if values is None:
        return None
    fitted: list[tuple[Space, NDArray]] = []
    for leaf, given in values:
        fitting = _fit_leaf(leaf, given, batch)
        if fitting is None:
            return None
        fitted.append((leaf, fitting))
    return _joined(fitted, batch)


def rows_of(space: Space, actions: Any, batch: tuple[int, ...] = ()) -> NDArray:
    """Actions that an environment took as rows of its space, whether they lie inside it or not.

    Args:
        space: of a single action.
        actions: as for `fit_actions`.
        batch: the dimensions in front.

    Raises:
        InvalidActionError: they are not of the form of the space.
    """
    if not isinstance(space, Tuple | Dict):
        return np.asarray(actions)
    values = leaf_values(space, actions, batch)
    if values is None:
        raise InvalidActionError(f"{actions!r} is not of the form of {space}")
    return _joined(values, batch)


def _joined(values: list[tuple[Space, NDArray]], batch: tuple[int, ...]) -> NDArray:
    """Rows of a Tuple or Dict from what they say for each leaf, (*batch, *leaf.shape)."""
    flat = [given.reshape((*batch, math.prod(leaf.shape or ()))) for leaf, given in values]
    return np.concatenate([columns.astype(np.float64) for columns in flat], -1)


def _fit_leaf(space: Space, given: NDArray, batch: tuple[int, ...]) -> NDArray | None:
    assert isinstance(space, Discrete | Box | MultiDiscrete | MultiBinary)
    assert space.dtype is not None
    if isinstance(space, MultiBinary) and given.dtype == np.bool_:
        given = given.astype(np.int8)
    kinds = "iu" if space.dtype.kind in "iu" else "iuf"
    if given.shape != (*batch, *(space.shape or ())) or given.dtype.kind not in kinds:
        return None
    if not isinstance(space, Box):
        low, count = _categories(space)
        inside = (given >= low) & (given < low + count)
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


def _categories(space: Discrete | MultiDiscrete | MultiBinary) -> tuple[Any, Any]:
    """The first category of each number of an action, and how many there are."""
    if isinstance(space, Discrete):
        return int(space.start), int(space.n)
    if isinstance(space, MultiBinary):
        return 0, 2
    return space.start, space.nvec


def to_model(space: Space, actions: NDArray) -> NDArray:
    """Rows of actions (..., *shape of a row) as a world model takes them.

    Returns:
        (...) int64 counted from 0 for Discrete; else (..., dims) float32, also of a single number.
    """
    if isinstance(space, Discrete):
        return np.asarray(actions, np.int64) - int(space.start)
    rows, shape = np.asarray(actions), row_type(space)[0]
    batch = rows.shape[: rows.ndim - len(shape)]
    nested = isinstance(space, Tuple | Dict)
    parts = columns_of(space, rows) if nested else [(space, rows)]
    columns = [
        _counted(leaf, numbers).reshape((*batch, math.prod(leaf.shape or ()))).astype(np.float32)
        for leaf, numbers in parts
    ]
    return np.concatenate(columns, -1)


def outside_categories(space: Space, rows: NDArray) -> NDArray[np.bool_]:
    """Which of some finite rows (n, ...) hold what is no category of their space, (n,).

    The numbers of boxes are not looked at: rollouts of elsewhere may hold some beyond the bounds.
    """
    outside = np.zeros(len(rows), np.bool_)
    parts = columns_of(space, rows) if isinstance(space, Tuple | Dict) else [(space, rows)]
    for leaf, numbers in parts:
        if isinstance(leaf, Discrete | MultiDiscrete | MultiBinary):
            low, count = _categories(leaf)
            inside = (numbers >= low) & (numbers < low + count) & (numbers == np.round(numbers))
            outside |= ~inside.reshape((len(rows), math.prod(leaf.shape or ()))).all(1)
    return outside


def _counted(leaf: Space, numbers: NDArray) -> NDArray:
    """The numbers of a box as they are, categories counted from 0."""
    if isinstance(leaf, Discrete | MultiDiscrete | MultiBinary):
        return numbers - _categories(leaf)[0]
    return numbers
