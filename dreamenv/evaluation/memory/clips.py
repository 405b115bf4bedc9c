"""Clips of recorded episodes with the pose at every frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dreamenv.core.errors import RolloutError
from dreamenv.evaluation.metrics.held_out_data import describe_store
from dreamenv.rollouts.episode import Episode
from dreamenv.rollouts.poses import such_as
from dreamenv.rollouts.store import RolloutStore
from dreamenv.rollouts.timing import model_time
from dreamenv.world_model.preprocessing import fit_frames

POSE = ("agent_pos", "agent_dir")
"""The infos that make a pose: (x, y) in cells and the unit vector of looking forward."""


@dataclass(frozen=True)
class PoseClips:
    """Every `stride`-th frame of stretches of real episodes, of the model's frame size."""

    frames: np.ndarray
    """(n, t, H, W, C) uint8."""
    poses: np.ndarray
    """(n, t, 4) float32: x and y in cells, cosine and sine of the heading."""
    actions: np.ndarray
    """(n, t) or (n, t, dims): the last action before each frame, none before the first."""
    episodes: np.ndarray
    """(n,) which episode each is from."""
    starts: np.ndarray
    """(n,) which recorded frame of it is the first."""
    stride: int
    info: dict[str, np.ndarray]
    """The other infos that every clip has, (n, t, …)."""
    data: dict[str, Any]
    """What characterises the store they are from."""

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.frames)


def draw_pose_clips(
    store: RolloutStore,
    count: int,
    length: int,
    size: tuple[int, int],
    stride: int = 1,
    seed: int = 0,
) -> PoseClips:
    """Draw `count` clips of `length` frames, no two of the same start, from all over the store.

    They are spread evenly over the episodes that are long enough and, within an episode, over
    its length. One of each episode comes first, then the second of each, …

    Args:
        store: rollouts with poses.
        count: clips.
        length: frames per clip.
        size: height and width that frames are resized to.
        stride: every so many recorded frames one is taken.
        seed: of the draw.

    Raises:
        RolloutError: no poses were recorded, or the episodes are too short or too few.
    """
    rng = np.random.default_rng(seed)
    episodes = rng.permutation(long_enough(store, length, stride))
    places = []
    for rank, episode in enumerate(episodes):
        share = len(range(rank, count, len(episodes)))
        possible = int(store.lengths[episode]) + 1 - (length - 1) * stride
        if share > possible:
            raise RolloutError(
                f"{store.path}: {count} clips of {length} frames were asked for, but episode "
                f"{episode} has only {possible} starts for its {share}; ask for fewer or collect "
                "more episodes"
            )
        edges = np.linspace(0, possible, share + 1).astype(np.int64)
        for turn in range(share):
            start = int(rng.integers(edges[turn], edges[turn + 1]))
            places.append((turn, rank, int(episode), start))
    chosen = [(episode, start) for _, _, episode, start in sorted(places)]
    return cut_pose_clips(store, chosen, length, size, stride)


def cut_pose_clips(
    store: RolloutStore,
    places: Sequence[tuple[int, int]],
    length: int,
    size: tuple[int, int],
    stride: int = 1,
) -> PoseClips:
    """The clips that begin at `places`, each an episode and a frame of it; else as above."""
    frames, poses, actions, infos = [], [], [], []
    for episode, start in places:
        stretch = store.read(episode, start, start + (length - 1) * stride)
        poses.append(pose_of(stretch, store, episode)[::stride])
        window = model_time(stretch, store.action_space).part(0, length, stride)
        frames.append(fit_frames(window.frames, size))
        actions.append(window.action)
        infos.append({key: v[::stride] for key, v in stretch.info.items() if key not in POSE})
    shared = [key for key in infos[0] if all(key in info for info in infos)]
    return PoseClips(
        np.stack(frames),
        np.stack(poses),
        np.stack(actions),
        np.array([episode for episode, _ in places]),
        np.array([start for _, start in places]),
        stride,
        {key: np.stack([info[key] for info in infos]) for key in shared},
        describe_store(store),
    )


def long_enough(store: RolloutStore, length: int, stride: int = 1) -> np.ndarray:
    """Indices of the episodes that hold a clip.

    Raises:
        RolloutError: there is none, or no clip can be asked for like this.
    """
    if length < 1 or stride < 1:
        raise RolloutError(f"clips need length and stride of at least 1, not {length}, {stride}")
    episodes = np.flatnonzero(store.lengths >= (length - 1) * stride)
    if not len(episodes):
        longest = int(store.lengths.max(initial=-1)) + 1
        raise RolloutError(
            f"{store.path}: a clip of {length} frames at a stride of {stride} spans "
            f"{(length - 1) * stride + 1} recorded ones, but the longest episode has {longest}; "
            "collect longer episodes, or shorten context, horizon or stride"
        )
    return episodes


def pose_of(stretch: Episode, store: RolloutStore, episode: int) -> np.ndarray:
    """Poses (T + 1, 4) float32 of a stretch of an episode.

    Raises:
        RolloutError: they were not recorded.
    """
    missing = [key for key in POSE if key not in stretch.info]
    if missing:
        raise RolloutError(
            f"{store.path}: episode {episode} was recorded without {' and '.join(missing)}, and "
            "memory tasks need poses; collect from an environment that tells "
            f"them{such_as(store.env_id)}, with --record-info {' '.join(POSE)} ..."
        )
    return np.concatenate([stretch.info[key] for key in POSE], -1).astype(np.float32)
