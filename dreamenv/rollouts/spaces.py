"""Observation and action spaces as plain data, and the check that a rollout store can hold them."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

from dreamenv.core.errors import RolloutError

ActionSpace = Discrete | Box


def require_image_space(space: gymnasium.Space) -> Box:
    """Return `space` if it is a uint8 image Box of shape (H, W, C) with C = 1 or 3.

    Raises:
        RolloutError: the space is anything else; the message names the wrapper that helps.
    """
    if not isinstance(space, Box):
        raise RolloutError(
            f"rollouts need an image observation, not {space}; pick one entry of a Dict with a "
            "gymnasium.wrappers.TransformObservation wrapper, or render frames with "
            "gymnasium.wrappers.AddRenderObservation"
        )
    if space.dtype != np.uint8:
        raise RolloutError(
            f"rollouts need uint8 frames, not {space.dtype}; convert them with a "
            "gymnasium.wrappers.TransformObservation wrapper"
        )
    if len(space.shape) != 3 or space.shape[2] not in (1, 3):
        raise RolloutError(
            f"rollouts need frames of shape (H, W, C) with C = 1 or 3, not {space.shape}; "
            "move or add the channel with a gymnasium.wrappers.TransformObservation wrapper"
        )
    return space


def require_action_space(space: gymnasium.Space) -> ActionSpace:
    """Return `space` if it is Discrete or Box.

    Raises:
        RolloutError: the space is anything else.
    """
    if not isinstance(space, Discrete | Box):
        raise RolloutError(
            f"rollouts need a Discrete or Box action space, not {space}; "
            "flatten it with a gymnasium.ActionWrapper"
        )
    return space


def action_array_type(space: ActionSpace) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and dtype of one stored action: () int64 for Discrete, the Box's shape in float32."""
    if isinstance(space, Discrete):
        return (), np.dtype(np.int64)
    return space.shape, np.dtype(np.float32)


def space_to_dict(space: gymnasium.Space) -> dict[str, Any]:
    """Plain data from which `space_from_dict` makes an equal space."""
    if isinstance(space, Discrete):
        return {"type": "Discrete", "n": int(space.n), "start": int(space.start)}
    if isinstance(space, Box):
        return {
            "type": "Box",
            "low": _bound_to_plain(space.low),
            "high": _bound_to_plain(space.high),
            "shape": list(space.shape),
            "dtype": str(space.dtype),
        }
    raise RolloutError(f"a {type(space).__name__} space cannot be stored; use Discrete or Box")


def space_from_dict(data: dict[str, Any]) -> ActionSpace:
    """The inverse of `space_to_dict`.

    Raises:
        RolloutError: the description is of an unknown type or incomplete.
    """
    try:
        if data["type"] == "Discrete":
            return Discrete(data["n"], start=data["start"])
        if data["type"] == "Box":
            dtype, shape = np.dtype(data["dtype"]), tuple(data["shape"])
            low = np.broadcast_to(np.asarray(data["low"], np.float64), shape).astype(dtype)
            high = np.broadcast_to(np.asarray(data["high"], np.float64), shape).astype(dtype)
            return Box(low, high, shape, dtype.type)
    except (KeyError, TypeError, ValueError) as error:
        raise RolloutError(f"a stored space is damaged ({error!r}): {data}") from error
    raise RolloutError(f"stored space of unknown type {data['type']!r}; is dreamenv too old?")


def _bound_to_plain(bound: np.ndarray) -> Any:
    # An image's bound is 12,288 equal numbers; one is enough. Infinities survive Python's JSON.
    if bound.size and (bound == bound.flat[0]).all():
        return bound.flat[0].item()
    return bound.tolist()
