"""Real clips and the model's own continuation of them: similarity frame by frame.

The model watches the first frames of a clip and imagines the rest under the recorded actions.
All frames are rounded to uint8 first, as a dream shows them. Beside it stand what needs no
model, repeating the last watched frame and showing one mean frame, and the tokenizer's
reconstruction of the real frames, which no dream drawn by that tokenizer can be expected to beat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dreamenv.core.progress import progress_bar
from dreamenv.core.statistics import mean_interval
from dreamenv.evaluation.metrics.rewards import EventReadings, concatenate, event_readings
from dreamenv.evaluation.metrics.similarity import similarity
from dreamenv.rollouts.timing import Window, stack
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.open_loop import imagine_under
from dreamenv.world_model.preprocessing import to_uint8, to_unit

CONTEXT, HORIZON = 32, 16
BATCH = 32
"""Clips imagined at once. The noise depends on it, so it is part of the protocol."""
REPEAT, MEAN, RECONSTRUCTION = "repeat last frame", "mean frame", "tokenizer reconstruction"


@dataclass(frozen=True)
class Clips:
    """Stretches of real episodes in model time, of the model's frame size."""

    frames: np.ndarray
    """(n, t, H, W, C) uint8."""
    actions: np.ndarray
    """(n, t) or (n, t, dims): the action that led to each frame, none to the first."""
    rewards: np.ndarray
    """(n, t) received on arriving at each frame."""
    episodes: np.ndarray
    """(n,) which episode each is from."""

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.frames)


@dataclass(frozen=True)
class OpenLoopScores:
    """Similarity of real and shown frames, and the rewards dreamt, over the imagined frames."""

    context: int
    psnr: dict[str, np.ndarray]
    """Name of what is shown → (n, horizon) dB."""
    ssim: dict[str, np.ndarray]
    """Name → (n, horizon), at most 1."""
    lpips: dict[str, np.ndarray]
    """Name → (n, horizon), 0 where equal; empty where LPIPS cannot be measured."""
    events: dict[str, EventReadings]
    """Name of a sampler → its readings, (n, horizon)."""
    episodes: np.ndarray
    """(n,) which episode each clip is from."""
    dreamt: np.ndarray
    """The first clips as the first sampler dreamt them, (few, horizon, H, W, C) uint8."""

    def curves(self, metric: str, seed: int = 0) -> dict[str, Any]:
        """Name → mean of a metric by step, as plain data; clips of one episode are drawn together.

        Args:
            metric: "psnr", "ssim" or "lpips".
            seed: of the intervals.
        """
        values: dict[str, np.ndarray] = getattr(self, metric)
        return {name: self._mean(found, seed) for name, found in values.items()}

    def margins(self, name: str, seed: int = 0) -> dict[str, Any]:
        """By how many dB `name` is above what needs no model, by step, compared clip by clip."""
        return {
            baseline: self._mean(self.psnr[name] - self.psnr[baseline], seed)
            for baseline in (REPEAT, MEAN)
        }

    def _mean(self, values: np.ndarray, seed: int) -> dict[str, Any]:
        return mean_interval(values, self.episodes, seed=seed).to_json()


def cut_clips(episode: Window, starts: Sequence[int], length: int, label: int) -> Clips:
    """Clips of one episode, of `length` frames, which are of the model's size already."""
    parts = stack([episode.part(start, length) for start in starts])
    return Clips(parts.frames, parts.action, parts.reward, np.full(len(starts), label))


def join_clips(parts: list[Clips]) -> Clips:
    """Clips of several episodes together: the first of each, then the second of each, …"""
    order = np.argsort(np.concatenate([np.arange(len(part)) for part in parts]), kind="stable")
    return Clips(
        np.concatenate([part.frames for part in parts])[order],
        np.concatenate([part.actions for part in parts])[order],
        np.concatenate([part.rewards for part in parts])[order],
        np.concatenate([part.episodes for part in parts])[order],
    )


def score_open_loop(
    model: WorldModel,
    clips: Clips,
    mean_frame: np.ndarray,
    samplers: dict[str, int | None],
    context: int = CONTEXT,
    seed: int = 0,
    keep: int = 8,
    progress: bool = False,
) -> OpenLoopScores:
    """Imagine every clip with every sampler, and compare.

    Args:
        model: the world model.
        clips: of more than `context` frames.
        mean_frame: (H, W, C), 0 … 255; what a model that knows nothing would show.
        samplers: name → denoising passes per frame, None for the checkpoint's. All begin from
            the same noise.
        context: frames watched.
        seed: of the noise.
        keep: how many dreamt clips to keep for a picture.
        progress: show a progress bar.
    """
    metrics: dict[str, dict[str, list[np.ndarray]]] = {}
    events: dict[str, list[EventReadings]] = {name: [] for name in samplers}
    dreamt: list[np.ndarray] = []
    noise = {name: torch.Generator().manual_seed(seed) for name in samplers}
    flat = mean_frame.round().astype(np.uint8)
    bar = progress_bar(title="open loop", unit="clip", total=len(clips), show=progress)
    for start in range(0, len(clips), BATCH):
        part = slice(start, start + BATCH)
        frames = torch.from_numpy(clips.frames[part]).to(model.device)
        actions = torch.from_numpy(clips.actions[part]).to(model.device)
        real = clips.frames[part, context:]
        shown = {
            REPEAT: clips.frames[part, context - 1 : context],
            MEAN: flat,
            RECONSTRUCTION: to_uint8(reconstruct(model, frames[:, context:])).cpu().numpy(),
        }
        for name, steps in samplers.items():
            dream = imagine_under(model, frames, actions, context, noise[name], steps)
            shown[name] = to_uint8(dream.frames.float()).cpu().numpy()
            rewards = clips.rewards[part, context:]
            events[name].append(event_readings(dream.outcome, rewards, model.config.rewards))
            if name == next(iter(samplers)):
                dreamt.append(shown[name][: max(0, keep - start)])
        for name, images in shown.items():
            for metric, values in similarity(images, real, model.device).items():
                metrics.setdefault(metric, {}).setdefault(name, []).append(values)
        bar.update(len(frames))
    bar.close()
    whole = {
        metric: {name: np.concatenate(parts) for name, parts in by_name.items()}
        for metric, by_name in metrics.items()
    }
    return OpenLoopScores(
        context,
        whole["psnr"],
        whole["ssim"],
        whole.get("lpips", {}),
        {name: concatenate(parts, axis=0) for name, parts in events.items()},
        clips.episodes,
        np.concatenate(dreamt),
    )


@torch.no_grad()
def reconstruct(model: WorldModel, frames: Tensor) -> Tensor:
    """Frames (n, t, H, W, C) uint8 through the tokenizer and back, in [0, 1], rounded to uint8."""
    with model.autocast():
        latents = model.tokenizer.encode(to_unit(frames))
        decoded = model.tokenizer.decode(latents.flatten(0, 1), model.config.grid)
    height, width = frames.shape[-3:-1]  # tokens may stick out of it
    decoded = decoded[..., :height, :width, :]
    return to_unit(to_uint8(decoded.float())).reshape(frames.shape)
