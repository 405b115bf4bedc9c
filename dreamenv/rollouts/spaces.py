"""Observation and action spaces as plain data, and the check that a rollout store can hold them."""

from __future__ import annotations

import reprlib
from math import prod
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete

from dreamenv.core.errors import RolloutError

ActionSpace = Discrete | Box

SMALLEST_FRAME = 8
"""Pixels of a frame's shorter side; what is smaller is a grid of codes."""
MOST_CODE = 31
"""A uint8 space that ends here or before holds codes; pictures go up to 255."""
MOST_ACTIONS = 2**16
MOST_SIDE, MOST_DIMENSIONS, MOST_NUMBERS = 2**16, 16, 2**26
LARGEST_BOUND = 2.0**126
"""Beyond, the range of a box is no number in float32."""


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
    if len(space.shape) < 2:
        raise RolloutError(
            f"rollouts need an image observation, not {space}; render frames with a "
            "gymnasium.wrappers.AddRenderObservation wrapper"
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
    if min(space.shape[:2]) < SMALLEST_FRAME or int(space.high.max()) <= MOST_CODE:
        raise RolloutError(f"{space} {NO_PICTURE}")
    return space


NO_PICTURE = (
    "is a grid of codes, not a picture, and cannot be dreamt; render frames with "
    "gymnasium.wrappers.AddRenderObservation (MiniGrid: minigrid.wrappers.RGBImgPartialObsWrapper, "
    "then ImgObsWrapper)"
)


def require_action_space(space: gymnasium.Space) -> ActionSpace:
    """Return `space` if it is Discrete, or a Box with bounds on every side.

    Raises:
        RolloutError: the space is anything else; the message names the wrapper that helps.
    """
    problem = _why_not_dreamt(space)
    if problem is not None:
        raise RolloutError(f"actions from {space} cannot be dreamt: {problem}")
    assert isinstance(space, Discrete | Box)
    return space


NEEDED = "rollouts need a Discrete or Box action space"


def _why_not_dreamt(space: gymnasium.Space) -> str | None:
    transform = "gymnasium.wrappers.TransformAction"
    if isinstance(space, MultiDiscrete | MultiBinary):
        nvec = space.nvec if isinstance(space, MultiDiscrete) else np.full(space.shape, 2)
        count = np.prod(nvec, dtype=np.float64)
        if count > MOST_ACTIONS:
            return f"{NEEDED}; number the combinations that matter with {transform}"
        return (
            f"{NEEDED}; number the combinations with {transform}(env, lambda action: numpy.array("
            f"numpy.unravel_index(action, {nvec.ravel().tolist()})), "
            f"gymnasium.spaces.Discrete({int(count)}))"
        )
    if isinstance(space, Discrete):
        if space.n <= MOST_ACTIONS:
            return None
        return f"{space.n} are too many; offer {MOST_ACTIONS} or fewer with {transform}"
    if not isinstance(space, Box):
        return f"{NEEDED}; flatten it with {transform}"
    assert space.dtype is not None
    if space.dtype.kind not in "iuf" or not space.low.size:
        return f"they must be numbers, and at least one; bring them to a Box with {transform}"
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    if not space.is_bounded() or max(-low.min(), high.max()) > LARGEST_BOUND:
        return (
            "the box has no bounds on some side; name the range that matters with "
            f"{transform}(env, lambda action: action, "
            f"gymnasium.spaces.Box(-1.0, 1.0, {space.shape}))"
        )
    if not (low < high).all():
        return f"in some dimension only one value is allowed; leave that out with {transform}"
    return None


def action_array_type(space: ActionSpace) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and dtype of one stored action: those of the space; int64 for every Discrete."""
    if isinstance(space, Discrete):
        return (), np.dtype(np.int64)
    return space.shape, np.dtype(space.dtype)


def space_to_dict(space: gymnasium.Space) -> dict[str, Any]:
    """Plain data from which `space_from_dict` makes an equal space."""
    if isinstance(space, Discrete):
        return {
            "type": "Discrete",
            "n": int(space.n),
            "start": int(space.start),
            "dtype": str(space.dtype),
        }
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
        _require_bounded(data)
        if data["type"] == "Discrete":
            dtype = np.dtype(data.get("dtype", "int64"))  # earlier versions did not write it
            # Gymnasium knows other integers than int64 only since 1.2.
            other = {} if dtype == np.int64 else {"dtype": dtype}
            return Discrete(data["n"], start=data["start"], **other)
        if data["type"] == "Box":
            dtype, shape = np.dtype(data["dtype"]), tuple(data["shape"])
            low, high = (
                _bound_from_plain(data[side], shape).astype(dtype) for side in ("low", "high")
            )
            return Box(low, high, shape, dtype.type)
    except (KeyError, TypeError, ValueError, OverflowError, AssertionError) as error:
        told = reprlib.repr(data)
        raise RolloutError(f"a stored space is damaged ({error!r}): {told}") from error
    kind = reprlib.repr(data["type"])
    raise RolloutError(f"stored space of unknown type {kind}; is dreamenv too old?")


def _require_bounded(data: dict[str, Any]) -> None:
    """Refuse a description that would take more memory, or other values, than a space does."""
    shape = data.get("shape", [])
    if not isinstance(shape, list | tuple) or not all(
        type(size) is int and 0 <= size <= MOST_SIDE for size in shape
    ):
        raise ValueError("a shape is a list of sizes")
    if len(shape) > MOST_DIMENSIONS or prod(shape) > MOST_NUMBERS:
        raise ValueError("a space of that size is none that was stored")
    if np.dtype(data.get("dtype", "int64")).kind not in "iufb":
        raise ValueError("a space is of numbers")
    if not all(type(data.get(name, 0)) is int for name in ("n", "start")):
        raise ValueError("discrete actions are counted")


def _bound_from_plain(bound: Any, shape: tuple[int, ...]) -> np.ndarray:
    """One number for all dimensions, or a list of them, nested or flat."""
    array = np.asarray(bound)
    return np.broadcast_to(array, shape) if array.ndim == 0 else array.reshape(shape)


def _bound_to_plain(bound: np.ndarray) -> Any:
    # An image's bound is 12,288 equal numbers; one is enough. Infinities survive Python's JSON.
    if bound.size and (bound == bound.flat[0]).all():
        return bound.flat[0].item()
    return bound.tolist()
