"""Retrieval: walk a context, then ask for its exact reverse by pose (Po et al., ICCV 2025).

The reverse begins where the context ends, so frame T + i must show again what frame T − 1 − i
showed, 2i + 1 frames before: its first pose is the context's last, once more.
"""

from __future__ import annotations

import numpy as np

from dreamenv.core.errors import ConfigError
from dreamenv.evaluation.memory.clips import draw_pose_clips
from dreamenv.evaluation.memory.poses import nearest
from dreamenv.evaluation.memory.task import MemoryTask
from dreamenv.rollouts.store import RolloutStore


def retrieval(
    store: RolloutStore,
    size: tuple[int, int],
    clips: int = 64,
    context: int = 64,
    horizon: int | None = None,
    stride: int = 1,
    seed: int = 0,
    window: int = 0,
) -> MemoryTask:
    """Draw contexts and ask for their reverse.

    Args:
        store: rollouts with poses.
        size: the model's frame size.
        clips: how many.
        context: T, frames watched; any number, also more than the model was trained on.
        horizon: frames of the reverse, by default all T.
        stride: every so many recorded frames one is shown.
        seed: of the draw.
        window: if not 0, a rule is scored too that shows whichever of the last `window` watched
            frames has the nearest pose: all that a memory of that length could copy.

    Raises:
        ConfigError: the horizon or the window is longer than the context.
        RolloutError: the rollouts have no poses or are too short.
    """
    horizon = context if horizon is None else horizon
    if not 1 <= horizon <= context or not 0 <= window <= context:
        raise ConfigError(
            f"retrieval asks for 1 … {context} frames back and copies from at most {context}, the "
            f"context; got a horizon of {horizon} and a window of {window}"
        )
    drawn = draw_pose_clips(store, clips, context, size, stride, seed)
    back = context - 1 - np.arange(horizon)
    asked = drawn.poses[:, back]
    copies = {}
    if window:
        recent = nearest(asked, drawn.poses[:, -window:]) + context - window
        copies[f"nearest pose of the last {window} frames"] = recent
    return MemoryTask(
        name="retrieval",
        conditioning="pose",
        watched=drawn.frames,
        truth=drawn.frames[:, ::-1][:, :horizon],
        given=np.concatenate([drawn.poses, asked], 1),
        episodes=drawn.episodes,
        starts=drawn.starts,
        distances=np.broadcast_to(2 * np.arange(horizon) + 1, (len(drawn), horizon)),
        copies=copies,
        about={"data": drawn.data, "stride": stride, "clip_seed": seed},
    )
