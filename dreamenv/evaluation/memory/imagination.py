"""Watching long stretches and imagining on, for many clips at once and in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dreamenv.evaluation.metrics.open_loop import reconstruct
from dreamenv.world_model.model import WorldModel
from dreamenv.world_model.preprocessing import to_uint8
from dreamenv.world_model.state import State

PIECE = 512
"""Frames, of all slots together, that go through the tokenizer at once."""


def watch(model: WorldModel, frames: np.ndarray, given: np.ndarray) -> State:
    """Memory of frames (b, T, H, W, C) uint8 under actions or poses (b, T, …).

    Observed piece by piece, which leaves the same memory as one call and needs less room.
    """
    state, step = model.initial_state(len(frames)), max(1, PIECE // len(frames))
    for start in range(0, frames.shape[1], step):
        piece = slice(start, start + step)
        shown = torch.from_numpy(frames[:, piece]).to(model.device)
        state, _ = model.observe(state, shown, torch.from_numpy(given[:, piece]).to(model.device))
    return state


def imagine_on(
    model: WorldModel,
    state: State,
    given: np.ndarray,
    seeds: Sequence[Sequence[int]],
    steps: int | None = None,
) -> np.ndarray:
    """Imagine open loop from `state`, rounded to uint8 as a dream shows it.

    Args:
        model: the world model.
        state: memory of b slots.
        given: actions or poses of the frames, (b, h, …).
        seeds: of each slot's noise, so that it does not depend on which slots go together.
        steps: denoising passes per frame, by default the checkpoint's.

    Returns:
        Frames (b, h, H, W, C) uint8.
    """
    generators = [
        torch.Generator().manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
        for seed in seeds
    ]
    inputs = torch.from_numpy(given).to(model.device)
    frames: list[Tensor] = []
    for t in range(given.shape[1]):
        noise = torch.cat([torch.randn(model.noise_shape(1), generator=g) for g in generators])
        frame, _, state = model.imagine(state, inputs[:, t], noise.to(state.latents), steps)
        frames.append(to_uint8(frame.float()).cpu())
    return torch.stack(frames, 1).numpy()


def through_tokenizer(model: WorldModel, frames: np.ndarray) -> np.ndarray:
    """Frames (b, h, H, W, C) uint8 encoded and decoded, uint8."""
    pieces = []
    step = max(1, PIECE // len(frames))
    for start in range(0, frames.shape[1], step):
        piece = np.ascontiguousarray(frames[:, start : start + step])
        decoded = reconstruct(model, torch.from_numpy(piece).to(model.device))
        pieces.append(to_uint8(decoded).cpu().numpy())
    return np.concatenate(pieces, 1)
