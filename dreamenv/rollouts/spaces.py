"""Observation and action spaces as plain data, and the check that a rollout store can hold them."""

from __future__ import annotations

import reprlib
from math import prod
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple

from dreamenv.core.action_rows import EXACT, leaves_of
from dreamenv.core.errors import RolloutError

ActionSpace = Discrete | Box | MultiDiscrete | MultiBinary | Tuple | Dict

SMALLEST_FRAME = 8
"""Pixels of a frame's shorter side; what is smaller is a grid of codes."""
MOST_CODE = 31
"""A uint8 space that ends here or before holds codes; pictures go up to 255."""
MOST_ACTIONS = 2**16
MOST_SIDE, MOST_DIMENSIONS, MOST_NUMBERS = 2**16, 16, 2**26
MOST_DEPTH = 8
"""Tuples and Dicts inside one another."""
LARGEST_BOUND = 2.0**126
"""Beyond, the range of a box is no number in float32."""


def require_image_space(space: gymnasium.Space) -> Box:
    """Return `space` if it is a uint8 image Box of shape (H, W, C) with C = 1 or 3.

    Raises:
        RolloutError: the space is anything else; the message names the wrapper that helps.
    """
    if not isinstance(space, Box):
        raise RolloutError(
            f"rollouts need an image observation, not {space}; pick one entry of a Dict with the "
            "wrapper dreamenv.FrameObservation, or render frames with "
            "gymnasium.wrappers.AddRenderObservation"
        )
    if len(space.shape) < 2:
        raise RolloutError(
            f"rollouts need an image observation, not {space}; render frames with a "
            "gymnasium.wrappers.AddRenderObservation wrapper"
        )
    if space.dtype != np.uint8:
        raise RolloutError(
            f"rollouts need uint8 frames, not {space.dtype}; convert them with the wrapper "
            "dreamenv.FrameObservation"
        )
    if len(space.shape) != 3 or space.shape[2] not in (1, 3):
        raise RolloutError(
            f"rollouts need frames of shape (H, W, C) with C = 1 or 3, not {space.shape}; "
            "move or add the channel with the wrapper dreamenv.FrameObservation"
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
    """Return `space` if it can be dreamt.

    That is Discrete, MultiDiscrete, MultiBinary, a Box with bounds on every side, or a Tuple or
    Dict of these.

    Raises:
        RolloutError: the space is anything else; the message names the wrapper that helps.
    """
    problem = _why_not_dreamt(space)
    if problem is not None:
        raise RolloutError(f"actions from {space} cannot be dreamt: {problem}")
    assert isinstance(space, ActionSpace)
    return space


def _why_not_dreamt(space: gymnasium.Space) -> str | None:
    if not isinstance(space, Tuple | Dict):
        return _why_not_alone(space)
    leaves = list(leaves_of(space))
    if not leaves:
        return f"they consist of nothing; offer what is chosen from with {TRANSFORM}"
    for name, leaf in leaves:
        problem = _why_not_alone(leaf)
        if problem is None and isinstance(leaf, Box) and leaf.dtype.kind in "iu":
            if max(abs(int(leaf.low.min())), abs(int(leaf.high.max()))) > EXACT:
                problem = f"its integers are too large; offer smaller ones with {TRANSFORM}"
        if problem is not None:
            return f"in its part {name!r}, {problem}"
    if sum(_categories(leaf) for _, leaf in leaves) > MOST_ACTIONS:
        return f"its choices are too many; offer {MOST_ACTIONS} or fewer with {TRANSFORM}"
    return None


TRANSFORM = "gymnasium.wrappers.TransformAction"


def _categories(leaf: gymnasium.Space) -> int:
    """All choices of all numbers of an action, one after the other; a number of a box is one."""
    if isinstance(leaf, Discrete):
        return int(leaf.n)
    if isinstance(leaf, MultiDiscrete):
        return int(leaf.nvec.sum())
    return prod(leaf.shape or ()) * (2 if isinstance(leaf, MultiBinary) else 1)


def _why_not_alone(space: gymnasium.Space) -> str | None:
    if isinstance(space, Discrete | MultiDiscrete | MultiBinary):
        if not prod(space.shape or ()):
            return f"there is nothing to choose; leave that out with {TRANSFORM}"
        if (count := _categories(space)) > MOST_ACTIONS:
            return f"{count} are too many; offer {MOST_ACTIONS} or fewer with {TRANSFORM}"
        return None
    if not isinstance(space, Box):
        return (
            "rollouts need Discrete, MultiDiscrete, MultiBinary, Box, or a Tuple or Dict of them; "
            f"number what is chosen from with {TRANSFORM}"
        )
    assert space.dtype is not None
    if space.dtype.kind not in "iuf" or not space.low.size:
        return f"they must be numbers, and at least one; bring them to a Box with {TRANSFORM}"
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    if not space.is_bounded() or max(-low.min(), high.max()) > LARGEST_BOUND:
        return (
            "the box has no bounds on some side; name the range that matters with "
            f"{TRANSFORM}(env, lambda action: action, "
            f"gymnasium.spaces.Box(-1.0, 1.0, {space.shape}))"
        )
    if not (low < high).all():
        return f"in some dimension only one value is allowed; leave that out with {TRANSFORM}"
    return None


def space_to_dict(space: gymnasium.Space) -> dict[str, Any]:
    """Plain data from which `space_from_dict` makes an equal space."""
    kind = {"type": type(space).__name__}
    if isinstance(space, Discrete):
        return kind | {"n": int(space.n), "start": int(space.start), "dtype": str(space.dtype)}
    if isinstance(space, MultiDiscrete):
        start, nvec = space.start.tolist(), space.nvec.tolist()
        return kind | {"nvec": nvec, "start": start, "dtype": str(space.dtype)}
    if isinstance(space, MultiBinary):
        # Gymnasium tells MultiBinary(5) from MultiBinary([5]).
        return kind | {"n": space.n if isinstance(space.n, int) else list(map(int, space.n))}
    if isinstance(space, Tuple):
        return kind | {"spaces": [space_to_dict(part) for part in space.spaces]}
    if isinstance(space, Dict):
        parts = sorted(space.spaces.items())
        return kind | {"spaces": {name: space_to_dict(part) for name, part in parts}}
    if isinstance(space, Box):
        return kind | {
            "low": _bound_to_plain(space.low),
            "high": _bound_to_plain(space.high),
            "shape": list(space.shape),
            "dtype": str(space.dtype),
        }
    raise RolloutError(f"a {type(space).__name__} space cannot be stored")


def space_from_dict(data: dict[str, Any]) -> ActionSpace:
    """The inverse of `space_to_dict`.

    Raises:
        RolloutError: the description is of an unknown type or incomplete.
    """
    try:
        made = _make_space(data, MOST_DEPTH)
    except (KeyError, TypeError, ValueError, OverflowError, AssertionError) as error:
        told = reprlib.repr(data)
        raise RolloutError(f"a stored space is damaged ({error!r}): {told}") from error
    if made is None:
        kind = reprlib.repr(data["type"])
        raise RolloutError(f"stored space of unknown type {kind}; is dreamenv too old?")
    return made


def _make_space(data: dict[str, Any], depth: int) -> ActionSpace | None:
    """The space, None of an unknown type; nested no deeper than `depth`."""
    _require_bounded(data)
    kind = data["type"]
    if kind == "Discrete":
        dtype = np.dtype(data.get("dtype", "int64"))  # earlier versions did not write it
        # Gymnasium knows other integers than int64 only since 1.2.
        other = {} if dtype == np.int64 else {"dtype": dtype}
        return Discrete(data["n"], start=data["start"], **other)
    if kind == "MultiDiscrete":
        dtype = np.dtype(data["dtype"])
        nvec, start = (np.array(data[name], dtype) for name in ("nvec", "start"))
        return MultiDiscrete(nvec, dtype=dtype.type, start=start)
    if kind == "MultiBinary":
        return MultiBinary(data["n"])
    if kind == "Box":
        dtype, shape = np.dtype(data["dtype"]), tuple(data["shape"])
        low, high = (_bound_from_plain(data[side], shape).astype(dtype) for side in ("low", "high"))
        return Box(low, high, shape, dtype.type)
    if kind not in ("Tuple", "Dict"):
        return None
    if not depth:
        raise ValueError("a space nested so deep is none that was stored")
    parts = data["spaces"]
    named = dict(enumerate(parts)) if kind == "Tuple" else dict(parts)
    if not all(isinstance(name, str) for name in named) and kind == "Dict":
        raise ValueError("the parts of a Dict have names")
    made = {name: _make_space(part, depth - 1) for name, part in named.items()}
    if None in made.values():
        raise ValueError("a part of it is of an unknown type")
    return Tuple(list(made.values())) if kind == "Tuple" else Dict(made)  # type: ignore[arg-type]


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
    several = data["type"] in ("MultiDiscrete", "MultiBinary")
    for name in ("n", "start", "nvec"):
        numbers = np.asarray(data.get(name, 0))
        if numbers.dtype.kind != "i" or (numbers.ndim and not several):
            raise ValueError("discrete actions are counted")
    if data["type"] == "MultiBinary" and prod(np.atleast_1d(data["n"]).tolist()) > MOST_NUMBERS:
        raise ValueError("a space of that size is none that was stored")


def _bound_from_plain(bound: Any, shape: tuple[int, ...]) -> np.ndarray:
    """One number for all dimensions, or a list of them, nested or flat."""
    array = np.asarray(bound)
    return np.broadcast_to(array, shape) if array.ndim == 0 else array.reshape(shape)


def _bound_to_plain(bound: np.ndarray) -> Any:
    # An image's bound is 12,288 equal numbers; one is enough. Infinities survive Python's JSON.
    if bound.size and (bound == bound.flat[0]).all():
        return bound.flat[0].item()
    return bound.tolist()
