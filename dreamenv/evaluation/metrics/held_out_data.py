"""Rollouts to measure a world model on: are they of its environment, and clips of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dreamenv.core.errors import ConfigError
from dreamenv.evaluation.metrics.open_loop import Clips, cut_clips, join_clips
from dreamenv.rollouts.store import RolloutStore
from dreamenv.rollouts.windows import Windows
from dreamenv.world_model.checkpoint import read_config
from dreamenv.world_model.fitting_rollouts import require_rollouts_of
from dreamenv.world_model.preprocessing import fit_frames


@dataclass(frozen=True)
class HeldOutClips:
    """Clips of episodes that a checkpoint was not trained on."""

    store: RolloutStore
    clips: Clips
    about: dict[str, Any]
    """What describes both, as plain data."""


def draw_held_out(
    checkpoint: str | Path, rollouts: str | Path, clips: int, context: int, horizon: int, seed: int
) -> HeldOutClips:
    """Draw clips that fit a checkpoint's world model.

    Args:
        checkpoint: folder.
        rollouts: folder of the store.
        clips: how many.
        context: frames of each that will be watched.
        horizon: frames of each that will be imagined.
        seed: of the draw.

    Raises:
        ConfigError: a number below 1.
        CheckpointError, RolloutError: as the checkpoint or the store is missing, damaged, or of
            another environment, or has no episode as long as a clip.
    """
    if min(clips, context, horizon) < 1:
        raise ConfigError(
            f"clips, context and horizon must be at least 1, got {clips}, {context}, {horizon}"
        )
    config, provenance = read_config(checkpoint)
    store = RolloutStore(rollouts)
    require_rollouts_of(store, config, provenance.get("env_id"))
    drawn = draw_clips(store, clips, context + horizon, config.frame_size, seed)
    about = {
        "clips": {
            "clips": clips,
            "episodes": len(np.unique(drawn.episodes)),
            "context": context,
            "horizon": horizon,
            "seed": seed,
        },
        "data": describe_store(store),
    }
    return HeldOutClips(store, drawn, about)


def draw_clips(
    store: RolloutStore, count: int, length: int, size: tuple[int, int], seed: int
) -> Clips:
    """Cut `count` clips of `length` frames, spread evenly over the episodes that are long enough.

    Raises:
        RolloutError: no episode has `length` frames.
    """
    return read_clips(store, draw_places(store, count, length, seed), length, size)


def draw_places(store: RolloutStore, count: int, length: int, seed: int) -> list[tuple[int, int]]:
    """Where `draw_clips` cuts: episode and first frame of each clip.

    Raises:
        RolloutError: no episode has `length` frames.
    """
    Windows(store, length)  # says clearly if there is none
    usable = np.flatnonzero(store.lengths + 1 >= length)
    rng = np.random.default_rng(seed)
    # Shuffled, so that fewer clips than episodes are not all from the oldest ones.
    usable = rng.permutation(usable)
    chosen = [int(usable[i % len(usable)]) for i in range(count)]
    return [(e, int(rng.integers(store.lengths[e] + 2 - length))) for e in chosen]


def read_clips(
    store: RolloutStore, places: Sequence[tuple[int, int]], length: int, size: tuple[int, int]
) -> Clips:
    """The clips that begin at `places`, in this order."""
    windows = Windows(store, length)
    parts = []
    for episode, start in places:
        window = windows.read(episode, start)
        window = replace(window, frames=fit_frames(window.frames, size))
        parts.append(cut_clips(window, [0], length, episode))
    return join_clips(parts)


def describe_store(store: RolloutStore) -> dict[str, Any]:
    """What decides and what characterises the episodes of a store, without its path."""
    seeds = [seed for seed in store.seeds if seed is not None]
    return {
        "env_id": store.env_id,
        "episodes": store.num_episodes,
        "steps": store.num_steps,
        "reward_events": int(store.reward_events.sum()),
        "reset_seeds": [min(seeds), max(seeds)] if seeds else None,
        "policies": sorted(set(store.policies)),
        "metadata": store.metadata,
    }
