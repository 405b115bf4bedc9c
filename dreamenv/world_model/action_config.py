"""The actions that a world model knows, as plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dreamenv.core.errors import ConfigError

INTEGERS = ("int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8")
FLOATS = ("float32", "float64", "float16")

MOST_CHOICES = 2**16
"""There are at most so many discrete actions, dimensions of a box, categories of all factors."""
MOST_DEPTH = 8
"""Tuples and Dicts inside one another, as of `dreamenv.rollouts.spaces`."""
LARGEST = 3e38
"""No reward or bound of an action is larger: the model computes in float32."""

Column = tuple[float, float, int]
"""Of one number of an action: lowest, highest, and how many categories; 0 for a real number."""


@dataclass(frozen=True)
class ActionConfig:
    """The action vocabulary: `n` discrete actions, or a vector of `low`..`high` per number.

    The model counts discrete actions from 0; all others are flat float32 vectors. `start`, `shape`
    and `dtype` say what discrete actions and boxes are in the environment, `nested` describes any
    other space. Checkpoints of earlier versions lack these.
    """

    n: int = 0
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    start: int = 0
    """The environment's smallest discrete action."""
    shape: tuple[int, ...] = (-1,)
    """Of the environment's box, () for a single number; −1: as many as bounds."""
    dtype: str = ""
    """Of the environment's actions; by default int64 if discrete, float32 for a box."""
    categories: tuple[int, ...] = ()
    """For each number of a vector 0, or of how many categories it is one, counted from 0; empty
    for a box."""
    nested: dict[str, Any] = field(default_factory=dict, hash=False)
    """The environment's MultiDiscrete, MultiBinary, Tuple or Dict, as `dreamenv.rollouts.spaces`
    describes a space; it decides all above."""

    def __post_init__(self) -> None:
        if self.nested:
            self._take_from_nested()
        if (self.n > 0) == bool(self.low) or len(self.low) != len(self.high):
            raise ConfigError(f"actions are either discrete (n > 0) or a box (low, high): {self}")
        if self.categories and (len(self.categories) != len(self.low) or not self.nested):
            raise ConfigError(f"categories are those of a nested space: {self}")
        if max(self.n, len(self.low), sum(self.categories)) > MOST_CHOICES:
            raise ConfigError(f"there are at most {MOST_CHOICES} actions, or dimensions of one")
        reals = [bounds for i, bounds in enumerate(self.bounds) if not self.choices(i)]
        if not all(-LARGEST < low < high < LARGEST for low, high in reals):
            raise ConfigError(f"a box of actions needs finite bounds with low < high: {self}")
        # One form for each meaning, so that equal spaces are equal configurations.
        flat = self.shape == (-1,)
        shape = () if self.discrete else (len(self.low),) if flat else self.shape
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "dtype", self.dtype or ("int64" if self.discrete else "float32"))
        if self.dtype not in (INTEGERS if self.discrete else INTEGERS + FLOATS):
            raise ConfigError(f"actions cannot have the dtype {self.dtype!r}: {self}")
        if abs(self.start) >= 2**31:
            raise ConfigError(f"actions do not start at {self.start}")
        if self.start and not self.discrete:
            raise ConfigError(f"only discrete actions have a start: {self}")
        if not self.discrete and (math.prod(shape) != len(self.low) or min(shape, default=1) < 1):
            raise ConfigError(f"the shape of a box of actions does not fit its bounds: {self}")

    def _take_from_nested(self) -> None:
        columns = _columns(self.nested, MOST_DEPTH)
        found = tuple(zip(*columns, strict=True)) if columns else ((), (), ())
        for name, values in zip(("low", "high", "categories"), found, strict=True):
            if getattr(self, name) not in ((), values):
                raise ConfigError(f"the {name} of actions is not that of their space: {self}")
            object.__setattr__(self, name, values)

    @property
    def discrete(self) -> bool:
        """Whether actions are integers in `range(n)`."""
        return self.n > 0

    @property
    def bounds(self) -> tuple[tuple[float, float], ...]:
        """(low, high) of each number of a vector."""
        return tuple(zip(self.low, self.high, strict=True))

    def choices(self, index: int) -> int:
        """How many categories there are for a number of a vector; 0 for a real number."""
        return self.categories[index] if self.categories else 0

    @property
    def told(self) -> tuple[Any, ...]:
        """What a model is told: spaces may differ in the rest, such as their first number."""
        return self.n, self.low, self.high, self.categories

    @staticmethod
    def of(space: Mapping[str, Any]) -> ActionConfig:
        """The vocabulary of an action space, given as `dreamenv.rollouts.spaces` describes one."""
        if space["type"] == "Discrete":
            return ActionConfig(n=space["n"], start=space["start"], dtype=space["dtype"])
        if space["type"] != "Box":
            return ActionConfig(nested=dict(space))
        low, high = _box_bounds(space)
        shape = tuple(space["shape"])
        return ActionConfig(low=low, high=high, shape=shape, dtype=space["dtype"])

    def space(self) -> dict[str, Any]:
        """The environment's action space, as `dreamenv.rollouts.spaces` describes one."""
        if self.nested:
            return self.nested
        if self.discrete:
            return {"type": "Discrete", "n": self.n, "start": self.start, "dtype": self.dtype}
        shape, dtype = list(self.shape), self.dtype
        return {"type": "Box", "low": self.low, "high": self.high, "shape": shape, "dtype": dtype}


def _columns(space: Mapping[str, Any], depth: int) -> list[Column]:
    """The numbers of an action of a described space, one after the other, as in a row of it."""
    try:
        kind = space["type"]
        if kind == "Discrete":
            return [_category(space["n"])]
        if kind == "MultiDiscrete":
            return [_category(n) for n in _flat(space["nvec"])]
        if kind == "MultiBinary":
            return [_category(2)] * _bounded(math.prod(map(int, _flat(space["n"]))))
        if kind == "Box":
            return [(low, high, 0) for low, high in zip(*_box_bounds(space), strict=True)]
        if kind in ("Tuple", "Dict") and depth:
            parts = space["spaces"]
            named = list(enumerate(parts)) if kind == "Tuple" else sorted(parts.items())
            return [column for _, part in named for column in _columns(part, depth - 1)]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ConfigError(f"a nested space of actions is damaged: {error!r}") from error
    raise ConfigError(f"no actions are from a space of type {kind!r} nested {MOST_DEPTH} deep")


def _category(count: float) -> Column:
    if not 1 <= count <= MOST_CHOICES:
        raise ValueError(f"{count} categories")
    return 0.0, float(count - 1), int(count)


def _bounded(size: int) -> int:
    if not 1 <= size <= MOST_CHOICES:
        raise ConfigError(f"an action is of 1 to {MOST_CHOICES} numbers, not of {size}")
    return size


def _box_bounds(space: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Lowest and highest values of a described box, as they are there, flat."""
    size = _bounded(math.prod(space["shape"]))
    return _flat(space["low"], size), _flat(space["high"], size)


def _flat(bound: Any, size: int = 1) -> tuple[float, ...]:
    """A bound of each dimension, from one number for all or from nested lists."""
    if not isinstance(bound, list | tuple):
        return (bound,) * size
    numbers: list[float] = []
    for part in bound:
        numbers += _flat(part, 1)
    return tuple(numbers)
