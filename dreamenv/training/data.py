"""Batches for both stages. Batch i depends on (seed, i) alone, so a resumed run sees the same."""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from tqdm import tqdm

from dreamenv.core.errors import RolloutError
from dreamenv.core.files import replacing
from dreamenv.rollouts.poses import read_poses
from dreamenv.rollouts.store import RolloutStore
from dreamenv.rollouts.windows import model_time
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.objective import Batch
from dreamenv.world_model.preprocessing import fit_frames, to_unit

T = TypeVar("T")


def sample_frames(
    store: RolloutStore, count: int, rng: np.random.Generator, size: tuple[int, int]
) -> np.ndarray:
    """`count` frames (count, H, W, C) uint8 from short stretches of random episodes.

    Up to eight frames come from each stretch of 64: the same decoded chunks serve them all.
    """
    frames: list[np.ndarray] = []
    lengths = np.asarray(store.lengths)
    while sum(map(len, frames)) < count:
        episode = rng.choice(len(lengths), p=lengths / lengths.sum())
        start = rng.integers(0, max(1, lengths[episode] - 64))
        stop = min(start + 63, lengths[episode])
        stretch = store.read(int(episode), int(start), int(stop)).observation
        frames.append(stretch[rng.permutation(len(stretch))[:8]])
    return fit_frames(np.concatenate(frames)[:count], size)


