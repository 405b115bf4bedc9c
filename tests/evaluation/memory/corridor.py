"""A walker on a corridor of 16 places that leads back to its beginning, and models of it.

Frames and actions are the ring environment's. Place p lies at x = 2p + ½ cells, seen along x, so
no two places are near each other, and a walker that moves on by one comes back after 16 frames.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor

from dreamenv.rollouts.episode import Episode
from dreamenv.rollouts.writer import RolloutWriter
from dreamenv.world_model.config import RewardConfig
from tests.evaluation.ring_env import PLACES, RingOracle, frame_of, place_of

SAME = 100.0
"""PSNR, dB, of equal frames, as it is capped."""
OTHER = -10 * np.log10(2 / PLACES)
"""PSNR of two different places: two of sixteen columns are wrong."""
LAYOUT = np.tile(np.array([1, 0], np.uint8), PLACES)[None]


def pose_of_place(place: np.ndarray | int) -> np.ndarray:
    """Poses (…, 4) of places (…)."""
    place = np.asarray(place)
    parts = (
        2 * place + 0.5,
        np.full(place.shape, 0.5),
        np.ones(place.shape),
        np.zeros(place.shape),
    )
    return np.stack(parts, -1).astype(np.float32)


def place_of_pose(pose: np.ndarray | Tensor) -> int:
    """The place (of one pose)."""
    return int(float(pose[0]) // 2)


def episode_of(actions: list[int], start: int = 0, seed: int = 0, poses: bool = True) -> Episode:
    """The walk from place `start` under `actions`, with infos as Memory Maze records them."""
    places = (start + np.concatenate([[0], np.cumsum(actions)]).astype(np.int64)) % PLACES
    steps = len(actions)
    info = {
        "target_index": places // 4,
        "maze_layout": np.repeat(LAYOUT[None], steps + 1, 0),
    }
    if poses:
        pose = pose_of_place(places)
        info |= {"agent_pos": pose[:, :2], "agent_dir": pose[:, 2:]}
    return Episode(
        observation=np.stack([frame_of(int(place)) for place in places]),
        action=np.array(actions, np.int64),
        reward=np.zeros(steps, np.float32),
        terminated=np.zeros(steps, bool),
        truncated=np.arange(steps) == steps - 1,
        seed=seed,
        policy="walk",
        info=info,
    )


def write_walks(path: Path, episodes: list[Episode]) -> Path:
    """A store of episodes."""
    frame = frame_of(0)
    with RolloutWriter(path, "Ring-v0", Box(0, 255, frame.shape, np.uint8), Discrete(3)) as writer:
        for episode in episodes:
            writer.append(episode)
    return path


def _config(conditioning: str) -> SimpleNamespace:
    return SimpleNamespace(
        rewards=RewardConfig((0.0, 1.0)),
        frame_size=(PLACES, PLACES),
        grid=(1, 1),
        conditioning=conditioning,
    )


class PoseMemory(RingOracle):
    """Shows what it watched last at exactly the pose asked for; grey where it never was.

    With `capacity` it remembers only so many frames.
    """

    config = _config("pose")

    def __init__(self, capacity: int = 10**6) -> None:
        self.capacity = capacity

    def initial_state(self, slots: int) -> SimpleNamespace:
        """Nothing watched."""
        return SimpleNamespace(latents=torch.zeros(1), watched=[[] for _ in range(slots)])

    def observe(self, state: SimpleNamespace, frames: Tensor, actions: Tensor) -> tuple:
        """Note places and what they look like."""
        watched = [
            (old + [(place_of_pose(p), f) for p, f in zip(poses, clip, strict=True)])
            for old, poses, clip in zip(state.watched, actions, frames, strict=True)
        ]
        return SimpleNamespace(latents=state.latents, watched=watched), None

    def imagine(self, state: SimpleNamespace, action: Tensor, noise: Tensor, steps: int | None):
        """Look the place up."""
        frames = [
            self.show(watched[-self.capacity :], place_of_pose(pose))
            for watched, pose in zip(state.watched, action, strict=True)
        ]
        return torch.stack(frames) / 255, None, state

    def show(self, watched: list, place: int) -> Tensor:
        """The frame for a place."""
        views = [frame for there, frame in watched if there == place]
        return views[-1] if views else torch.full_like(watched[-1][1], 128)


class LastFrame(PoseMemory):
    """Shows the last watched frame whatever is asked."""

    def show(self, watched: list, place: int) -> Tensor:
        """The last one."""
        return watched[-1][1]


class RememberingWalker(RingOracle):
    """Knows where its actions lead, and shows a place only if it watched it; else grey."""

    config = _config("action")

    def observe(self, state: SimpleNamespace, frames: Tensor, actions: Tensor) -> tuple:
        """Note the places."""
        seen = getattr(state, "seen", [set() for _ in frames])
        places = [[place_of(frame) for frame in clip] for clip in frames.numpy()]
        seen = [old | set(clip) for old, clip in zip(seen, places, strict=True)]
        last = [clip[-1] for clip in places]
        return SimpleNamespace(latents=state.latents, places=last, seen=seen), None

    def imagine(self, state: SimpleNamespace, action: Tensor, noise: Tensor, steps: int | None):
        """Move, and recall."""
        places = [(p + int(a)) % PLACES for p, a in zip(state.places, action, strict=True)]
        frames = [
            torch.from_numpy(frame_of(place, 1)) / 255
            if place in seen
            else torch.full((PLACES, PLACES, 3), 0.5)
            for place, seen in zip(places, state.seen, strict=True)
        ]
        now = SimpleNamespace(latents=state.latents, places=places, seen=state.seen)
        return torch.stack(frames), None, now
