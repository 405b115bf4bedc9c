"""How fast this machine trains on rollouts: a few updates of each stage, timed."""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dreamenv.core.json_lines import read_json_lines
from dreamenv.evaluation.new_world.look import Look
from dreamenv.training.config import StageConfig, TrainConfig
from dreamenv.training.train import train_world_model

PRESETS = ("small", "tiny")
"""Presets to measure, the one to be preferred first."""
WINDOW = 48
"""Frames of a training window, where episodes are as long."""
MOVING = 20.0
"""Weight of pixels that move, where that is little."""
TOKENIZER_BATCH, DYNAMICS_BATCH = 64, 6


@dataclass(frozen=True)
class Speed:
    """Seconds that an update of each stage takes."""

    tokenizer: float
    dynamics: float


def window_of(look: Look) -> int:
    """Frames of a training window: no more than half of the episodes have."""
    return int(np.clip(np.median(look.store.lengths) + 1, 2, WINDOW))


def speed_of(
    look: Look, out: Path, updates: int = 3, presets: Sequence[str] = PRESETS
) -> dict[str, Speed]:
    """Measure each preset on what was collected; nothing of the training is kept.

    Args:
        look: what was collected.
        out: folder to train in for a moment.
        updates: of each stage; the first is not counted where there are more.
        presets: which to measure.
    """
    found = {}
    for name in presets:
        folder = out / f"speed-{name}"
        shutil.rmtree(folder, ignore_errors=True)
        config = TrainConfig(
            str(look.store.path),
            str(look.held_out.path),
            str(folder),
            preset=name,
            frame_size=look.frame_size,
            moving_pixels=MOVING if look.moves_little else 0.0,
            window=window_of(look),
            tokenizer=StageConfig(updates + 1, TOKENIZER_BATCH, 1e-3),
            dynamics=StageConfig(updates + 1, DYNAMICS_BATCH, 1e-3),
            log_every=1,
        )
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # bars of a few updates tell nothing
                train_world_model(config)
            found[name] = Speed(*(_seconds(folder, stage) for stage in ("tokenizer", "dynamics")))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return found


def _seconds(folder: Path, stage: str) -> float:
    """Seconds of an update, the first one, in which much is made ready, left out."""
    rows = read_json_lines(folder / "metrics.jsonl")
    times = [r["seconds"] for r in rows if r["stage"] == stage and r["kind"] == "train"]
    return float(np.median(np.diff(times)))
