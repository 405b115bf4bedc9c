"""A world model on episodes it never trained on: open-loop frames and reward events.

Protocol. Clips are spread evenly over the episodes of the store, each at a uniformly drawn start;
the model watches `context` frames without knowing what came before and imagines `horizon` more
under the recorded actions. Rewards are read from real frames over every episode of the store,
watched from its first frame to its last with the memory carried along.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dreamenv.core.device import pick_device
from dreamenv.core.errors import ConfigError
from dreamenv.core.progress import progress_bar
from dreamenv.core.statistics import CONFIDENCE, Interval, statistic_interval
from dreamenv.evaluation.metrics.held_out_data import draw_held_out
from dreamenv.evaluation.metrics.open_loop import (
    CONTEXT,
    HORIZON,
    Clips,
    OpenLoopScores,
    score_open_loop,
)
from dreamenv.evaluation.metrics.rewards import (
    EventReadings,
    EventScores,
    average_precision,
    concatenate,
    read_teacher_forced,
    score_events,
)
from dreamenv.rollouts.store import RolloutStore
from dreamenv.rollouts.timing import model_time
from dreamenv.world_model.checkpoint import (
    WEIGHTS,
    checkpoint_folder,
    load_world_model,
    read_config,
)
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.preprocessing import fit_frames

DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True)
class HeldOut:
    """A measurement on held-out episodes, and the clips it was made on."""

    about: dict[str, Any]
    """Checkpoint, data and protocol, as plain data."""
    open_loop: OpenLoopScores
    clips: Clips
    clip_events: dict[str, EventScores]
    real_frames: EventScores
    average_precision: Interval
    seed: int

    def to_json(self) -> dict[str, Any]:
        """Everything as plain data; per-step lists begin with the first imagined frame."""
        loop, seed = self.open_loop, self.seed
        return {
            **self.about,
            "psnr_db": loop.curves("psnr", seed),
            "ssim": loop.curves("ssim", seed),
            "lpips": loop.curves("lpips", seed) or None,
            "psnr_db_above": {name: loop.margins(name, seed) for name in loop.events},
            "reward_events": {
                "real_frames": {
                    **self.real_frames.to_json(),
                    "average_precision_interval": self.average_precision.to_json(),
                },
                "open_loop_clips": {n: scores.to_json() for n, scores in self.clip_events.items()},
            },
        }


def measure_held_out(
    checkpoint: str | Path,
    rollouts: str | Path,
    clips: int = 256,
    context: int = CONTEXT,
    horizon: int = HORIZON,
    steps: Sequence[int] = (),
    seed: int = 0,
    *,
    dtype: str = "float32",
    device: str = "cpu",
    progress: bool = False,
) -> HeldOut:
    """Measure a checkpoint on a rollout store of other episodes than it was trained on.

    Args:
        checkpoint: folder, or "bundled:NAME".
        rollouts: folder of the store.
        clips: open-loop clips.
        context: frames watched.
        horizon: frames imagined.
        steps: numbers of denoising passes to compare; the checkpoint's own is always measured.
        seed: of clips, noise and bootstrap.
        dtype: of matrix products, "float32" or "bfloat16".
        device: torch device, or "auto".
        progress: show progress bars.

    Raises:
        CheckpointError: the checkpoint is missing or damaged.
        RolloutError: the store is missing, or of another environment or other actions than the
            model, or has no episode as long as a clip.
        ConfigError: an argument is out of range.
    """
    if dtype not in DTYPES:
        raise ConfigError(f"dtype is one of {', '.join(DTYPES)}, not {dtype!r}")
    if min(steps, default=1) < 1:
        raise ConfigError(f"denoising steps must be at least 1, got {list(steps)}")
    folder = checkpoint_folder(checkpoint)
    config, provenance = read_config(folder)
    held_out = draw_held_out(folder, rollouts, clips, context, horizon, seed)
    drawn = held_out.clips
    model = load_world_model(folder, pick_device(device))
    model.compute_dtype = getattr(torch, dtype)
    readings, mean_frame = _watch_all(model, held_out.store, progress)
    samplers: dict[str, int | None] = {
        f"model, K={k}": k for k in dict.fromkeys([config.sampler.steps, *steps])
    }
    scores = score_open_loop(model, drawn, mean_frame, samplers, context, seed, progress=progress)
    together = concatenate(readings, axis=1)
    score, real = together.score[0], together.real[0]
    episodes = np.repeat(np.arange(len(readings)), [part.real.size for part in readings])
    interval = statistic_interval(
        lambda i: average_precision(score[i], real[i], int(real[i].sum())), episodes, seed=seed
    )
    about = {
        "checkpoint": {
            "weights_sha256": hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest(),
            "env_id": provenance.get("env_id"),
            "denoising_passes": config.sampler.steps,
        },
        **held_out.about,
        "dtype": dtype,
        "interval": f"{CONFIDENCE:.0%} percentile bootstrap over episodes",
    }
    return HeldOut(
        about,
        scores,
        drawn,
        {name: score_events(events, tolerance=1) for name, events in scores.events.items()},
        score_events(together),
        interval,
        seed,
    )


def _watch_all(
    model: WorldModel, store: RolloutStore, progress: bool
) -> tuple[list[EventReadings], np.ndarray]:
    """Readings of every episode, and the mean of all frames."""
    total = np.zeros((*model.config.frame_size, model.config.frame_channels))
    readings, frames = [], 0
    for i in progress_bar(range(store.num_episodes), "rewards", "episode", show=progress):
        window = model_time(store.read(i), store.action_space)
        window = replace(window, frames=fit_frames(window.frames, model.config.frame_size))
        total += window.frames.sum(0, dtype=np.int64)
        frames += len(window)
        readings.append(read_teacher_forced(model, window))
    return readings, total / frames
