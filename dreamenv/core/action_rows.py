"""Actions of any space as rows of numbers, in which rollouts keep them, and back.

The row of an action is the action itself as an array: an integer for `Discrete`, an array of the
space's shape and dtype for `Box`, `MultiDiscrete` and `MultiBinary`. That of a `Tuple` or `Dict` is
a flat float64 vector, its parts one after the other, those of a `Dict` in the order of their names:
float64 holds all integers to 2**53 and every float32, so the way there and back is exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from gymnasium.spaces import Dict, Discrete, Space, Tuple
from numpy.typing import NDArray

EXACT = 2**53
"""Beyond, float64 does not hold every integer."""


def parts_of(space: Space) -> list[tuple[Any, Space]]:
    """The parts of a `Tuple` by number, of a `Dict` by name, in the order of a row."""
    if isinstance(space, Dict):
        return [(name, space[name]) for name in sorted(space.spaces)]
    assert isinstance(space, Tuple)
    return list(enumerate(space.spaces))


def leaves_of(space: Space, name: str = "") -> Iterator[tuple[str, Space]]:
    """The spaces that are no `Tuple` or `Dict`, and where they stand, such as `hand/0`."""
    if not isinstance(space, Tuple | Dict):
        yield name, space
        return
    for key, part in parts_of(space):
        yield from leaves_of(part, f"{name}/{key}".lstrip("/"))


def row_type(space: Space) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and dtype of a row; int64 for every `Discrete`."""
    if isinstance(space, Discrete):
        return (), np.dtype(np.int64)
    if isinstance(space, Tuple | Dict):
        return (sum(_width(leaf) for _, leaf in leaves_of(space)),), np.dtype(np.float64)
    return space.shape or (), np.dtype(space.dtype)


def _width(leaf: Space) -> int:
    return math.prod(leaf.shape or ())


def columns_of(space: Space, rows: NDArray) -> Iterator[tuple[Space, NDArray]]:
    """The leaves of a `Tuple` or `Dict`, each with its columns of rows (…, dims), in its shape."""
    first = 0
    for _, leaf in leaves_of(space):
        width = _width(leaf)
        columns = rows[..., first : first + width]
        yield leaf, columns.reshape((*rows.shape[:-1], *(leaf.shape or ())))
        first += width


def action_of(space: Space, row: NDArray) -> Any:
    """The action of a row as an environment takes it; shares no memory with the row."""
    if isinstance(space, Discrete):
        return int(np.asarray(row).item())
    if not isinstance(space, Tuple | Dict):
        return np.array(row, space.dtype)
    values = iter([_leaf_value(*each) for each in columns_of(space, np.asarray(row))])
    return _nest(space, values)


def _leaf_value(leaf: Space, numbers: NDArray) -> Any:
    if isinstance(leaf, Discrete):
        return int(numbers.item())
    return numbers.astype(leaf.dtype)


def _nest(space: Space, values: Iterator[Any]) -> Any:
    if not isinstance(space, Tuple | Dict):
        return next(values)
    found = {key: _nest(part, values) for key, part in parts_of(space)}
    if isinstance(space, Dict):
        return {name: found[name] for name in space.spaces}
    return tuple(found.values())


def leaf_values(
    space: Space, actions: Any, batch: tuple[int, ...] = ()
) -> list[tuple[Space, NDArray]] | None:
    """The leaves of a `Tuple` or `Dict`, and what actions say for each, (*batch, *leaf.shape).

    Args:
        space: of a single action.
        actions: nested as the space is, with arrays of the whole batch at the leaves; or rows
            (*batch, dims).
        batch: the dimensions in front.

    Returns:
        None if they are nested in another way, or of other shapes.
    """
    if isinstance(actions, np.ndarray) and actions.dtype.kind in "iuf":
        if actions.shape != (*batch, *row_type(space)[0]):
            return None
        return [(leaf, _whole(leaf, numbers)) for leaf, numbers in columns_of(space, actions)]
    try:
        return list(_unnest(space, actions, batch))
    except (LookupError, TypeError, ValueError):
        return None


def _whole(leaf: Space, numbers: NDArray) -> NDArray:
    """Numbers of a row in the kind of their space; those that are none of it stay as they are."""
    assert leaf.dtype is not None
    if leaf.dtype.kind == "f" or numbers.dtype.kind != "f":
        return numbers
    exact = np.isfinite(numbers).all() and (numbers == np.round(numbers)).all()
    return numbers.astype(np.int64) if exact and (np.abs(numbers) <= EXACT).all() else numbers


def _unnest(space: Space, actions: Any, batch: tuple[int, ...]) -> Iterator[tuple[Space, NDArray]]:
    if isinstance(space, Tuple | Dict):
        parts = parts_of(space)
        kind = Mapping if isinstance(space, Dict) else tuple | list
        if not isinstance(actions, kind) or len(actions) != len(parts):
            raise ValueError("nested in another way")
        for key, part in parts:
            yield from _unnest(part, actions[key], batch)
        return
    given = np.asarray(actions)
    if given.shape != (*batch, *(space.shape or ())):
        raise ValueError("another shape")
    yield space, given
