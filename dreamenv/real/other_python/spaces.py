"""Spaces and values as they come out of the pipe, made Gymnasium's and checked."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

MOST_DEPTH = 16


def space_of(told: dict[str, Any], depth: int = MOST_DEPTH) -> spaces.Space | None:
    """Gymnasium's form of a space that `child.Spaces.describe` described.

    A MineRL enum is a `Discrete`; parts whose values are no numbers are left out.

    Returns:
        None where the values of the space itself are no numbers.

    Raises:
        ValueError, KeyError, TypeError: it is not described as agreed.
    """
    kind = told["kind"]
    if kind == "other":
        return None
    if not depth:
        raise ValueError("spaces are nested too deep")
    if kind in ("Dict", "Tuple"):
        made = {name: space_of(part, depth - 1) for name, part in told["parts"]}
        parts = {name: part for name, part in made.items() if part is not None}
        return spaces.Dict(parts) if kind == "Dict" else spaces.Tuple(tuple(parts.values()))
    if kind == "Enum":
        return spaces.Discrete(len(told["values"]))
    if kind == "Discrete":
        return spaces.Discrete(told["n"], start=told["start"])
    shape, dtype = tuple(told["shape"]), np.dtype(told["dtype"])
    if kind == "MultiBinary":
        return spaces.MultiBinary(shape[0] if len(shape) == 1 else list(shape))
    if kind == "MultiDiscrete":
        nvec, start = (np.broadcast_to(told[name], shape) for name in ("nvec", "start"))
        return spaces.MultiDiscrete(nvec, dtype.type, start=start)
    if kind == "Box":
        low, high = (np.broadcast_to(told[name], shape).astype(dtype) for name in ("low", "high"))
        return spaces.Box(low, high, shape, dtype.type)
    raise ValueError(f"a space of kind {kind!r}")


def parts_left_out(told: dict[str, Any], path: str = "") -> list[str]:
    """Where the parts stand whose values are no numbers, such as `chat`; "" for all of it."""
    if told["kind"] == "other":
        return [path]
    found = []
    for name, part in told["parts"] if told["kind"] in ("Dict", "Tuple") else []:
        found += parts_left_out(part, f"{path}/{name}".lstrip("/"))
    return found


def names_of(told: dict[str, Any], path: str = "") -> dict[str, list[str]]:
    """Path of every enum → what its numbers are called."""
    if told["kind"] == "Enum":
        return {path: list(told["values"])}
    found: dict[str, list[str]] = {}
    for name, part in told["parts"] if told["kind"] in ("Dict", "Tuple") else []:
        found |= names_of(part, f"{path}/{name}".lstrip("/"))
    return found


def value_of(space: spaces.Space, told: Any) -> Any:
    """A value of a space as it came out of the pipe, as Gymnasium has it.

    Raises:
        ValueError: it is none of the space; says which part.
    """
    if isinstance(space, spaces.Dict):
        return {name: value_of(part, _part(told, name)) for name, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        if not isinstance(told, dict) or len(told) != len(space.spaces):
            raise ValueError(f"it has other parts than {space}")
        return tuple(map(value_of, space.spaces, told.values()))
    if isinstance(space, spaces.Discrete):
        if type(told) is not int or not space.start <= told < space.start + space.n:
            raise ValueError(f"{told!r} is none of {space}")
        return np.int64(told)
    if not isinstance(told, np.ndarray) or (told.shape, told.dtype) != (space.shape, space.dtype):
        raise ValueError(f"{type(told).__name__} is none of {space}")
    return told


def _part(told: Any, name: str) -> Any:
    if not isinstance(told, dict) or name not in told:
        raise ValueError(f"it lacks {name!r}")
    return told[name]


def plain_action(space: spaces.Space, action: Any) -> Any:
    """An action as it goes into the pipe: nested lists and dicts of numbers."""
    if isinstance(space, spaces.Dict):
        return {name: plain_action(part, action[name]) for name, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return {str(i): plain_action(part, action[i]) for i, part in enumerate(space.spaces)}
    if isinstance(space, spaces.Discrete):
        return int(action)
    return np.asarray(action).tolist()
