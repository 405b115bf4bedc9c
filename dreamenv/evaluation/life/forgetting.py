"""What is each kind of memory worth at once? Open loop with it and without.

A memory whose loss costs nothing is dead. `turns` and `revisits` ask the same of what was seen
longer ago.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dreamenv.core.statistics import mean_interval
from dreamenv.evaluation.life.clips import LongClips
from dreamenv.evaluation.life.dreaming import Dream, forgotten, kinds_of
from dreamenv.evaluation.memory.imagination import watch
from dreamenv.evaluation.metrics.similarity import psnr_of
from dreamenv.world_model.model import WorldModel

HORIZON = 16
STEPS = (1, 4, 8, 16)
"""Imagined steps that are told of."""


def open_loop_without(
    model: WorldModel, clips: LongClips, passes: int | None = None, seed: int = 0
) -> dict[str, np.ndarray]:
    """Kind of memory set to zero after watching, "" for none → PSNR (n, h) dB of what follows."""
    horizon = min(HORIZON, clips.horizon)
    found: dict[str, list[np.ndarray]] = {}
    for first, batch in clips.batches(horizon):
        past = slice(clips.context)
        watched = watch(model, batch.frames[:, past], batch.actions[:, past])
        seeds = [(seed, first + i) for i in range(len(batch))]
        for kind in ["", *kinds_of(watched)]:
            state = watched.clone()
            state = forgotten(model, state, kind) if kind else state
            shown = Dream(model, state, seeds, passes).run(batch.actions[:, clips.context :])
            real = batch.frames[:, clips.context :]
            values = psnr_of(shown, real)
            found.setdefault(kind, []).append(values)
    return {kind: np.concatenate(parts) for kind, parts in found.items()}


def lost_by_forgetting(
    psnr: dict[str, np.ndarray], episodes: np.ndarray, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Kind of memory → imagined step → dB lost without it, clip by clip, with intervals."""
    whole = psnr[""]
    return {
        kind: {
            str(step): mean_interval(
                whole[:, step - 1] - values[:, step - 1], episodes, seed=seed
            ).to_json()
            for step in STEPS
            if step <= whole.shape[1]
        }
        for kind, values in psnr.items()
        if kind
    }
