"""The landmarks that a dream would have had at every frame of recorded episodes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from dreamenv.core.errors import RolloutError
from dreamenv.rollouts.poses import read_poses
from dreamenv.rollouts.store import RolloutStore
from dreamenv.training.latents import Rows
from dreamenv.world_model.landmark_config import LandmarkConfig
from dreamenv.world_model.network.landmarks import Sight, nearest, place_for
from dreamenv.world_model.network.planar import relative

GROUP = 256
"""Episodes whose landmarks are found at once."""


def planar_poses(
    store: RolloutStore, keys: Sequence[str], episodes: Iterable[int] | None = None
) -> np.ndarray:
    """Poses (frames, 3) of episodes, one after the other: x, y and heading in radians.

    Args:
        store: rollouts with recorded infos.
        keys: infos that make up a pose: a position of two numbers, then a heading of one, or a
            direction of two.
        episodes: which ones, by default all.

    Raises:
        RolloutError: they are not there, of other sizes, or hold NaN or infinity.
    """
    poses = []
    for episode in range(store.num_episodes) if episodes is None else episodes:
        pose = read_poses(store, episode, keys)
        if pose.shape[1] not in (3, 4):
            raise RolloutError(
                f"{store.path}: landmarks need planar poses, a position of two numbers and a "
                f"heading of one or a direction of two, but {', '.join(keys)} are "
                f"{pose.shape[1]} numbers; name such infos in pose"
            )
        if not np.isfinite(pose).all():
            frame = int(np.argmin(np.isfinite(pose).all(1)))
            raise RolloutError(
                f"{store.path}: the pose of episode {episode} holds NaN or infinity at frame "
                f"{frame}; landmarks need a pose for every frame: leave the episode out"
            )
        if len(pose) != store.lengths[episode] + 1:
            raise RolloutError(
                f"{store.path}: episode {episode} has {store.lengths[episode] + 1} frames, but "
                f"poses of {len(pose)}"
            )
        heading = pose[:, 2:] if pose.shape[1] == 3 else np.arctan2(pose[:, 3:], pose[:, 2:3])
        poses.append(np.concatenate([pose[:, :2], heading], 1).astype(np.float32))
    return np.concatenate(poses)


def typical_spacing(poses: np.ndarray, lengths: np.ndarray) -> float:
    """Two of the longer steps (the 95th percentile): how far apart landmarks are to be kept."""
    steps = np.linalg.norm(np.diff(poses[:, :2], axis=0), axis=1)
    inside = np.delete(steps, np.cumsum(lengths)[:-1] - 1)
    moving = inside[inside > 0]
    if not len(moving):
        raise RolloutError("no position of the rollouts ever changes: landmarks need ones that do")
    return float(f"{2 * np.quantile(moving, 0.95):.2g}")


class Landmarks:
    """Which frames are landmarks, from when until when, and what windows see of them.

    Args:
        poses: (frames, 3) of all episodes, one after the other.
        lengths: (E,) frames of each episode.
        config: of the memory.
        recent: frames that attention sees anyway (`LandmarkMemory`).
        drift: standard deviation of the error of a motion, in units of `scale`, up to which a
            window's poses wander off, as an integrated pose does.
    """

    def __init__(
        self, poses: np.ndarray, lengths: np.ndarray, config: LandmarkConfig, recent: int,
        drift: float,
    ) -> None:  # fmt: skip
        self.config, self.recent, self.drift = config, recent, drift
        self._poses = torch.from_numpy(poses)
        self._lengths = np.asarray(lengths)
        self._starts = np.cumsum(self._lengths) - self._lengths
        motions = relative(self._poses[1:], self._poses[:-1])
        self._motions = torch.cat([torch.zeros(1, 3), motions])
        self._motions[self._starts] = 0.0
        inside = np.ones(len(poses), bool)
        inside[self._starts] = False
        self.scale = self._motions[torch.from_numpy(inside)].std(0).clamp(min=1e-4)
        """Standard deviation (3,) of motions."""
        found = [
            part
            for first in range(0, len(self._lengths), GROUP)
            for part in self._find(range(first, min(first + GROUP, len(self._lengths))))
        ]
        most = max(len(frames) for frames, _ in found)
        # Frame within the episode of each of its landmarks, and the frame from which it is gone.
        self._taken = torch.full((len(found), most), np.iinfo(np.int32).max, dtype=torch.int32)
        self._gone = torch.full((len(found), most), -1, dtype=torch.int32)
        for episode, (frames, gone) in enumerate(found):
            self._taken[episode, : len(frames)] = torch.tensor(frames)
            self._gone[episode, : len(gone)] = torch.tensor(gone)

    def _find(self, episodes: range) -> list[tuple[list[int], list[int]]]:
        """Frames of the landmarks of episodes, and from which frames on they are gone."""
        lengths = self._lengths[episodes]
        rows, count = len(lengths), self.config.count
        held = torch.zeros(rows, count, 3)
        age = torch.zeros(rows, count)
        taken = np.full((rows, count), -1)
        found: list[tuple[list[int], list[int]]] = [([], []) for _ in episodes]
        at: list[dict[int, int]] = [{} for _ in episodes]
        for t in range(int(lengths.max())):
            frame = self._starts[episodes] + np.minimum(t, lengths - 1)
            pose = self._poses[frame]
            place, new = place_for(pose, held, age, self.config)
            for row in np.flatnonzero(new.numpy() & (t < lengths)):
                where = int(place[row])
                frames, gone = found[row]
                if taken[row, where] >= 0:
                    gone[at[row][where]] = t + 1
                at[row][where] = len(frames)
                taken[row, where] = t
                frames.append(t)
                gone.append(np.iinfo(np.int32).max)
                held[row, where], age[row, where] = pose[row], 1.0
        return found

    def see(
        self, first: np.ndarray, steps: np.ndarray, valid: np.ndarray, latents: np.ndarray | Rows,
        rng: np.random.Generator,
    ) -> tuple[Sight, Tensor]:  # fmt: skip
        """What windows see, and what truly led to each of their frames (b, t, 3).

        Args:
            first: (b,) index of each window's first frame among all frames.
            steps: (b, t) how many frames further each frame of the window is.
            valid: (b, t) whether it is one.
            latents: of all frames, (frames, n, c).
            rng: draws the errors of poses.
        """
        rows, count = steps.shape
        episode = np.searchsorted(self._starts, first, side="right") - 1
        start = torch.from_numpy(self._starts[episode])
        inside = torch.from_numpy(first[:, None] + steps) - start[:, None]  # (b, t)
        taken, gone = self._taken[episode].long(), self._gone[episode].long()
        most = int((taken <= inside.amax(1, keepdim=True)).sum(1).amax().clamp(min=1))
        most = min(max(most, self.config.nearest), taken.shape[1])
        taken, gone = taken[:, :most], gone[:, :most]
        last = torch.from_numpy(self._lengths[episode] - 1)
        there = start[:, None] + torch.minimum(taken, last[:, None])
        # Errors of the integrated pose along the episode, the same for frames and landmarks.
        wandered = self._wander(int(inside.max()) + 1, rows, rng)
        row = torch.arange(rows)[:, None]
        limit = wandered.shape[1] - 1
        poses = self._poses[start[:, None] + inside] + wandered[row, inside]
        held_poses = self._poses[there] + wandered[row, taken.clamp(max=limit)]
        age = inside[:, :, None] - taken[:, None]
        age = torch.where((age > 0) & (inside[:, :, None] < gone[:, None]), age, 0)
        age = age.flatten(0, 1)
        k = self.config.nearest
        wide = held_poses[:, None].expand(-1, count, -1, -1).flatten(0, 1)
        if most < k:
            wide = torch.nn.functional.pad(wide, (0, 0, 0, k - most))
            age = torch.nn.functional.pad(age, (0, k - most))
        index, held = nearest(poses.flatten(0, 1), wide, age, self.config, self.recent)
        where = relative(wide.gather(1, index[..., None].expand(-1, -1, 3)),
                         poses.flatten(0, 1)[:, None])  # fmt: skip
        frames = there.gather(1, index.clamp(max=most - 1).view(rows, -1)).view(rows, count, k)
        views = torch.from_numpy(latents[frames.numpy()]).float()
        known = torch.from_numpy(steps > 0)
        true = self._motions[start[:, None] + inside]
        error = torch.from_numpy(rng.standard_normal(true.shape).astype(np.float32))
        motion = torch.where(known[..., None], true + MOTION_ERROR * self.scale * error, 0.0)
        held = held.view(rows, count, k) & torch.from_numpy(valid)[..., None]
        return Sight(views, where.view(rows, count, k, 3), held, motion, known), true

    def _wander(self, frames: int, rows: int, rng: np.random.Generator) -> Tensor:
        """Errors (rows, frames, 3) of integrated poses: random walks, each of a rate of its own."""
        rate = self.drift * rng.random((rows, 1, 1))
        errors = rng.standard_normal((rows, frames, 3)).cumsum(1) * rate * self.scale.numpy()
        # Errors of shifts point anywhere, whatever the direction of the shift.
        errors[..., :2] *= float(self.scale[:2].max()) / self.scale[:2].numpy()
        return torch.from_numpy(errors.astype(np.float32))


MOTION_ERROR = 0.1
"""Standard deviation of the error of the motion that a frame is told, in those of motions."""
