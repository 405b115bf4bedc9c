"""Calibrating trust: open-loop dreams of held-out episodes, what signals said, and real errors.

Protocol. Clips are spread evenly over the episodes of a store. The model watches their first
frames and imagines the rest under the recorded actions, as a dream does. At every imagined frame
stand the model's uncertainty and the squared error against the recorded frame. Isotonic
regression of the one on the other, in units of the mean frame's error, is the calibration.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import isotonic_regression
from torch import Tensor

from dreamenv.core.errors import ConfigError
from dreamenv.core.progress import progress_bar
from dreamenv.dream.loading import load_for_dreaming
from dreamenv.dream.trust import Trust, raw_latents, shortfall
from dreamenv.evaluation.metrics.held_out_data import draw_held_out
from dreamenv.evaluation.metrics.open_loop import BATCH, CONTEXT, Clips
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.preprocessing import to_uint8, to_unit

CLIPS, HORIZON = 160, 64
BINS = 100
"""Frames are pooled into so many bins of equal count first: a few extreme ones decide nothing."""
TOTAL, WORST, NOW = "sum of shortfalls", "largest shortfall", "shortfall"
AGE = "age"
SECOND, ENCODED = "second draw", "encoding anew"


@dataclass(frozen=True)
class Readings:
    """What signals said of imagined frames, and how wrong these were; arrays (n, horizon)."""

    signals: dict[str, np.ndarray]
    """Each higher where the frame is believed to be worse."""
    error: np.ndarray
    """Mean squared error of frames in [0, 1] as shown, in uint8."""
    mean_error: np.ndarray
    """The same of the mean frame."""
    episodes: np.ndarray
    """(n,) which episode each clip is from."""

    @property
    def explained(self) -> float:
        """The share of the mean frame's error that the dream does without."""
        return float(1 - self.error.mean() / self.mean_error.mean())

    def steps(self, count: int) -> Readings:
        """Readings of the first `count` imagined frames only."""
        return Readings(
            {name: values[:, :count] for name, values in self.signals.items()},
            self.error[:, :count],
            self.mean_error[:, :count],
            self.episodes,
        )


@torch.no_grad()
def read_dreams(
    model: WorldModel,
    clips: Clips,
    mean_frame: np.ndarray,
    context: int = CONTEXT,
    seed: int = 0,
    costly: bool = False,
    progress: bool = False,
) -> Readings:
    """Dream every clip, and read the signals.

    Args:
        model: the world model.
        clips: of more than `context` frames.
        mean_frame: (H, W, C), 0 … 255.
        context: frames watched.
        seed: of the noise.
        costly: also read the signals that cost passes through a network.
        progress: show a progress bar.
    """
    generator = torch.Generator().manual_seed(seed)
    flat = torch.as_tensor(mean_frame, dtype=torch.float32, device=model.device) / 255
    rows: dict[str, list[Tensor]] = {}
    bar = progress_bar(title="trust", unit="clip", total=len(clips), show=progress)
    for start in range(0, len(clips), BATCH):
        frames = torch.from_numpy(clips.frames[start : start + BATCH]).to(model.device)
        actions = torch.from_numpy(clips.actions[start : start + BATCH]).to(model.device)
        slots = len(frames)
        state, _ = model.observe(
            model.initial_state(slots), frames[:, :context], actions[:, :context]
        )
        columns: dict[str, list[Tensor]] = {}
        for t in range(context, frames.shape[1]):
            noise = torch.randn(2, *model.noise_shape(slots), generator=generator).to(state.latents)
            before = state.clone() if costly else state
            dreamt, _, state = model.imagine(state, actions[:, t], noise[0], reuse=True)
            real = to_unit(frames[:, t])
            column = {
                NOW: shortfall(model, state),
                "error": mean_square(to_unit(to_uint8(dreamt)) - real),
                "mean_error": mean_square(flat - real),
            }
            if costly:
                _, _, other = model.imagine(before, actions[:, t], noise[1], reuse=True)
                column[SECOND] = distance(model, state.latents, other.latents)
                column[ENCODED] = distance(model, state.latents, encode(model, dreamt))
            for name, values in column.items():
                columns.setdefault(name, []).append(values.float().cpu())
        for name, parts in columns.items():
            rows.setdefault(name, []).append(torch.stack(parts, 1))
        bar.update(slots)
    bar.close()
    read = {name: torch.cat(parts).double().numpy() for name, parts in rows.items()}
    error, mean_error = read.pop("error"), read.pop("mean_error")
    read[TOTAL] = np.cumsum(read[NOW], 1)
    read[WORST] = np.maximum.accumulate(read[NOW], 1)
    read[AGE] = np.broadcast_to(np.arange(1.0, error.shape[1] + 1), error.shape)
    return Readings(read, error, mean_error, clips.episodes)


