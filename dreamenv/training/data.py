"""Batches for both stages. Batch i depends on (seed, i) alone, so a resumed run sees the same."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from dreamenv.core.errors import RolloutError
from dreamenv.rollouts.poses import read_poses
from dreamenv.rollouts.store import RolloutStore
from dreamenv.rollouts.timing import beginning
from dreamenv.training.landmarks import Landmarks, planar_poses
from dreamenv.training.latents import Rows, encoded
from dreamenv.training.stretches import Stretches
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.objective import Batch
from dreamenv.world_model.preprocessing import fit_frames

T = TypeVar("T")

BLOCK, PICKS = 64, 8
"""The tokenizer's frames come by so many from blocks of so many neighbours, decoded together."""


def sample_frames(
    store: RolloutStore, count: int, rng: np.random.Generator, size: tuple[int, int]
) -> np.ndarray:
    """`count` frames (count, H, W, C) uint8, each of them any frame of the store equally likely.

    The frames of all episodes, one after the other, are cut into blocks; a block is drawn as often
    as its length asks for, and gives several frames at once.
    """
    return sample_pairs(store, count, rng, size, before=False)[0]


def sample_pairs(
    store: RolloutStore,
    count: int,
    rng: np.random.Generator,
    size: tuple[int, int],
    before: bool = True,
) -> np.ndarray:
    """Frames as `sample_frames` draws them, and the frame before each, (2, count, H, W, C) uint8.

    Before the first frame of an episode stands itself. Without `before` the first half is all.
    """
    lengths = np.asarray(store.lengths) + 1
    offsets = np.cumsum(lengths) - lengths
    total = int(lengths.sum())
    frames, earlier = [], []
    for _ in range(-(-count // PICKS)):
        first = int(rng.integers(total)) // BLOCK * BLOCK  # longer blocks are met more often
        inside = min(BLOCK, total - first)
        picks = np.sort(first + rng.choice(inside, PICKS, replace=inside < PICKS))
        episodes = np.searchsorted(offsets, picks, side="right") - 1
        block, previous = [], []
        for episode in np.unique(episodes):
            steps = picks[episodes == episode] - offsets[episode]
            begin = max(int(steps[0]) - int(before), 0)
            stretch = store.read(int(episode), begin, int(steps[-1])).observation
            block.append(stretch[steps - begin])
            previous.append(stretch[np.maximum(steps - before, begin) - begin])
        order = rng.permutation(np.arange(PICKS))
        frames.append(np.concatenate(block)[order])
        earlier.append(np.concatenate(previous)[order])
    both = [np.concatenate(part)[:count] for part in (frames, earlier)[: 1 + before]]
    return np.stack([fit_frames(part, size) for part in both])


class LatentWindows:
    """A rollout store as latents and signals, cut into windows of model time.

    They stay on disk, mapped into memory; a batch is a copy of its windows.

    Every frame is scored equally often (`Stretches`); windows that hold fewer frames than others,
    at either end of an episode or because it is short, are padded (`Batch.valid`). The tokenizer's
    standardisation is measured on all frames, and `model.tokenizer` has it afterwards, unless it is
    to keep its own.

    Args:
        store: the rollouts.
        model: whose tokenizer encodes them, and whose `conditioning` decides what stands where
            actions do.
        cache: folder of the encoded rollouts (`dreamenv.training.latents`).
        window: most frames a window has.
        stride: every so many frames of an episode make a window.
        retrace: share of windows that go forth and exactly back again.
        ends: share of windows that end where an episode terminated, if any did.
        pose: infos that make up a pose, if the model is conditioned on poses or has landmarks.
        keep: standardise latents as the model has learnt to know them, whatever they now are.
        drift: of the poses of landmarks (`TrainConfig.pose_drift`).
    """

    def __init__(
        self,
        store: RolloutStore,
        model: WorldModel,
        cache: Path,
        window: int,
        stride: int = 1,
        retrace: float = 0.0,
        ends: float = 0.0,
        pose: Sequence[str] = (),
        keep: bool = False,
        drift: float = 0.0,
    ) -> None:
        self.window, self.stride, self.retrace, self.ends = window, stride, retrace, ends
        self.lengths = np.asarray(store.lengths) + 1  # frames, not steps
        rows = encoded(store, model, cache)
        tokenizer = model.tokenizer
        if keep:
            mean, std = (x.cpu().numpy() for x in (tokenizer.latent_mean, tokenizer.latent_std))
            rows.restandardise(mean, std)
        for buffer in ("latent_mean", "latent_std"):
            getattr(tokenizer, buffer).copy_(torch.from_numpy(getattr(rows, buffer)))
        self.latents = rows.latents
        self.poses = model.config.conditioning == "pose"
        self.actions: Rows | np.ndarray = rows.action
        if self.poses:  # not in the cache, which models of either conditioning may share
            poses = [read_poses(store, i, pose) for i in range(store.num_episodes)]
            self.actions = np.concatenate(poses)
        self.rewards, self.terminated = rows.reward, rows.terminated
        self.landmarks: Landmarks | None = None
        memory = model.dynamics.landmarks
        if memory is not None:
            planar = planar_poses(store, pose)
            self.landmarks = Landmarks(planar, self.lengths, memory.config, memory.recent, drift)
        self._stretches: dict[tuple[int, bool], Stretches] = {}
        for share, retraced in ((1 - retrace, False), (retrace, True)):
            if share and not self.stretches(window, retraced).episodes:
                raise RolloutError(
                    f"no episode of {store.path} has two frames {stride} steps apart; collect "
                    "longer episodes or train with a smaller stride"
                )

    def stretches(self, window: int, retraced: bool = False) -> Stretches:
        """What windows of `window` frames are drawn from."""
        if (window, retraced) not in self._stretches:
            frames = window // 2 if retraced else window
            ended = self.terminated[np.cumsum(self.lengths) - 1]
            made = Stretches(self.lengths, ended, frames, self.stride, retraced)
            self._stretches[window, retraced] = made
        return self._stretches[window, retraced]

    def batch(self, rows: int, rng: np.random.Generator, window: int = 0) -> Batch:
        """`rows` windows; each begins with the start token.

        Args:
            rows: how many.
            rng: draws them.
            window: frames of each, by default the most.
        """
        window = window or self.window
        there_and_back = rng.random(rows) < self.retrace
        first, count = np.empty(rows, np.int64), np.empty(rows, np.int64)
        for retraced in (False, True):
            chosen = there_and_back == retraced
            if chosen.any():
                drawn = self.stretches(window, retraced).draw(int(chosen.sum()), rng, self.ends)
                first[chosen], count[chosen] = drawn
        count = count[:, None]
        forth = np.tile(np.arange(window), (rows, 1))
        back = there_and_back[:, None] & (forth >= count)
        steps = np.where(back, 2 * count - 1 - forth, forth).clip(0, count - 1)
        valid = forth < np.where(there_and_back[:, None], 2 * count, count)
        index = first[:, None] + self.stride * steps
        actions = self.actions[index]
        if actions.dtype.kind == "f":
            actions = actions.reshape(rows, window, -1)
        if not self.poses:
            actions = beginning(actions, time=1)
        # What was received on the frames between belongs to the frame that follows them.
        between = (index[:, :, None] - np.arange(self.stride)).clip(min=0)
        rewards = self.rewards[between].sum(-1)
        rewards[back] = np.nan  # nothing is received on the way back
        sight, motions = None, None
        if self.landmarks is not None:
            sight, motions = self.landmarks.see(first, steps, valid, self.latents, rng)
        return Batch(
            torch.from_numpy(self.latents[index]).float(),
            torch.from_numpy(actions),
            torch.from_numpy(rewards),
            torch.from_numpy(self.terminated[index]),
            torch.from_numpy(valid),
            sight,
            motions,
        )


def prefetch(make: Callable[[int], T], first: int, last: int, ahead: int = 4) -> Iterator[T]:
    """Yield `make(i)` for i in first … last − 1, made by a thread that stays `ahead` of use."""
    ready: queue.Queue = queue.Queue(ahead)
    stop = threading.Event()

    def offer(item: object) -> None:
        while not stop.is_set():
            try:
                return ready.put(item, timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for i in range(first, last):
                if stop.is_set():
                    return
                offer(make(i))
        except BaseException as error:
            offer(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        for _ in range(first, last):
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
