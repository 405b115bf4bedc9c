"""Reasoning: a context that covers the maze, then its continuation by pose (Po et al., 2025).

Only what was watched can be remembered, so frames are also scored apart: those whose pose is near
one of the context, with the age of the latest such sighting, and the others.
"""

from __future__ import annotations

import dataclasses

from dreamenv.core.errors import ConfigError
from dreamenv.core.statistics import mean_interval
from dreamenv.evaluation.memory.clips import draw_pose_clips
from dreamenv.evaluation.memory.poses import Nearness, ages, coverage, latest_sighting, nearest
from dreamenv.evaluation.memory.task import MemoryTask
from dreamenv.rollouts.store import RolloutStore

NEAR = Nearness(cells=0.75, degrees=45)
NEAREST = "nearest watched pose"


def reasoning(
    store: RolloutStore,
    size: tuple[int, int],
    clips: int = 64,
    context: int = 64,
    horizon: int = 64,
    stride: int = 1,
    seed: int = 0,
) -> MemoryTask:
    """Draw contexts and ask for how the walk went on.

    `about["coverage"]` is the share of the maze's free cells stood on in the context, a mean
    with its interval, or None where `maze_layout` was not recorded.

    Args:
        store: rollouts with poses.
        size: the model's frame size.
        clips: how many.
        context: T, frames watched.
        horizon: frames asked for.
        stride: every so many recorded frames one is shown.
        seed: of the draw.

    Raises:
        ConfigError: context or horizon is less than 1.
        RolloutError: the rollouts have no poses or are too short.
    """
    if context < 1 or horizon < 1:
        raise ConfigError(f"context and horizon are at least 1, not {context} and {horizon}")
    drawn = draw_pose_clips(store, clips, context + horizon, size, stride, seed)
    watched, asked = drawn.poses[:, :context], drawn.poses[:, context:]
    latest = latest_sighting(asked, watched, NEAR)
    layouts = drawn.info.get("maze_layout")
    covered = None
    if layouts is not None:
        covered = mean_interval(coverage(watched, layouts[:, 0]), drawn.episodes).to_json()
    return MemoryTask(
        name="reasoning",
        conditioning="pose",
        watched=drawn.frames[:, :context],
        truth=drawn.frames[:, context:],
        given=drawn.poses,
        episodes=drawn.episodes,
        starts=drawn.starts,
        distances=ages(latest, context),
        groups={"seen": latest >= 0, "unseen": latest < 0},
        copies={NEAREST: nearest(asked, watched)},
        about={
            "data": drawn.data,
            "stride": stride,
            "clip_seed": seed,
            "coverage": covered,
            "near": dataclasses.asdict(NEAR),
        },
    )
