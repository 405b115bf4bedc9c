"""Revisit: a walker comes back to a place it saw long ago; the recorded simulator is the truth.

For models conditioned by action. The model watches a stretch of real frames, then imagines under
the recorded actions. Imagined frames at which the walker is where, and looks where, it last was
at least `min_age` frames ago are *revisited*: without memory they cannot be right. Beside them,
at equal steps of the imagination, stand *novel* frames, whose surroundings were never watched.
Frames in between, as while a walker stands still, are in neither group.

Wandering through a maze comes back often enough for ages up to the length of its episodes. The
policy "out_and_back" does so more regularly, in large mazes too.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

from dreamenv.core.errors import ConfigError, RolloutError
from dreamenv.evaluation.memory.clips import POSE, cut_pose_clips, long_enough
from dreamenv.evaluation.memory.poses import Nearness, ages, latest_sighting, nearest
from dreamenv.evaluation.memory.reasoning import NEAREST
from dreamenv.evaluation.memory.task import MemoryTask
from dreamenv.rollouts.poses import read_poses
from dreamenv.rollouts.store import RolloutStore

SAME = Nearness(cells=0.5, degrees=20)
"""What counts as seeing a place again."""
FAMILIAR = Nearness(cells=1.0, degrees=45)
"""What no watched pose may be to a frame for it to be novel."""
REVISITED, RETURNED, NOVEL = "revisited", "returned to", "novel"
"""`RETURNED`: revisited, and nothing near it was watched for as long."""

Found = tuple[int, int, int, int]
"""A clip: its turn within its episode, the turn of the episode, the episode, the first frame."""


class Sightings(NamedTuple):
    """How asked frames (n, h) relate to those watched."""

    age: np.ndarray
    """Frames since the latest watched frame of the same view; 0 where there is none."""
    revisited: np.ndarray
    returned: np.ndarray
    """Revisited, and not even familiar since."""
    novel: np.ndarray


def revisit(
    store: RolloutStore,
    size: tuple[int, int],
    clips: int = 64,
    context: int = 512,
    horizon: int = 16,
    min_age: int = 32,
    seed: int = 0,
) -> MemoryTask:
    """Find where walkers come back, and where they see something new.

    Every second clip is chosen for a revisited frame among its asked ones, the others for a novel
    frame, as far as there are such; many hold both.

    Args:
        store: rollouts with poses, of every frame.
        size: the model's frame size.
        clips: how many at most; `about["clips_found"]` says how many candidates there were.
        context: T, frames watched, hence the largest age.
        horizon: frames imagined.
        min_age: the least age of a revisited frame; more than `horizon`, or the walker might not
            have been gone in between.
        seed: of the draw.

    Raises:
        ConfigError: the numbers leave no room for a revisit.
        RolloutError: no walker comes back, or the rollouts have no poses or are too short.
    """
    if horizon < 1 or not horizon < min_age <= context:
        raise ConfigError(
            f"a revisit needs 1 ≤ horizon < min_age ≤ context, got {horizon}, {min_age}, {context}"
        )
    rng = np.random.default_rng(seed)
    returns: list[Found] = []
    news: list[Found] = []
    episodes = rng.permutation(long_enough(store, context + horizon))
    for rank, episode in enumerate(map(int, episodes)):
        poses = read_poses(store, episode, POSE)
        last = len(poses) - context - horizon
        starts = np.arange(int(rng.integers(min(horizon, last + 1))), last + 1, horizon)
        cut = np.stack([poses[start : start + context + horizon] for start in starts])
        seen = sightings(cut, context, min_age)
        # From opposite ends, so that few clips are of as many episodes as possible.
        for found, where, order in ((returns, seen.revisited, rank), (news, seen.novel, -rank)):
            chosen = rng.permutation(starts[where.any(1)]).tolist()
            found += [(turn, order, episode, start) for turn, start in enumerate(chosen)]
    if not returns:
        raise RolloutError(
            f"{store.path}: in {len(episodes)} episodes no walker comes back after {min_age} … "
            f"{context} frames; collect longer episodes with --policy out_and_back or wandering"
        )
    places = _alternate(returns, news, clips)
    drawn = cut_pose_clips(store, places, context + horizon, size)
    seen = sightings(drawn.poses, context, min_age)
    watched, asked = drawn.poses[:, :context], drawn.poses[:, context:]
    return MemoryTask(
        name="revisit",
        conditioning="action",
        watched=drawn.frames[:, :context],
        truth=drawn.frames[:, context:],
        given=drawn.actions,
        episodes=drawn.episodes,
        starts=drawn.starts,
        distances=np.where(seen.revisited, seen.age, 0),
        groups={REVISITED: seen.revisited, RETURNED: seen.returned, NOVEL: seen.novel},
        contrast=(REVISITED, NOVEL),
        copies={NEAREST: nearest(asked, watched)},
        about={
            "data": drawn.data,
            "stride": 1,
            "clip_seed": seed,
            "clips_found": {REVISITED: len(returns), NOVEL: len(news)},
            "min_age": min_age,
            "same_view": dataclasses.asdict(SAME),
            "familiar": dataclasses.asdict(FAMILIAR),
        },
    )


def sightings(poses: np.ndarray, context: int, min_age: int) -> Sightings:
    """When what is seen after `context` frames was watched before; poses (n, context + h, 4)."""
    watched, asked = poses[:, :context], poses[:, context:]
    age = ages(latest_sighting(asked, watched, SAME), context)
    familiar = ages(latest_sighting(asked, watched, FAMILIAR), context)
    revisited = age >= min_age
    return Sightings(age, revisited, revisited & (familiar >= min_age), familiar == 0)


def _alternate(first: list[Found], second: list[Found], count: int) -> list[tuple[int, int]]:
    """Up to `count` different places, in turn from either list, one of each episode at first."""
    waiting = [sorted(first, reverse=True), sorted(second, reverse=True)]
    places: list[tuple[int, int]] = []
    while len(places) < count and any(waiting):
        for found in waiting:
            if found and len(places) < count:
                _, _, episode, start = found.pop()
                if (episode, start) not in places:
                    places.append((episode, start))
    return places