class LatentWindows:
    """A rollout store as latents and signals in memory, cut into windows of model time.

    Frames are encoded once and kept in the file `cache`, which is remade when it is of other
    episodes or of another tokenizer, or is damaged. The tokenizer's standardisation is measured
    on them and kept beside them: `model.tokenizer` has it afterwards.

    Args:
        store: the rollouts.
        model: whose tokenizer encodes them, and whose `conditioning` decides what stands where
            actions do.
        cache: file of the encoded rollouts.
        window: most frames a window has.
        stride: every so many frames of an episode make a window.
        retrace: share of windows that go forth and exactly back again.
        pose: infos that make up a pose, if that is what the model is conditioned on.
    """

    def __init__(
        self,
        store: RolloutStore,
        model: WorldModel,
        cache: Path,
        window: int,
        stride: int = 1,
        retrace: float = 0.0,
        pose: Sequence[str] = (),
    ) -> None:
        self.window, self.stride, self.retrace = window, stride, retrace
        self.lengths = np.asarray(store.lengths) + 1  # frames, not steps
        for share, frames in ((1 - retrace, window), (retrace, window // 2)):
            if share and not len(self._starts(frames)):
                raise RolloutError(
                    f"no episode of {store.path} has the {(frames - 1) * stride + 1} frames of a "
                    "training window; collect longer episodes or train with a shorter window"
                )
        tag = _fingerprint(store, model)
        arrays = _read_cache(cache, tag)
        if arrays is None:
            arrays = _encode(store, model)
            _write_cache(cache, tag, arrays)
        tokenizer = model.tokenizer
        for buffer in ("latent_mean", "latent_std"):
            getattr(tokenizer, buffer).copy_(torch.from_numpy(arrays[buffer]))
        self.latents = arrays["latents"]
        self.poses = model.config.conditioning == "pose"
        self.actions = arrays["action"]
        if self.poses:  # not in the cache, which models of either conditioning may share
            poses = [read_poses(store, i, pose) for i in range(store.num_episodes)]
            self.actions = np.concatenate(poses)
        self.rewards, self.terminated = arrays["reward"], arrays["terminated"]

    def batch(self, rows: int, rng: np.random.Generator, window: int = 0) -> Batch:
        """`rows` windows, uniform over all starts; each begins with the start token.

        Args:
            rows: how many.
            rng: draws them.
            window: frames of each, by default the most.
        """
        window = window or self.window
        there_and_back = rng.random(rows) < self.retrace
        steps = np.tile(np.arange(window), (rows, 1))
        steps[there_and_back] = np.minimum(np.arange(window), np.arange(window)[::-1])
        first = np.empty(rows, np.int64)
        for back, frames in ((False, window), (True, window // 2)):
            chosen = there_and_back == back
            if chosen.any():
                starts = self._starts(frames)
                first[chosen] = starts[rng.integers(0, len(starts), int(chosen.sum()))]
        index = first[:, None] + self.stride * steps
        actions = self.actions[index]
        if actions.dtype.kind == "f":
            actions = actions.reshape(rows, window, -1)
        if not self.poses:
            actions[:, 0] = -1 if actions.dtype.kind == "i" else np.nan
        # What was received on the frames between belongs to the frame that follows them.
        between = (index[:, :, None] - np.arange(self.stride)).clip(min=0)
        rewards = self.rewards[between].sum(-1)
        rewards[there_and_back, window // 2 :] = np.nan  # nothing is received on the way back
        return Batch(
            torch.from_numpy(self.latents[index]).float(),
            torch.from_numpy(actions),
            torch.from_numpy(rewards),
            torch.from_numpy(self.terminated[index]),
        )

    def _starts(self, frames: int) -> np.ndarray:
        """Where windows of `frames` frames may begin, in the arrays of all episodes together."""
        span = (frames - 1) * self.stride + 1
        offsets = np.concatenate([[0], np.cumsum(self.lengths)])[:-1]
        counts = np.maximum(self.lengths - span + 1, 0)
        before = np.repeat(np.cumsum(counts) - counts, counts)
        return np.repeat(offsets, counts) + np.arange(counts.sum()) - before


def _encode(store: RolloutStore, model: WorldModel) -> dict[str, np.ndarray]:
    parts: dict[str, list[np.ndarray]] = {}
    for episode in tqdm(range(store.num_episodes), desc="encode", unit="episode"):
        window = model_time(store.read(episode), store.action_space)
        frames = fit_frames(window["frames"], model.config.frame_size)
        latents = []
        for start in range(0, len(frames), 256):
            part = torch.from_numpy(frames[start : start + 256]).to(model.device)
            with torch.no_grad(), model.autocast():
                encoded = model.tokenizer.encode_raw(to_unit(part))
            latents.append(encoded.to("cpu", torch.float16).numpy())
        parts.setdefault("latents", []).append(np.concatenate(latents))
        for name in ("action", "reward", "terminated"):
            parts.setdefault(name, []).append(window[name])
    joined = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    return {**joined, **_standardise(joined["latents"])}


def _standardise(latents: np.ndarray) -> dict[str, np.ndarray]:
    """Standardise per channel, in place; returns `latent_mean` and `latent_std` (channels,)."""
    flat = latents.reshape(-1, latents.shape[-1])
    mean = flat.mean(0, dtype=np.float64)
    square = np.einsum("nc,nc->c", flat, flat, dtype=np.float64) / len(flat)
    std = np.sqrt(np.maximum(square - mean**2, 1e-6))
    for start in range(0, len(flat), 2**20):
        part = flat[start : start + 2**20]
        part[:] = (part - mean) / std
    return {"latent_mean": mean.astype(np.float32), "latent_std": std.astype(np.float32)}


def _fingerprint(store: RolloutStore, model: WorldModel) -> str:
    """Equal for equal episodes under an equal tokenizer, at the same size."""
    digest = hashlib.sha256(f"{store.env_id},{model.config.frame_size}".encode())
    for array in (store.lengths, store.seeds, store.returns):
        digest.update(array.tobytes())
    for tensor in model.tokenizer.parameters():
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _read_cache(cache: Path, tag: str) -> dict[str, np.ndarray] | None:
    if not cache.exists():
        return None
    try:
        with np.load(cache, allow_pickle=False) as stored:
            return dict(stored) if str(stored["tag"]) == tag else None
    except Exception:  # a damaged zip raises whatever it meets first; the cache can be remade
        return None


def _write_cache(cache: Path, tag: str, arrays: dict[str, np.ndarray]) -> None:
    with replacing(cache) as file:  # under a name of its own: other runs may write it just now
        np.savez(file, tag=np.array(tag), **arrays)  # type: ignore[arg-type]


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
