"""`Beginning`: the slots that begin an episode and from what, as `reset(options=...)` says."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.spaces import Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from numpy.typing import NDArray

from dreamenv.core.action_rows import row_type
from dreamenv.core.errors import EnvironmentUsageError, InvalidActionError
from dreamenv.dream.spaces import action_space
from dreamenv.dream.spawns import Spawns
from dreamenv.rollouts.actions import outside_categories, rows_of, to_model
from dreamenv.rollouts.timing import led_by
from dreamenv.world_model.config import WorldModelConfig

OPTIONS = ("reset_mask", "spawn", "context", "actions")


@dataclass(frozen=True)
class Beginning:
    """The slots that begin an episode, and from what.

    `spawn` and `context` are None where each slot draws a spawn by its own generator.
    """

    mask: NDArray[np.bool_]
    """(slots,): which begin."""
    spawn: NDArray[np.int64] | None = None
    """(slots,): the spawn of each."""
    context: Spawns | None = None
    """The caller's frames, one stretch for all slots or one for each, as a spawn is stored."""


def read_options(
    options: dict[str, Any] | None,
    slots: int,
    spawns: Spawns,
    config: WorldModelConfig,
    single: bool = False,
) -> Beginning:
    """The beginning that `reset`'s options describe.

    Args:
        options: as `DreamVectorEnv.reset` takes them.
        slots: of the environment.
        spawns: of the environment.
        config: of its world model.
        single: it is a `DreamEnv`, which has one slot, no mask, and no options of several.

    Raises:
        EnvironmentUsageError: an option is unknown, contradicts another, or does not fit.
    """
    known = OPTIONS[1:] if single else OPTIONS
    if not (options is None or isinstance(options, dict)):
        raise EnvironmentUsageError(f"reset options are a dict, not {options!r}")
    options = dict(options or {})
    unknown = sorted(map(str, options.keys() - set(known)))
    if unknown:
        raise EnvironmentUsageError(
            f"unknown reset options {unknown}; there are {', '.join(known)}"
        )
    mask = _array(options.pop("reset_mask", np.ones(slots, np.bool_)), "reset_mask")
    spawn, frames = options.pop("spawn", None), options.pop("context", None)
    actions = options.pop("actions", None)
    if mask.dtype != np.bool_ or mask.shape != (slots,) or not mask.any():
        raise EnvironmentUsageError(
            f"reset_mask must be {slots} booleans with one True, got {mask!r}"
        )
    if frames is None:
        if actions is not None:
            raise EnvironmentUsageError("the option 'actions' needs 'context', the frames between")
        if spawn is not None:
            spawn = _read_spawn(spawn, slots, len(spawns), single)
        return Beginning(mask, spawn)
    if spawn is not None:
        raise EnvironmentUsageError("an episode begins from 'spawn' or from 'context', not both")
    return Beginning(mask, context=_read_context(frames, actions, slots, config, single))


def _array(value: Any, name: str) -> NDArray:
    try:
        return np.asarray(value)
    except ValueError as error:
        raise EnvironmentUsageError(f"the option {name!r} is no array: {error}") from error


def _read_spawn(spawn: Any, slots: int, count: int, single: bool) -> NDArray[np.int64]:
    given = _array(spawn, "spawn")
    if (
        given.dtype.kind not in "iu"
        or given.shape not in ((), (slots,))
        or not ((given >= 0) & (given < count)).all()
    ):
        several = "" if single else f", or {slots} of them"
        raise EnvironmentUsageError(
            f"spawn must be an integer in 0 … {count - 1}{several}, got {spawn!r}"
        )
    return np.broadcast_to(given.astype(np.int64), (slots,))


def _read_context(
    frames: Any, actions: Any, slots: int, config: WorldModelConfig, single: bool
) -> Spawns:
    """(t, …) or (slots, t, …) frames and the actions between them, as spawns in model time."""
    frames = _array(frames, "context")
    shape = (*config.frame_size, config.frame_channels)
    one = frames.ndim == 4
    batch = () if one else (slots,)
    if (
        frames.dtype != np.uint8
        or frames.ndim not in (4, 5)
        or frames.shape != (*batch, frames.shape[-4], *shape)
        or not frames.shape[-4]
    ):
        wanted = ", ".join(map(str, shape))
        several = "" if single else f" or ({slots}, t, {wanted})"
        raise EnvironmentUsageError(
            f"context must be uint8 frames (t, {wanted}){several} with t ≥ 1, got {frames.dtype} "
            f"{frames.shape}; dreamenv.world_model.preprocessing.fit_frames resizes frames"
        )
    actions = _read_actions(actions, batch, frames.shape[-4], config)
    if one:
        frames, actions = frames[None], actions[None]
    return Spawns(frames, actions, [{}] * len(frames))


def _read_actions(
    actions: Any, batch: tuple[int, ...], length: int, config: WorldModelConfig
) -> NDArray:
    """(…, t) or (…, t, dims) in the model's terms, with "none" before those of the t − 1 steps."""
    space, pose = action_space(config.actions), config.conditioning == "pose"
    steps = length if pose else length - 1  # a pose belongs to a frame, an action between two
    row, dtype = row_type(space)
    shape, whole = (*batch, steps, *row), isinstance(space, Discrete | MultiDiscrete | MultiBinary)
    if actions is None and not steps:
        actions = np.zeros(shape, dtype)
    if isinstance(space, Tuple | Dict) and actions is not None:
        with contextlib.suppress(InvalidActionError):  # the shape of what is left tells
            actions = rows_of(space, actions, (*batch, steps))
    given = _array(actions, "actions")
    if given.shape != shape or given.dtype.kind not in ("iu" if whole else "iuf"):
        raise EnvironmentUsageError(
            f"a context of {length} frames needs the {'poses' if pose else 'actions between them'}"
            f", {'integers' if whole else 'numbers'} of shape {shape}, "
            + ("got none" if actions is None else f"got {given.dtype} {given.shape}")
        )
    fits, wanted = np.isfinite(given), "finite"
    if fits.all():
        rows = given.reshape((math.prod((*batch, steps)), *row))
        fits, wanted = ~outside_categories(space, rows).reshape((*batch, steps)), f"from {space}"
    if isinstance(space, Discrete):
        wanted = f"in {space.start} … {space.start + space.n - 1}"
    if not fits.all():
        raise EnvironmentUsageError(f"the context's actions must be {wanted}, got {given[~fits]}")
    told = to_model(space, given)
    return told if pose else led_by(told, len(batch))
