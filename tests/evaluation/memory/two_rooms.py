"""A maze of two rooms and a cellar, drawn from its own geometry, and models that remember it.

A walker looks at the target of the left room, then at that of the right one, and is then in the
cellar, from where neither can be seen. Which target lies where is drawn per episode.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor

from dreamenv.real.memory_maze.target_colours import RGB
from dreamenv.real.memory_maze.target_sightings import geometric_mask
from dreamenv.rollouts.episode import Episode
from dreamenv.rollouts.writer import RolloutWriter
from dreamenv.world_model.network.dynamics import Stream

SIZE = (32, 32)
LAYOUT = np.array(
    [
        [1, 1, 1, 1, 1, 1, 1],  # the cellar
        [0, 0, 0, 0, 0, 0, 1],
        [1, 1, 1, 0, 1, 1, 1],
        [1, 1, 1, 0, 1, 1, 1],
        [1, 1, 1, 0, 1, 1, 1],
    ],
    np.uint8,
)
PLACES = np.array([[0.5, 4.5], [5.5, 4.5]])
LOOKING_LEFT, LOOKING_RIGHT = (1.5, 3.5, -0.6, 0.8), (4.5, 3.5, 0.6, 0.8)
FLOOR = (37, 47, 57)
LOOK, HIDE = 6, 120
"""Environment frames of each look and of each stay in the cellar."""


def cellar(frames: int) -> np.ndarray:
    """Poses in the cellar, (frames, 4), no two the same."""
    x = 0.5 + 4 * np.arange(frames) / frames
    return np.stack([x, *np.broadcast_to([[0.5], [1.0], [0.0]], (3, frames))], 1)


def poses_of_episode() -> np.ndarray:
    """Left, right, cellar; and once more; (t, 4)."""
    looks = np.repeat([LOOKING_LEFT, LOOKING_RIGHT], LOOK, 0)
    return np.concatenate([looks, cellar(HIDE)] * 2).astype(np.float32)


def draw(poses: np.ndarray, targets: np.ndarray, border: int = 0) -> np.ndarray:
    """What is seen from poses (t, 4): targets (2, 2) in their colours; (t, 32, 32, 3) uint8."""
    frames = np.full((len(poses), *SIZE, 3), FLOOR, np.uint8)
    frames[:, 0] = frames[:, -1] = frames[:, :, 0] = frames[:, :, -1] = RGB[border]
    for index, place in enumerate(targets):
        mask = geometric_mask(poses[:, :2], poses[:, 2:], place, LAYOUT, SIZE)
        frames[mask] = 0.7 * RGB[index]
    return frames


def episode_of(swapped: bool, seed: int, without: str = "") -> Episode:
    """An episode with target 0 on the left, or on the right if swapped."""
    poses = poses_of_episode()
    targets = PLACES[::-1] if swapped else PLACES
    count = len(poses)
    info = {
        "agent_pos": poses[:, :2],
        "agent_dir": poses[:, 2:],
        "targets_pos": np.repeat(targets[None].astype(np.float32), count, 0),
        "maze_layout": np.repeat(LAYOUT[None], count, 0),
    }
    info.pop(without, None)
    return Episode(
        observation=draw(poses, targets, border=seed % 2),
        action=np.zeros(count - 1, np.int64),
        reward=np.zeros(count - 1, np.float32),
        terminated=np.zeros(count - 1, bool),
        truncated=np.arange(count - 1) == count - 2,
        seed=seed,
        policy="script",
        info=info,
    )


def write_episodes(path: Path, episodes: list[Episode]) -> Path:
    """A store of episodes."""
    frames = Box(0, 255, (*SIZE, 3), np.uint8)
    with RolloutWriter(path, "MemoryMaze-TwoRooms-v0", frames, Discrete(1)) as writer:
        for episode in episodes:
            writer.append(episode)
    return path


class Watched(NamedTuple):
    """Memory of `Rememberer`: what each slot watched."""

    frames: Tensor
    """(slots, t, H, W, 3) uint8."""
    poses: Tensor
    """(slots, t, 4)."""

    def select(self, index: list[int]) -> Watched:
        """Some slots, perhaps repeated."""
        return Watched(self.frames[index], self.poses[index])


class Rememberer:
    """Shows the watched frame of the nearest pose among the last `window`, or else bare floor.

    Its features are that frame's mean colour inside the border, and some of the noise it was given.
    """

    device = torch.device("cpu")
    tokenizer = SimpleNamespace(encode=lambda frames: frames, decode=lambda latents, grid: latents)

    def __init__(self, window: int = 10**6, conditioning: str = "pose") -> None:
        self.window = window
        self.watched: list[int] = []
        """Frames per call of `observe`."""
        self.config: Any = SimpleNamespace(
            conditioning=conditioning,
            frame_size=SIZE,
            grid=(1, 1),
            sampler=SimpleNamespace(steps=2),
        )

    def autocast(self) -> torch.autocast:
        """Changes nothing."""
        return torch.autocast("cpu", enabled=False)

    def noise_shape(self, slots: int) -> tuple[int, ...]:
        """As of a model with one token of four channels."""
        return slots, 2, 1, 4

    def initial_state(self, slots: int) -> Watched:
        """Nothing watched."""
        frames = torch.zeros(slots, 0, *SIZE, 3, dtype=torch.uint8)
        return Watched(frames, torch.zeros(slots, 0, 4))

    def observe(self, state: Watched, frames: Tensor, poses: Tensor) -> tuple[Watched, None]:
        """Watch frames (b, t, H, W, C) uint8 from poses (b, t, 4)."""
        self.watched.append(frames.shape[1])
        now = torch.cat([state.frames, frames], 1), torch.cat([state.poses, poses], 1)
        return Watched(*(x[:, -self.window :] for x in now)), None

    def imagine(
        self, state: Watched, pose: Tensor, noise: Tensor, steps: int | None
    ) -> tuple[Tensor, None, Watched]:
        """The frames seen from poses (b, 4)."""
        frames = [_recall(*known, p) for *known, p in zip(*state, pose, strict=True)]
        return torch.stack(frames), None, state

    def dynamics(
        self, state: Watched, write: Stream, poses: Tensor, keep: bool
    ) -> tuple[Watched, SimpleNamespace, None]:
        """Features (b, 1, 5) of frames that are pure noise."""
        assert not keep and not write.level.any()
        frames, _, _ = self.imagine(state, poses[:, 0], write.noisy, None)
        features = torch.cat([frames[:, 1:-1, 1:-1].mean((1, 2)), write.noisy[:, 0, 0, :2]], -1)
        return state, SimpleNamespace(features=features.unsqueeze(1)), None


def _recall(frames: Tensor, poses: Tensor, pose: Tensor) -> Tensor:
    off = (poses - pose).norm(dim=1)
    if not len(off) or off.min() > 0.5:
        return torch.tensor(FLOOR).expand(*SIZE, 3) / 255
    return frames[off.argmin()] / 255
