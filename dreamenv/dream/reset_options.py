"""Where episodes begin: what `reset(options=...)` asks for, checked and in the model's terms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.spaces import Discrete
from numpy.typing import NDArray

from dreamenv.core.errors import EnvironmentUsageError
from dreamenv.dream.spaces import action_space
from dreamenv.dream.spawns import Spawns
from dreamenv.rollouts.actions import to_model
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
    options: dict[str, Any] | None, slots: int, spawns: Spawns, config: WorldModelConfig
) -> Beginning:
    """The beginning that `reset`'s options describe.

    Raises:
        EnvironmentUsageError: an option is unknown, contradicts another, or does not fit.
    """
    options = dict(options or {})
    mask = np.asarray(options.pop("reset_mask", np.ones(slots, np.bool_)))
    spawn, frames = options.pop("spawn", None), options.pop("context", None)
    actions = options.pop("actions", None)
    if options:
        raise EnvironmentUsageError(
            f"unknown reset options {sorted(options)}; there are {', '.join(OPTIONS)}"
        )
    if mask.dtype != np.bool_ or mask.shape != (slots,) or not mask.any():
        raise EnvironmentUsageError(
            f"reset_mask must be {slots} booleans with one True, got {mask!r}"
        )
    if frames is None:
        if actions is not None:
            raise EnvironmentUsageError("the option 'actions' needs 'context', the frames between")
        return Beginning(mask, None if spawn is None else _read_spawn(spawn, slots, len(spawns)))
    if spawn is not None:
        raise EnvironmentUsageError("an episode begins from 'spawn' or from 'context', not both")
    return Beginning(mask, context=_read_context(frames, actions, slots, config))


def _read_spawn(spawn: Any, slots: int, count: int) -> NDArray[np.int64]:
    given = np.asarray(spawn)
    if (
        given.dtype.kind not in "iu"
        or given.shape not in ((), (slots,))
        or not ((given >= 0) & (given < count)).all()
    ):
        raise EnvironmentUsageError(
            f"spawn must be an integer in 0 … {count - 1}, or {slots} of them, got {spawn!r}"
        )
    return np.broadcast_to(given.astype(np.int64), (slots,))


def _read_context(frames: Any, actions: Any, slots: int, config: WorldModelConfig) -> Spawns:
    """(t, …) or (slots, t, …) frames and the actions between them, as spawns in model time."""
    frames = np.asarray(frames)
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
        raise EnvironmentUsageError(
            f"context must be uint8 frames (t, {wanted}) or ({slots}, t, {wanted}) with t ≥ 1, "
            f"got {frames.dtype} {frames.shape}; "
            "dreamenv.world_model.preprocessing.fit_frames resizes frames"
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
    shape, discrete = (*batch, steps, *(space.shape or ())), config.actions.discrete
    if actions is None and not steps:
        actions = np.zeros(shape, space.dtype)
    given = np.asarray(actions)
    if given.shape != shape or given.dtype.kind not in ("iu" if discrete else "iuf"):
        raise EnvironmentUsageError(
            f"a context of {length} frames needs the {'poses' if pose else 'actions between them'}"
            f", {'integers' if discrete else 'numbers'} of shape {shape}, "
            + ("got none" if actions is None else f"got {given.dtype} {given.shape}")
        )
    if isinstance(space, Discrete):
        fits = (given >= space.start) & (given < space.start + space.n)
        wanted = f"in {space.start} … {space.start + space.n - 1}"
    else:
        fits, wanted = np.isfinite(given), "finite"
    if not fits.all():
        raise EnvironmentUsageError(f"the context's actions must be {wanted}, got {given[~fits]}")
    told = to_model(space, given)
    if pose:
        return told
    dims, none = told.shape[len(batch) + 1 :], -1 if discrete else np.nan
    return np.concatenate([np.full((*batch, 1, *dims), none, told.dtype), told], len(batch))