def mean_square(errors: Tensor) -> Tensor:
    """Mean squares (b,) of frames (b, H, W, C)."""
    return errors.square().mean((-3, -2, -1))


def encode(model: WorldModel, frames: Tensor) -> Tensor:
    """Latents (b, tokens, channels) of dreamt frames (b, H, W, C)."""
    with model.autocast():
        return model.tokenizer.encode(frames.clamp(0, 1).unsqueeze(1)).squeeze(1)


def distance(model: WorldModel, a: Tensor, b: Tensor) -> Tensor:
    """Mean squared distance of latents (slots, tokens, channels) as the tokenizer makes them."""
    return (raw_latents(model, a) - raw_latents(model, b)).square().mean((-2, -1))


def fit_curve(
    signal: np.ndarray, error: np.ndarray, mean_error: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Knots of a signal, rising, and the share explained there, falling from 1 at 0.

    Args:
        signal: (m,), 0 at a real frame.
        error: (m,) of the frames dreamt.
        mean_error: (m,) of the mean frame there.
    """
    order = np.argsort(signal, kind="stable")
    bins = np.array_split(order, min(BINS, len(order)))
    weights = np.array([len(part) for part in bins], float)
    ratio = np.array([error[part].mean() for part in bins]) / mean_error.mean()
    fitted = isotonic_regression(ratio, weights=weights)
    # A knot for every pool, at the mean of the signal in it.
    first = fitted.blocks[:-1]
    sums = np.array([signal[part].sum() for part in bins])
    at = np.add.reduceat(sums, first) / np.add.reduceat(weights, first)
    explained = np.clip(1 - fitted.x[first], 0, 1)
    knots, first = np.unique(np.append(0.0, np.maximum(at, 0.0)), return_index=True)
    return knots, np.append(1.0, explained)[first]


def calibrate(readings: Readings, about: dict[str, Any]) -> Trust:
    """The calibration of the sum of shortfalls.

    Raises:
        ConfigError: that never rises above 0, as with several denoising passes it may not.
    """
    error, mean_error = readings.error.ravel(), readings.mean_error.ravel()
    knots, explained = fit_curve(readings.signals[TOTAL].ravel(), error, mean_error)
    if len(knots) < 2:
        raise ConfigError("the latents lack nothing to unit mean square, so nothing tells errors")
    return Trust(tuple(knots.tolist()), tuple(explained.tolist()), about=about)


def calibrate_checkpoint(
    folder: str | Path,
    rollouts: str | Path,
    clips: int = CLIPS,
    context: int = CONTEXT,
    horizon: int = HORIZON,
    seed: int = 0,
    *,
    device: str = "auto",
    progress: bool = False,
) -> Trust:
    """Measure how far a checkpoint's dreams are to be trusted and write it beside the weights.

    Args:
        folder: of the checkpoint.
        rollouts: store of episodes that it was not trained on.
        clips: how many to dream.
        context: frames watched.
        horizon: frames dreamt.
        seed: of clips and noise.
        device: torch device, or "auto".
        progress: show a progress bar.

    Raises:
        CheckpointError, RolloutError: as the checkpoint or the store is missing, damaged, or of
            another environment, or has no episode as long as a clip.
        ConfigError: an argument is out of range.
    """
    model, drawn, about = prepare(folder, rollouts, clips, context, horizon, seed, device)
    readings = read_dreams(model, drawn, mean_frame(drawn), context, seed, progress=progress)
    trust = calibrate(readings, about)
    trust.save(folder)
    return trust


def prepare(
    folder: str | Path,
    rollouts: str | Path,
    clips: int,
    context: int,
    horizon: int,
    seed: int,
    device: str,
) -> tuple[WorldModel, Clips, dict[str, Any]]:
    """A model, clips for it, and what describes both; arguments of `calibrate_checkpoint`."""
    held_out = draw_held_out(folder, rollouts, clips, context, horizon, seed)
    model = load_for_dreaming(folder, device).model
    return model, held_out.clips, {"steps": model.config.sampler.steps, **held_out.about}


def mean_frame(clips: Clips) -> np.ndarray:
    """The mean of all frames, (H, W, C), 0 … 255: what a model that knows nothing would show."""
    return clips.frames.mean((0, 1), dtype=np.float64)
