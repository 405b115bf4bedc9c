"""Does the model know when an episode ends? Precision and recall of terminations.

An event is an arrival at which the episode terminated; time limits are none. The model's score of
a frame is the probability that it gives to the end, and it predicts one where that is above a half,
which is also where a dream terminates.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch

from dreamenv.core.errors import RolloutError
from dreamenv.evaluation.metrics.rewards import (
    CHUNK,
    EventReadings,
    concatenate,
    score_events,
)
from dreamenv.rollouts.store import RolloutStore
from dreamenv.rollouts.timing import Window, beginning, model_time
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.network.heads import Outcome
from dreamenv.world_model.open_loop import imagine_under
from dreamenv.world_model.preprocessing import fit_frames

TOLERANCE = 2
"""Steps by which a dreamt end may miss the real one."""
BATCH = 32


@dataclass(frozen=True)
class EndClips:
    """Stretches that are watched and then imagined, of which some end while they are."""

    frames: np.ndarray
    """(n, context, H, W, C) uint8."""
    actions: np.ndarray
    """(n, context + horizon, ...) that led to each frame; behind an end, the last one again."""
    ended: np.ndarray
    """(n, horizon) bool: whether the episode terminated on arriving there."""
    lived: np.ndarray
    """(n, horizon) bool: whether the real episode had that frame."""


def end_readings(outcome: Outcome, terminated: np.ndarray) -> EventReadings:
    """Read the ends from a model's outcome of n × t frames; `terminated` is (n, t) bool."""
    score = 1 - outcome.continuation.double().cpu().numpy()
    ends = np.asarray(terminated, np.float64)
    return EventReadings(score, score > 0.5, score, (score > 0.5).astype(np.float64), ends)


def read_ends(model: WorldModel, episode: Window) -> EventReadings:
    """What the model says of the end while it watches a whole real episode, (1, T)."""
    frames = torch.from_numpy(episode.frames).unsqueeze(0)
    actions = torch.from_numpy(episode.action).unsqueeze(0)
    ended = episode.terminated[None]
    state, parts = model.initial_state(1), []
    for start in range(0, frames.shape[1], CHUNK):
        part = slice(start, start + CHUNK)
        state, outcome = model.observe(
            state, frames[:, part].to(model.device), actions[:, part].to(model.device)
        )
        parts.append(end_readings(outcome, ended[:, part]))
    whole = concatenate(parts, axis=1)
    return EventReadings(*(getattr(whole, field.name)[:, 1:] for field in fields(whole)))


def draw_end_clips(
    store: RolloutStore,
    size: tuple[int, int],
    count: int = 64,
    context: int = 16,
    horizon: int = 16,
    seed: int = 0,
) -> EndClips:
    """Half of the clips terminate at a drawn step of what is imagined, half do not.

    Episodes are taken in a drawn order, again and again if there are too few of them.

    Args:
        store: held-out rollouts.
        size: of frames, height and width.
        count: clips in all.
        context: frames watched.
        horizon: steps imagined.
        seed: of the draw.

    Raises:
        RolloutError: no episode that is longer than `context` terminates.
    """
    rng = np.random.default_rng(seed)
    windows = [model_time(store.read(i), store.action_space) for i in range(store.num_episodes)]
    long = [window for window in windows if len(window) > context]
    ending = [window for window in long if window.terminated[-1]]
    # Clips without an end must not reach one.
    lasting = [w for w in long if len(w) - bool(w.terminated[-1]) >= context + horizon]
    if not ending:
        raise RolloutError(
            f"no episode of {store.path} terminates after more than {context} steps: ends cannot "
            "be measured"
        )
    clips = []
    for kind, windows in (("ends", ending), ("lasts", lasting)):
        order = rng.permutation(len(windows))
        for i in range(count // 2 if windows else 0):
            window = windows[int(order[i % len(order)])]
            last = len(window) - 1
            if kind == "ends":  # arrived at by the k-th imagined step, k from 1
                first = (
                    last - context + 1 - int(rng.integers(1, min(horizon, last - context + 1) + 1))
                )
            else:
                room = last - bool(window.terminated[-1]) - (context + horizon - 1)
                first = int(rng.integers(room + 1))
            clips.append(_cut(window, first, context, horizon, size))
    return EndClips(*(np.stack(column) for column in zip(*clips, strict=True)))


def _cut(
    window: Window, first: int, context: int, horizon: int, size: tuple[int, int]
) -> tuple[np.ndarray, ...]:
    steps = np.arange(first, first + context + horizon)
    there = np.minimum(steps, len(window) - 1)
    lived = (steps == there)[context:]
    frames = fit_frames(window.frames[first : first + context], size)
    actions = beginning(window.action[there])
    return frames, actions, window.terminated[there][context:] & lived, lived


def score_ends(
    model: WorldModel, store: RolloutStore, clips: EndClips, seed: int = 0
) -> dict[str, Any]:
    """Precision, recall and average precision of ends, seen and dreamt, as plain data.

    `seen`: the model watches every whole episode of the store and says of each frame whether it is
    the last. `dreamt`: it imagines the clips under the recorded actions; a dream ends once, where
    it first says so, and meets the real end if that is at most `TOLERANCE` steps away.
    """
    size = model.config.frame_size
    seen = []
    for i in range(store.num_episodes):
        window = model_time(store.read(i), store.action_space)
        seen.append(read_ends(model, replace(window, frames=fit_frames(window.frames, size))))
    dreamt = dream_ends(model, clips, seed)
    return {
        "seen": score_events(concatenate(seen, axis=1)).to_json(),
        "dreamt": score_events(dreamt, TOLERANCE).to_json(),
        "clips": len(clips.frames),
        "context": clips.frames.shape[1],
        "horizon": clips.ended.shape[1],
    }


def dream_ends(model: WorldModel, clips: EndClips, seed: int = 0) -> EventReadings:
    """Readings of the imagined steps (n, horizon); nothing is read where either has ended."""
    generator = torch.Generator().manual_seed(seed)
    context = clips.frames.shape[1]
    parts = []
    for start in range(0, len(clips.frames), BATCH):
        part = slice(start, start + BATCH)
        frames = torch.from_numpy(clips.frames[part]).to(model.device)
        actions = torch.from_numpy(clips.actions[part]).to(model.device)
        outcome = imagine_under(model, frames, actions, context, generator).outcome
        parts.append(end_readings(outcome, clips.ended[part]))
    readings = concatenate(parts, axis=0)
    before = np.cumsum(readings.predicted, axis=1) - readings.predicted
    reads = clips.lived & (before == 0)
    return replace(
        readings,
        score=np.where(reads, readings.score, 0.0),
        predicted=readings.predicted & reads,
    )
